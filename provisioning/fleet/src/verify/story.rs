//! The life of an honest device, step by step, with the attacks at the points where they could do most harm.
//!
//! ```text
//! claim ─▶ A ─▶ (attacks) ─▶ rotate: B′ by a lie, B honestly ─▶ commits on A ─▶ commit on B: A and B′ die
//!       ─▶ quarantine ─▶ (claim) ─▶ reclaim ─▶ C, commit: B dies
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use certrot_rules::registry::Status;
use certrotd::cloud::payload::{CommitAnswer, Registered, Secret};
use certrotd::cloud::proof::rotation_answers;
use certrotd::cloud::{prove, topics};
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::Run;
use super::report::{fact, promise};
use super::wire::{ANSWER, DEAD, Issued, Line, Pair, WireError};
use crate::allow;
use crate::claim;
use crate::desired::claim_policy_name;
use crate::error::FleetError;
use crate::files::{self, FileError};
use crate::keys::Key;
use crate::tell::Tell;

impl Run<'_, '_> {
    /// Everything, in order; it ends early where an honest step does not come about.
    pub async fn all(&mut self) -> Result<(), FleetError> {
        let thing = self.trial.thing();
        let (claim, listed) = self.prepared().await?;
        self.strangers(&claim, listed).await?;
        let (a, token) = self.first(&claim).await?;
        let line = self.proved("the first certificate", &a).await?;
        self.accepted("the first commit", &line, &a).await?;
        self.on_claim(&claim, &a, &line, &token).await?;
        drop(line);
        self.on_device(&a).await?;

        let liar = self.lie(&a).await?;
        let b = self.rotated(&a).await?;
        let newest = self.taken_over(&a, &b).await?;
        drop(newest);
        let all: Vec<&Pair> = [Some(&a), liar.as_ref(), Some(&b)].into_iter().flatten().collect();
        self.commits_on_the_old_one(&a, &all).await?;
        let line = self.connected(&b, &thing).await?;
        self.accepted("the commit of the successor", &line, &b).await?;
        self.dies("the old certificate", &a).await?;
        if let Some(liar) = &liar {
            self.dies("the one that was got by a lie", liar).await?;
        }
        let alive = self.status(&b.id).await? == Some(Status::Active) && line.session.is_alive();
        self.row(promise("the successor meanwhile", "ACTIVE, connected", alive, self.words(&[&b]).await?));
        self.shut_out("the old certificate after its end", &a).await?;
        drop(line);

        self.quarantined(&claim, &b).await?;
        self.reclaimed(&claim, &b).await?;
        self.expiry(&b).await?;
        self.left_out();
        Ok(())
    }

    /// The other thing, the claim certificate, the serial on the list.
    async fn prepared(&mut self) -> Result<(Pair, bool), FleetError> {
        let aws = self.work.aws;
        self.trying("a claim certificate of its own");
        aws.make_thing(&self.trial.other()).await?;
        let policies = aws.policies_of_fleet(&aws.fleet.claim_policy_prefix()).await?;
        let wanted = claim_policy_name(&aws.fleet);
        let Some(policy) = policies.iter().find(|p| **p == wanted).or(policies.last()) else {
            return Err(FleetError::NotOurs {
                what: "fleet",
                name: aws.fleet.as_str().to_owned(),
                why: "it has no claim policy: `setup` makes one".to_owned(),
            });
        };
        let batch = self.trial.batch();
        claim::make(aws, self.work.ledger, policy, &batch, &Tell::quiet()).await?;
        let files = claim::Pair::of(self.work.ledger, &batch);
        let text = |path: &std::path::Path| -> Result<Zeroizing<String>, FleetError> {
            let gone = || FileError::new("read", path, std::io::Error::from(std::io::ErrorKind::NotFound));
            let bytes = Zeroizing::new(files::read(path)?.ok_or_else(gone)?);
            Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
        };
        let key = Key::from_pem(&text(&files.key)?)?;
        let claim = self.wire.pair(&text(&files.certificate)?, &key)?;
        let listed = self.work.has_list().await?;
        if listed {
            self.trying("its serial goes on the allow-list");
            self.trial.listed = true;
            self.work.ledger.set_trial(Some(self.trial.clone()))?;
            let add = BTreeSet::from([self.trial.thing()]);
            allow::change(self.work, &add, &BTreeSet::new(), &self.order.lambdas).await?;
        }
        let client = self.claim_client();
        let (_, took) = self.wire.until_accepted(&claim, &client, true).await.map_err(WireError::from)?;
        let seen = format!("after {}", seconds(took));
        self.row(promise("a claim certificate connects as claim-…", "accepted", true, seen));
        Ok((claim, listed))
    }

