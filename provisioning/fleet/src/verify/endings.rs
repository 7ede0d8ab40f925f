//! How certificates end: by a commit, in quarantine, after reclaim; and which may not.

use std::time::Duration;

use certrot_rules::registry::Status;
use certrotd::cloud::Cause;
use certrotd::cloud::payload::CommitAnswer;
use tokio::time::{Instant, sleep, timeout};

use super::Run;
use super::report::{fact, promise};
use super::story::{LISTED, after, answered, named, seconds};
use super::wire::{DEAD, Pair, WireError, is_known};
use crate::error::FleetError;
use crate::tell::Tell;
use crate::things;

impl Run<'_, '_> {
    /// Commits on the older certificate: one for itself, one that names its successor (rules 11 and 12).
    pub async fn commits_on_the_old_one(&mut self, a: &Pair, all: &[&Pair]) -> Result<(), FleetError> {
        let thing = self.trial.thing();
        let newest = all.last().map_or(a.id.as_str(), |pair| pair.id.as_str()).to_owned();
        for (what, id) in [
            ("a commit on the old certificate, for itself", a.id.clone()),
            ("a commit on the old certificate that names the new one", newest),
        ] {
            self.trying(what);
            let line = self.connected(a, &thing).await?;
            let answer = line.commit(&thing, &id).await?;
            let mut kept = id == a.id || matches!(answer, CommitAnswer::Rejected { .. });
            for pair in all {
                kept &= self.status(&pair.id).await? == Some(Status::Active);
            }
            let expected = if id == a.id { "nobody dies" } else { "rejected, nobody dies" };
            let seen = format!("{}; {}", answered(&answer), self.words(all).await?);
            self.row(promise(what, expected, kept, seen));
        }
        Ok(())
    }

    /// Watches a certificate die.
    pub async fn dies(&mut self, what: &str, pair: &Pair) -> Result<(), FleetError> {
        self.trying(&format!("{what} dies"));
        let began = Instant::now();
        let dead = loop {
            match self.status(&pair.id).await? {
                None => break true,
                Some(status) if status.is_dead() => break true,
                Some(_) if began.elapsed() > DEAD => break false,
                Some(_) => sleep(Duration::from_millis(500)).await,
            }
        };
        let seen = format!("{} after {}", self.words(&[pair]).await?, seconds(began.elapsed()));
        self.row(promise(format!("{what} after the commit"), "dead", dead, seen));
        Ok(())
    }

    /// CONNECT with a certificate that is not ACTIVE any more; how it is refused is a fact.
    pub async fn shut_out(&mut self, what: &str, pair: &Pair) -> Result<(), FleetError> {
        let what = format!("CONNECT with {what}");
        self.trying(&what);
        match self.wire.until_refused(pair, &self.trial.thing()).await {
            Ok((failure, took)) => {
                let seen = format!("{}, {}", failure.cause, after(took));
                self.row(promise(what, "refused", true, seen));
                self.how("how a certificate that is not ACTIVE is refused", &failure.cause);
            }
            Err(took) => {
                let seen = format!("still let in {}", after(took));
                self.row(promise(what, "refused", false, seen));
            }
        }
        Ok(())
    }

    /// How AWS says no to a CONNECT; told once for each kind.
    pub fn how(&mut self, what: &str, cause: &Cause) {
        if self.report.rows.iter().all(|row| row.what != what) {
            self.row(fact(what, "alert, code 5 or 7, close", is_known(cause), cause.to_string()));
        }
    }

    /// Quarantine: the live session ends, nobody comes in, and no claim helps (rules 23 and 25).
    pub async fn quarantined(&mut self, claim: &Pair, b: &Pair) -> Result<(), FleetError> {
        let thing = self.trial.thing();
        self.trying("quarantine");
        let line = self.connected(b, &thing).await?;
        things::quarantine(self.work.aws, &thing, &Tell::quiet()).await?;
        let began = Instant::now();
        let ended = timeout(DEAD, line.session.closed()).await;
        let seen = match &ended {
            Ok(cause) => format!("{cause}, {}", after(began.elapsed())),
            Err(_) => format!("alive {}", after(began.elapsed())),
        };
        self.row(promise("a live session of a device in quarantine", "ends", ended.is_ok(), seen));
        self.shut_out("a certificate in quarantine", b).await?;
        self.denied("a claim for a thing in quarantine", claim, &thing, false).await
    }

    /// Reclaim lets in once, and the old certificate dies with the commit of the new one.
    pub async fn reclaimed(&mut self, claim: &Pair, b: &Pair) -> Result<(), FleetError> {
        let (thing, template) = (self.trial.thing(), self.work.aws.fleet.claim_template());
        self.trying("reclaim");
        things::reclaim(self.work.aws, &thing, &Tell::quiet()).await?;
        let began = Instant::now();
        let c = loop {
            let line = self.claim_line(claim).await?;
            let c = self.issue(&line).await?;
            match line.register(&template, &c.token, &thing).await? {
                Ok(registered) => {
                    let (kept, seen) = named(&registered, &thing);
                    self.row(promise("a claim after reclaim", "its own thing", kept, seen));
                    break c.pair;
                }
                Err(_) if began.elapsed() < LISTED => sleep(Duration::from_secs(5)).await,
                Err(refused) => return Err(WireError::Rejected("the claim after reclaim", refused).into()),
            }
        };
        self.denied("a second claim by the same word of reclaim", claim, &thing, false).await?;
        let line = self.connected(&c, &thing).await?;
        self.accepted("the commit after reclaim", &line, &c).await?;
        self.dies("the certificate from before the quarantine", b).await
    }
}
