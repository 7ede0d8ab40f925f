//! What an operator does to one thing: quarantine, reclaim, retire; and the sweep over all of them (rules 15 and 25).
//!
//! Decisions are those of `certrot-rules`, as in the Lambdas; this file asks AWS and says what happened.

use std::collections::BTreeMap;

use certrot_rules::record::{RECLAIM_ATTRIBUTE, Reclaim, Record, certificate_id};
use certrot_rules::registry::{Certificate, Status, Thing};
use certrot_rules::retire::Retire;
use certrot_rules::sweep::{self, Verdict, View, Why};

use crate::aws::devices::Listed;
use crate::aws::error::CallError;
use crate::aws::{Aws, found};
use crate::claim::now;
use crate::error::FleetError;
use crate::plan::{count, short};
use crate::tell::Tell;

/// Makes every certificate of a thing INACTIVE: whoever holds them is out within minutes, and it can be undone.
pub async fn quarantine(aws: &Aws, thing: &str, tell: &Tell) -> Result<(), FleetError> {
    ours(aws, thing).await?;
    let mut changed = 0;
    let mut missed = None;
    for id in aws.principals(thing).await? {
        let Some((certificate, _)) = aws.certificate(&id).await? else { continue };
        if certificate.status != Status::Active {
            tell.line(&format!("certificate {} is {} already", short(&id), certificate.status));
            continue;
        }
        // One that cannot be changed does not keep the others alive.
        match aws.set_status(&id, Status::Inactive).await {
            Ok(()) => {
                changed += 1;
                tell.line(&format!("certificate {} is INACTIVE now", short(&id)));
            }
            Err(error) => missed = Some(error),
        }
    }
    if let Some(error) = missed {
        return Err(error.into());
    }
    tell.line(&format!(
        "{thing} is cut off: {} changed; its sessions end within minutes. `certrot-fleet reclaim {thing}` lets it in \
         again",
        count(changed, "certificate")
    ));
    Ok(())
}

/// Lets a thing's claim in once more, for 24 hours (rule 23).
pub async fn reclaim(aws: &Aws, thing: &str, tell: &Tell) -> Result<(), FleetError> {
    let record = ours(aws, thing).await?;
    let word = Reclaim::given(now()).value();
    let values = BTreeMap::from([(RECLAIM_ATTRIBUTE.to_owned(), word)]);
    aws.set_attributes(thing, &values, record.version).await?;
    tell.line(&format!("{thing} may claim once more within 24 hours; the device tries by itself"));
    Ok(())
}

/// Retires the certificates of a thing that are older than one of them: for fleets without the commit topic.
pub async fn retire(aws: &Aws, thing: &str, keep: &str, tell: &Tell) -> Result<(), FleetError> {
    let refused = |why: &str| {
        Err(FleetError::NotOurs {
            what: "certificate",
            name: keep.chars().take(64).collect(),
            why: why.to_owned(),
        })
    };
    if certificate_id(keep).is_none() {
        return refused("it is no certificate id (64 hex digits, lower case)");
    }
    if aws.thing(thing).await?.is_none() {
        return Err(FleetError::NotOurs {
            what: "thing",
            name: thing.to_owned(),
            why: "there is none".to_owned(),
        });
    }
    if !aws.principals(thing).await?.iter().any(|id| id == keep) {
        return refused(&format!("it is not attached to {thing}"));
    }
    match aws.certificate(keep).await? {
        Some((c, _)) if c.status == Status::Active => {}
        Some((c, _)) => return refused(&format!("it is {}, and one that is kept must be ACTIVE", c.status)),
        None => return refused("there is none"),
    }
    run(aws, Retire::by_record(thing, keep, now())).await?;
    let left = aws.principals(thing).await?;
    let newer = left.iter().filter(|id| *id != keep).map(|id| short(id)).collect::<Vec<_>>();
    tell.line(&format!("{thing} keeps {}; every older certificate is gone", short(keep)));
    tell.warn(
        "whoever may do this may end any device's certificates: the commit topic needs no AWS credentials on devices, \
         and there the cloud knows which certificate asks",
    );
    if !newer.is_empty() {
        tell.warn(&format!("not older, and left: {}", newer.join(", ")));
    }
    Ok(())
}

/// What a sweep came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Certificates retired, or to be retired in a dry run.
    pub retired: usize,
    /// Certificates reported and left.
    pub reported: usize,
}