    /// The first certificate by a real claim; its token is used on another connection than the one that got it.
    async fn first(&mut self, claim: &Pair) -> Result<(Pair, Secret), FleetError> {
        let (template, thing) = (self.work.aws.fleet.claim_template(), self.trial.thing());
        let what = "an ownership token on another connection than its own";
        let began = Instant::now();
        loop {
            self.trying("a claim");
            let first = self.issue_on_claim(claim).await?;
            let line = self.claim_line(claim).await?;
            let refused = match line.register(&template, &first.token, &thing).await? {
                Ok(registered) => {
                    self.row(fact(what, "counts", true, "accepted"));
                    self.provisioned(&registered);
                    return Ok((first.pair, first.token));
                }
                Err(refused) => refused,
            };
            let second = self.issue(&line).await?;
            match line.register(&template, &second.token, &thing).await? {
                Ok(registered) => {
                    self.row(fact(what, "counts", false, refused.to_string()));
                    self.provisioned(&registered);
                    return Ok((second.pair, second.token));
                }
                // A warm hook may not have heard of the list yet.
                Err(_) if began.elapsed() < LISTED => sleep(Duration::from_secs(5)).await,
                Err(refused) => return Err(WireError::Rejected("RegisterThing by the claim", refused).into()),
            }
        }
    }

    fn provisioned(&mut self, registered: &Registered) {
        let thing = self.trial.thing();
        let (kept, seen) = named(registered, &thing);
        self.row(promise("first provisioning with a claim", "its own thing", kept, seen));
    }

    /// Connects with a certificate for the first time, and tries each right that the daemon needs (rule 7).
    async fn proved(&mut self, what: &str, pair: &Pair) -> Result<Line, FleetError> {
        let thing = self.trial.thing();
        self.trying(&format!("{what} connects"));
        let (line, took) = self.wire.until_accepted(pair, &thing, false).await.map_err(WireError::from)?;
        self.row(promise(format!("{what} connects as its thing"), "accepted", true, after(took)));
        self.may_all(what, &line).await?;
        Ok(line)
    }

    async fn may_all(&mut self, what: &str, line: &Line) -> Result<(), FleetError> {
        let thing = self.trial.thing();
        let standing = topics::standing(&thing).map_err(WireError::from)?;
        let answers = rotation_answers(&self.work.aws.fleet.rotation_template()).map_err(WireError::from)?;
        prove(&line.session, &standing, &answers, ANSWER).await.map_err(WireError::from)?;
        let published = line.publish(&format!("device/{thing}/state"), b"verify").await;
        let seen = match &published {
            Ok(None) => "all of it".to_owned(),
            Ok(Some(cause)) => format!("its own topic: {cause}"),
            Err(unclear) => format!("its own topic: {unclear}"),
        };
        let kept = published == Ok(None);
        self.row(promise(format!("{what} may do what the daemon does"), "allowed", kept, seen));
        Ok(())
    }

    /// A commit that must be accepted.
    pub async fn accepted(&mut self, what: &str, line: &Line, pair: &Pair) -> Result<(), FleetError> {
        self.trying(what);
        let began = Instant::now();
        let mut answer = line.commit(&self.trial.thing(), &pair.id).await?;
        // A handler that AWS throttles says when to come again; a device does.
        while let CommitAnswer::Rejected { retry_after: Some(wait), .. } = &answer
            && began.elapsed() + *wait < DEAD
        {
            sleep((*wait).max(Duration::from_secs(1))).await;
            answer = line.commit(&self.trial.thing(), &pair.id).await?;
        }
        let kept = matches!(&answer, CommitAnswer::Accepted { certificate_id } if *certificate_id == pair.id);
        let seen = format!("{} after {}", answered(&answer), seconds(began.elapsed()));
        self.row(promise(what, "accepted", kept, seen));
        Ok(())
    }

    /// A rotation that names the other thing: the thing is the client id, whatever a device writes (rule 24). Gives the
    /// certificate where it came to the device's own thing.
    async fn lie(&mut self, a: &Pair) -> Result<Option<Pair>, FleetError> {
        let (thing, other, aws) = (self.trial.thing(), self.trial.other(), self.work.aws);
        let template = aws.fleet.rotation_template();
        self.trying("a rotation that names another thing");
        let since = claim::now();
        let line = self.connected(a, &thing).await?;
        let liar = self.issue(&line).await?;
        let what = "a device that names another thing in its rotation";
        let mut own = false;
        match line.register(&template, &liar.token, &other).await? {
            Ok(registered) => {
                let (named, seen) = named(&registered, &thing);
                let attached = named && self.attached(&thing, &liar.pair.id).await?;
                let others = aws.principals(&other).await?;
                own = named && attached && others.is_empty();
                self.row(promise(what, "its own thing", own, seen));
            }
            Err(refused) => self.row(promise(what, "its own thing", true, refused.to_string())),
        }
        self.asker(&liar.pair.id, a, since).await?;
        Ok(own.then_some(liar.pair))
    }

