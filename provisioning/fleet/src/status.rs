//! `status`: the fleet as the account shows it, with as few calls as a fleet of thousands needs.
//!
//! Lists give 250 at a time: things with their records of commits, certificates with status and age, and the targets
//! of the fleet's policies. Only a certificate that no record names costs a call of its own (10 a second by AWS's
//! quota), and those are the ones worth a look.

use std::collections::{BTreeMap, BTreeSet};

use certrot_rules::record::{RECLAIM_LASTS, Reclaim, Record};
use certrot_rules::registry::{Certificate, Status};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::aws::Aws;
use crate::aws::devices::Listed;
use crate::claim::now;
use crate::desired::Desired;
use crate::error::FleetError;
use crate::model::{Kind, Observed};
use crate::plan::{count, short};
use crate::tell::Tell;
use crate::things;

/// The fleet.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Its name.
    pub fleet: String,
    /// Its account.
    pub account: String,
    /// Its region.
    pub region: String,
    /// Where devices connect to.
    pub endpoint: String,
    /// What is wanted and not there.
    pub missing: Vec<String>,
    /// How many resources are there.
    pub resources: usize,
    /// Commits that the retire handler could not take.
    pub dead_letters: Option<u64>,
    /// Claim certificates.
    pub claims: Vec<Claim>,
    /// Device policies and how many certificates rest on each.
    pub policies: BTreeMap<String, usize>,
    /// How many things.
    pub things: usize,
    /// Device certificates by status.
    pub certificates: BTreeMap<String, usize>,
    /// ACTIVE device certificates by age: up to so many days.
    pub ages: BTreeMap<i64, usize>,
    /// What wants a person.
    pub findings: Vec<Finding>,
}

/// A claim certificate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Its batch, where a tag or the ledger says it.
    pub batch: Option<String>,
    /// Its id.
    pub certificate_id: String,
    /// Its status.
    pub status: String,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
}

/// Something about one thing or certificate that wants a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The thing; empty for a certificate without one.
    pub thing: String,
    /// The kind, for programs.
    pub kind: What,
    /// What is the matter.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// Kinds of findings, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Two commits within an hour: two holders of one identity (rule 25).
    SecondCommit,
    /// More than two certificates alive.
    ManyAlive,
    /// None alive.
    NoneAlive,
    /// The newest is older than it should be.
    Overdue,
    /// A certificate with the fleet's policy and without a thing.
    Orphan,
    /// A REVOKED certificate that a retiring which was cut off left with nothing.
    Bare,
}

/// What there is of devices, as lists give it.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    /// Things with attributes.
    pub things: Vec<Listed>,
    /// Device certificates of the fleet by id.
    pub certificates: BTreeMap<String, Certificate>,
    /// Names of the thing of each, where it has one.
    pub owners: BTreeMap<String, String>,
    /// Certificates that neither thing nor policy has any more, and the thing whose record names each.
    pub bare: BTreeMap<String, String>,
}

impl Devices {
    /// Asks AWS.
    pub async fn ask(
        aws: &Aws,
        policies: &BTreeMap<String, Vec<String>>,
        tell: &Tell,
    ) -> Result<Self, FleetError> {
        let probe = aws.fleet.probe();
        let mut things = aws.things(|n| tell.live(&format!("things: {n}"))).await?;
        things.retain(|t| t.name != probe);
        let all = aws.certificates(|n| tell.live(&format!("certificates: {n}"))).await?;
        let bare = things::bare(aws, &things, &all).await?;
        let resting: BTreeSet<&String> = policies.values().flatten().collect();
        let mut owners = BTreeMap::new();
        for thing in &things {
            for accepted in Record::of(&thing.thing).accepted() {
                owners.insert(accepted.certificate_id.clone(), thing.name.clone());
            }
        }
        let certificates: BTreeMap<String, Certificate> = all
            .into_iter()
            .filter(|c| resting.contains(&c.id) || owners.contains_key(&c.id))
            .filter(|c| !bare.contains_key(&c.id))
            .map(|c| (c.id.clone(), c))
            .collect();
        let unknown: Vec<&String> = certificates.keys().filter(|id| !owners.contains_key(*id)).collect();
        let mut found = Vec::new();
        for (number, id) in unknown.iter().enumerate() {
            tell.live(&format!("certificates that no commit names: {} of {}", number + 1, unknown.len()));
            let thing = match crate::aws::found(aws.things_of(id).await)? {
                Some(things) => things.into_iter().next(),
                None => continue,
            };
            found.extend(thing.map(|t| ((*id).clone(), t)));
        }
        owners.extend(found);
        Ok(Devices { things, certificates, owners, bare })
    }