/// Certificates that a retiring which was cut off left without thing and policy, and the thing of each.
///
/// Nothing is attached to such a one, so only the thing's record of commits still names it: every generation commits
/// (rule 10), and whoever is retired has a place among the last few. One that no record of the fleet names may be
/// anybody's and is not looked at. Costs two calls for each that is named and REVOKED.
pub async fn bare(
    aws: &Aws,
    things: &[Listed],
    certificates: &[Certificate],
) -> Result<BTreeMap<String, String>, FleetError> {
    let mut named = BTreeMap::new();
    for Listed { name, thing } in things {
        let accepted = Record::of(thing);
        named.extend(accepted.accepted().iter().map(|a| (a.certificate_id.clone(), name.clone())));
    }
    let mut bare = BTreeMap::new();
    for certificate in certificates.iter().filter(|c| c.status == Status::Revoked) {
        let Some(thing) = named.get(&certificate.id) else { continue };
        let Some(holders) = found(aws.things_of(&certificate.id).await)? else { continue };
        if holders.is_empty() && aws.policies_of(&certificate.id).await?.is_empty() {
            bare.insert(certificate.id.clone(), thing.clone());
        }
    }
    Ok(bare)
}

/// Deletes what [`bare`] found.
pub async fn sweep_bare(
    aws: &Aws,
    bare: &BTreeMap<String, String>,
    dry: bool,
    tell: &Tell,
) -> Result<usize, FleetError> {
    for (id, thing) in bare {
        if !dry {
            aws.delete_certificate(id).await?;
        }
        let word = if dry { "would be deleted" } else { "is deleted" };
        tell.line(&format!("{thing}: certificate {} {word}: REVOKED, and nothing has it", short(id)));
    }
    Ok(bare.len())
}

/// Finishes what commits left behind, and reports what it must not touch.
pub async fn sweep(aws: &Aws, things: &[String], dry: bool, tell: &Tell) -> Result<Swept, FleetError> {
    let mut swept = Swept::default();
    for (number, name) in things.iter().enumerate() {
        tell.live(&format!("thing {} of {}: {name}", number + 1, things.len()));
        let thing = ours(aws, name).await?;
        let view = View { thing, attached: attached(aws, name).await? };
        let findings = sweep::sweep(&view);
        let mut by = None;
        for finding in &findings {
            let id = short(&finding.certificate_id);
            match &finding.verdict {
                Verdict::Retire { by: newer } => {
                    swept.retired += 1;
                    let word = if dry { "would be retired" } else { "is retired" };
                    tell.line(&format!("{name}: certificate {id} {word} by the word of {}", short(newer)));
                    by = Some(newer.clone());
                }
                Verdict::Report(Why::OnlyOne | Why::NewestActive) => {}
                Verdict::Report(why) => {
                    swept.reported += 1;
                    tell.line(&format!("{name}: certificate {id} is left: {}", words(*why)));
                }
            }
        }
        if let Some(by) = by.filter(|_| !dry) {
            run(aws, Retire::by_record(name, &by, now())).await?;
        }
    }
    Ok(swept)
}

/// The certificates of a thing, as AWS has them.
pub async fn attached(aws: &Aws, thing: &str) -> Result<Vec<Certificate>, FleetError> {
    let mut attached = Vec::new();
    for id in aws.principals(thing).await? {
        attached.extend(aws.certificate(&id).await?.map(|(c, _)| c));
    }
    Ok(attached)
}

/// The thing, when it is the fleet's.
pub async fn ours(aws: &Aws, name: &str) -> Result<Thing, FleetError> {
    let refused = |why: String| FleetError::NotOurs { what: "thing", name: name.to_owned(), why };
    match aws.thing(name).await? {
        None => Err(refused("there is none".to_owned())),
        Some((thing, kind)) if kind.as_deref() == Some(aws.fleet.as_str()) => Ok(thing),
        Some((_, kind)) => Err(refused(format!(
            "its thing type is {}, not {}: it is not this fleet's",
            kind.as_deref().unwrap_or("none"),
            aws.fleet
        ))),
    }
}

/// Runs the retire handler's own machine; the first call that failed for good is the command's error.
async fn run(aws: &Aws, mut retire: Retire) -> Result<(), CallError> {
    let mut failed = None;
    while let Some(call) = retire.next() {
        let (outcome, error) = aws.wish(&call).await;
        // A conflict is waited for by the machine itself, and told if it never ends.
        failed = failed.or(error.filter(|e| e.refusal != crate::aws::error::Refusal::Conflict));
        retire.feed(outcome);
    }
    failed.map_or(Ok(()), Err)
}

fn words(why: Why) -> &'static str {
    match why {
        Why::OnlyOne => "it is the thing's only one",
        Why::NewestActive => "it is the newest ACTIVE one",
        Why::NeverCommitted => "the thing never committed",
        Why::NoNewerCommit => "no newer ACTIVE certificate has committed",
    }
}