    async fn rotated(&mut self, a: &Pair) -> Result<Pair, FleetError> {
        let thing = self.trial.thing();
        self.trying("a rotation");
        let line = self.connected(a, &thing).await?;
        let b = self.issue(&line).await?;
        let template = self.work.aws.fleet.rotation_template();
        let registered = line.register(&template, &b.token, &thing).await?;
        let registered =
            registered.map_err(|refused| WireError::Rejected("RegisterThing by the rotation", refused))?;
        let (kept, seen) = named(&registered, &thing);
        self.row(promise("an honest rotation", "its own thing", kept, seen));
        Ok(b.pair)
    }

    /// The new certificate takes the session over; whether the broker's session goes with it is a fact.
    async fn taken_over(&mut self, a: &Pair, b: &Pair) -> Result<Line, FleetError> {
        let thing = self.trial.thing();
        self.trying("the new certificate takes the session over");
        let (old, _) = self.wire.until_accepted(a, &thing, false).await.map_err(WireError::from)?;
        let filter = [format!("device/{thing}/orders")];
        old.session.subscribe(&filter, ANSWER).await.map_err(WireError::from)?;
        let (new, took) = self.wire.until_accepted(b, &thing, false).await.map_err(WireError::from)?;
        let cause = timeout(OVER, old.session.closed()).await;
        let seen = cause.as_ref().map_or_else(|_| "it lives on".to_owned(), ToString::to_string);
        let seen = format!("accepted {}; the old one: {seen}", after(took));
        self.row(promise(
            "the new certificate takes the session over",
            "old connection ends",
            cause.is_ok(),
            seen,
        ));
        let seen = format!("sessionPresent {}", u8::from(new.present));
        self.row(fact("a persistent session under another certificate", "goes over", new.present, seen));
        self.may_all("the new certificate", &new).await?;
        Ok(new)
    }

    /// A claim connection with a certificate issued on it, and then dropped.
    async fn issue_on_claim(&mut self, claim: &Pair) -> Result<Issued, FleetError> {
        let line = self.claim_line(claim).await?;
        self.issue(&line).await
    }

    /// Has a certificate issued, and written down.
    pub async fn issue(&mut self, line: &Line) -> Result<Issued, FleetError> {
        let issued = line.issue(&self.wire).await?;
        self.issued(&issued.pair.id)?;
        Ok(issued)
    }

    /// A connection with the claim certificate, under a client id of its own.
    pub async fn claim_line(&self, claim: &Pair) -> Result<Line, FleetError> {
        let client = self.claim_client();
        let (line, _) = self.wire.until_accepted(claim, &client, true).await.map_err(WireError::from)?;
        Ok(line)
    }

    /// A connection with a device certificate.
    pub async fn connected(&self, pair: &Pair, client: &str) -> Result<Line, FleetError> {
        let (line, _) = self.wire.until_accepted(pair, client, true).await.map_err(WireError::from)?;
        Ok(line)
    }

    fn claim_client(&self) -> String {
        format!("claim-{}-{:08x}", self.trial.thing(), fastrand::u32(..))
    }

    /// Says whether a certificate is seen on a thing; the registry may be late.
    async fn attached(&self, thing: &str, id: &str) -> Result<bool, FleetError> {
        let end = Instant::now() + LATE;
        loop {
            if self.work.aws.principals(thing).await?.iter().any(|p| p == id) {
                return Ok(true);
            }
            if Instant::now() > end {
                return Ok(false);
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// A certificate's status; `None` where it is gone.
    pub async fn status(&self, id: &str) -> Result<Option<Status>, FleetError> {
        Ok(self.work.aws.certificate(id).await?.map(|(c, _)| c.status))
    }

    /// Certificates' statuses in words.
    pub async fn words(&self, pairs: &[&Pair]) -> Result<String, FleetError> {
        let mut words = Vec::new();
        for pair in pairs {
            words.push(self.status(&pair.id).await?.map_or("deleted", Status::as_str));
        }
        Ok(words.join(", "))
    }
}

/// Whether an answer names the device's own thing, and what it names.
pub fn named(registered: &Registered, thing: &str) -> (bool, String) {
    match registered.thing_name.as_deref() {
        Some(name) if name == thing => (true, "its own thing".to_owned()),
        Some(name) => (false, format!("thing {}", name.chars().take(64).collect::<String>())),
        None => (false, "the answer names no thing".to_owned()),
    }
}

/// An answer to a commit in words.
pub fn answered(answer: &CommitAnswer) -> String {
    match answer {
        CommitAnswer::Accepted { .. } => "accepted".to_owned(),
        CommitAnswer::Rejected { reason, .. } => format!("rejected ({reason})"),
    }
}

/// `0.3 s`.
pub fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f32())
}

/// `after 0.3 s`.
pub fn after(took: Duration) -> String {
    format!("after {}", seconds(took))
}

/// How long a change of the allow-list or of a thing may take to reach the hook.
pub const LISTED: Duration = Duration::from_secs(120);

/// How long the registry may take to show what it has answered for.
const LATE: Duration = Duration::from_secs(60);

/// How long the broker may take to end a connection that was taken over.
const OVER: Duration = Duration::from_secs(60);