    /// Names of things that may have more than one certificate.
    pub fn crowded(&self) -> Vec<String> {
        let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
        for id in self.certificates.keys() {
            if let Some(thing) = self.owners.get(id) {
                *counts.entry(thing).or_default() += 1;
            }
        }
        let ours: BTreeSet<&String> = self.things.iter().map(|t| &t.name).collect();
        counts.into_iter().filter(|(t, n)| *n > 1 && ours.contains(t)).map(|(t, _)| t.clone()).collect()
    }

    /// Finds what wants a person; pure.
    pub fn findings(&self, max_age: SignedDuration, now: Timestamp) -> Vec<Finding> {
        let mut held: BTreeMap<&str, Vec<&Certificate>> = BTreeMap::new();
        let mut findings = Vec::new();
        for (id, certificate) in &self.certificates {
            match self.owners.get(id) {
                Some(thing) => held.entry(thing).or_default().push(certificate),
                None => findings.push(Finding {
                    thing: String::new(),
                    kind: What::Orphan,
                    what: format!(
                        "certificate {id} ({}) has the fleet's policy and no thing, since {}",
                        certificate.status, certificate.created
                    ),
                    remedy: "a registration that was cut off; set it INACTIVE if it stays so for a day"
                        .to_owned(),
                }),
            }
        }
        for (id, thing) in &self.bare {
            findings.push(Finding {
                thing: thing.clone(),
                kind: What::Bare,
                what: format!(
                    "certificate {} is REVOKED, and neither thing nor policy has it any more",
                    short(id)
                ),
                remedy: "a retiring that was cut off: certrot-fleet sweep".to_owned(),
            });
        }
        for Listed { name, thing } in &self.things {
            let certificates = held.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            let alive: Vec<_> = certificates.iter().filter(|c| c.status == Status::Active).collect();
            let mut find = |kind, what: String, remedy: String| {
                findings.push(Finding { thing: name.clone(), kind, what, remedy });
            };
            if let Some((newest, before)) = Record::of(thing).crowded() {
                find(
                    What::SecondCommit,
                    format!(
                        "two commits within an hour: {} at {} and {} at {}",
                        short(&before.certificate_id),
                        before.at,
                        short(&newest.certificate_id),
                        newest.at
                    ),
                    format!(
                        "if nobody rotated it twice, its identity was copied: certrot-fleet quarantine {name}"
                    ),
                );
            }
            if alive.len() > 2 {
                let what = format!("{} are alive", count(alive.len(), "certificate"));
                find(What::ManyAlive, what, "certrot-fleet sweep".to_owned());
            }
            match alive.iter().map(|c| c.created).max() {
                None => {
                    let word = Reclaim::of(thing)
                        .is_some_and(|r| r.used_by.is_none() && now.duration_since(r.given) < RECLAIM_LASTS);
                    let what = match (certificates.len(), word) {
                        (0, _) => "no certificate".to_owned(),
                        (n, true) => {
                            format!("{}, none alive; it may claim once more", count(n, "certificate"))
                        }
                        (n, false) => format!("{}, none alive", count(n, "certificate")),
                    };
                    let remedy = if word {
                        "the device tries its claim by itself".to_owned()
                    } else {
                        format!("to let it in again: certrot-fleet reclaim {name}")
                    };
                    find(What::NoneAlive, what, remedy);
                }
                Some(created) if now.duration_since(created) > max_age => find(
                    What::Overdue,
                    format!(
                        "its newest certificate is {} days old",
                        now.duration_since(created).as_hours() / 24
                    ),
                    "see `certrotctl status` on the device; it may be off".to_owned(),
                ),
                Some(_) => {}
            }
        }
        findings.sort_by(|a, b| (a.kind, &a.thing).cmp(&(b.kind, &b.thing)));
        findings
    }
}

/// Certificates that rest on the fleet's device policies, by policy.
pub fn device_targets(aws: &Aws, observed: &Observed) -> BTreeMap<String, Vec<String>> {
    let prefix = aws.fleet.device_policy_prefix();
    observed
        .resources
        .iter()
        .filter(|(id, seen)| id.kind == Kind::Policy && seen.tagged && id.name.starts_with(&prefix))
        .map(|(id, seen)| (id.name.clone(), seen.targets.clone()))
        .collect()
}

/// Looks at the fleet.
pub async fn view(
    aws: &Aws,
    desired: &Desired,
    ledger_claims: &BTreeMap<String, String>,
    max_age: SignedDuration,
    tell: &Tell,
) -> Result<View, FleetError> {
    let observed = aws.observe(desired, |id| tell.live(&format!("looks at {id}"))).await?;
    let policies = device_targets(aws, &observed);
    let devices = Devices::ask(aws, &policies, tell).await?;
    let now = now();
    let mut view = View {
        fleet: aws.fleet.as_str().to_owned(),
        account: aws.place.account.clone(),
        region: aws.place.region.clone(),
        endpoint: aws.endpoint().await?,
        missing: desired
            .resources
            .keys()
            .filter(|id| !observed.resources.contains_key(id))
            .map(ToString::to_string)
            .collect(),
        resources: observed.resources.len(),
        dead_letters: aws.dead_letters_waiting().await?,
        policies: policies.iter().map(|(name, targets)| (name.clone(), targets.len())).collect(),
        things: devices.things.len(),
        findings: devices.findings(max_age, now),
        ..View::default()
    };
    for certificate in devices.certificates.values() {
        *view.certificates.entry(certificate.status.to_string()).or_default() += 1;
        if certificate.status == Status::Active {
            let days = now.duration_since(certificate.created).as_hours() / 24;
            let bin = BINS.into_iter().find(|b| days < *b).unwrap_or(i64::MAX);
            *view.ages.entry(bin).or_default() += 1;
        }
    }
    view.claims = claims(aws, &observed, ledger_claims).await?;
    Ok(view)
}

async fn claims(
    aws: &Aws,
    observed: &Observed,
    known: &BTreeMap<String, String>,
) -> Result<Vec<Claim>, FleetError> {
    let prefix = aws.fleet.claim_policy_prefix();
    let mut batches: BTreeMap<String, Option<String>> =
        known.iter().map(|(batch, id)| (id.clone(), Some(batch.clone()))).collect();
    for (id, seen) in &observed.resources {
        if id.kind == Kind::Policy && seen.tagged && id.name.starts_with(&prefix) {
            for target in &seen.targets {
                batches.entry(target.clone()).or_default();
            }
            for (batch, certificate) in aws.claim_batches(&id.name).await? {
                batches.insert(certificate, Some(batch));
            }
        }
    }
    let mut claims = Vec::new();
    for (id, batch) in batches {
        let seen = aws.certificate(&id).await?;
        claims.push(Claim {
            batch,
            certificate_id: id,
            status: seen.as_ref().map_or("gone".to_owned(), |(c, _)| c.status.to_string()),
            created: seen.map(|(c, _)| c.created.to_string()),
        });
    }
    claims.sort_by(|a, b| a.batch.cmp(&b.batch));
    Ok(claims)
}

impl View {
    /// Tells it, at most `most` findings of it.
    pub fn tell(&self, tell: &Tell, most: usize) {
        tell.line(&format!("fleet         {} · account {} · {}", self.fleet, self.account, self.region));
        tell.line(&format!("endpoint      {}", self.endpoint));
        let missing = if self.missing.is_empty() {
            String::new()
        } else {
            format!(", missing: {} (`setup` makes them)", self.missing.join(", "))
        };
        tell.line(&format!("resources     {} there{missing}", self.resources));
        for claim in &self.claims {
            let since = claim.created.as_ref().map_or(String::new(), |c| format!(" since {c}"));
            let batch = claim.batch.as_deref().unwrap_or("(unknown)");
            tell.line(&format!(
                "claim         batch {batch}: {} {}{since}",
                short(&claim.certificate_id),
                claim.status
            ));
        }
        for (policy, rest) in &self.policies {
            tell.line(&format!("policy        {policy}: {}", count(*rest, "certificate")));
        }
        let words = |map: &BTreeMap<String, usize>| {
            map.iter().map(|(k, n)| format!("{n} {k}")).collect::<Vec<_>>().join(" · ")
        };
        tell.line(&format!("things        {}", self.things));
        let none = |words: String| if words.is_empty() { "none".to_owned() } else { words };
        tell.line(&format!("certificates  {}", none(words(&self.certificates))));
        let ages: Vec<String> = self
            .ages
            .iter()
            .map(
                |(bin, n)| if *bin == i64::MAX { format!("{n} older") } else { format!("{n} under {bin} d") },
            )
            .collect();
        tell.line(&format!("ages          {}", none(ages.join(" · "))));
        if let Some(waiting) = self.dead_letters.filter(|w| *w > 0) {
            tell.warn(&format!(
                "{} could not be handled and wait in the queue",
                count(usize::try_from(waiting).unwrap_or(usize::MAX), "commit")
            ));
        }
        for finding in self.findings.iter().take(most) {
            let who = if finding.thing.is_empty() { "-" } else { &finding.thing };
            tell.line(&format!("attention     {who}: {} → {}", finding.what, finding.remedy));
        }
        if self.findings.len() > most {
            tell.line(&format!("attention     and {} more; --json has all", self.findings.len() - most));
        }
    }
}

/// Bins of ages, in days.
const BINS: [i64; 5] = [1, 30, 60, 90, 180];
