//! `cleanup`: takes away what this tool made, and nothing else, in the order that AWS demands.
//!
//! ```text
//! rule, templates ─▶ claims (asks) ─▶ devices (asks, only with --things) ─▶ functions, logs, queue, roles
//!   ─▶ policies (a detachment takes minutes to be seen) ─▶ thing group ─▶ thing type (five minutes after its end)
//! ```
//! What is the fleet's is known by its tag or by the ledger; what is neither is told and left. Killed anywhere, the next
//! run goes on with what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::allow;
use crate::aws::error::{CallError, Refusal};
use crate::check;
use crate::claim;
use crate::desired::{Code, Desired, Settings};
use crate::error::FleetError;
use crate::files;
use crate::ledger::Trial;
use crate::model::{Body, Id, Kind};
use crate::plan::{count, short};
use crate::setup::{CONFIG, ROOT, Work};
use crate::things;
use crate::verify;

/// What `cleanup` is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope {
    /// The fleet's things and their certificates go too.
    pub things: bool,
}

/// What is there to be taken away.
#[derive(Debug, Default)]
struct Found {
    ours: BTreeSet<Id>,
    foreign: Vec<Id>,
    claims: BTreeSet<String>,
    devices: BTreeSet<String>,
    things: Vec<String>,
}

impl Work<'_> {
    /// Takes the fleet away; `Err(Left)` says what stays and why.
    pub async fn cleanup(&mut self, scope: Scope) -> Result<(), FleetError> {
        let found = self.look().await?;
        self.confirm(&found, scope)?;
        let mut left: Vec<String> =
            found.foreign.iter().map(|id| format!("{id} (not this fleet's)")).collect();
        // The list goes with the fleet.
        let trial = verify::clear(self, None).await?;
        left.extend(trial.left.into_iter().map(|what| format!("{what} (of a verify)")));

        let of = |kinds: &[Kind]| {
            found.ours.iter().filter(|id| kinds.contains(&id.kind)).cloned().collect::<Vec<_>>()
        };
        for id in of(&[Kind::Rule, Kind::Template]) {
            self.remove(&id).await?;
        }
        check::clear(self.aws, self.ledger).await?;
        self.end_claims(&found.claims).await?;
        if scope.things {
            self.end_devices(&found).await?;
        }
        for id in of(&[Kind::Function, Kind::LogGroup, Kind::Queue, Kind::Role]) {
            self.remove(&id).await?;
        }
        let nobody = found.devices.is_empty() && found.things.is_empty();
        let living = !scope.things && !nobody;
        for id in of(&[Kind::Policy]) {
            let targets = if living { self.aws.targets(&id.name).await? } else { Vec::new() };
            if targets.is_empty() {
                self.remove(&id).await?;
            } else {
                left.push(format!("{id} ({} rest on it)", count(targets.len(), "device certificate")));
            }
        }
        for id in of(&[Kind::ThingGroup, Kind::ThingType]) {
            if !living {
                self.remove(&id).await?;
            } else {
                left.push(format!("{id} ({} have it)", count(found.things.len(), "thing")));
            }
        }
        if !left.is_empty() {
            return Err(FleetError::Left(left.join(", ")));
        }
        self.close()
    }

    async fn look(&mut self) -> Result<Found, FleetError> {
        let code = Code { architecture: String::new(), hashes: BTreeMap::new() };
        let desired = Desired::new(&self.aws.fleet, &self.aws.place, &Settings::default(), &code);
        let observed = self.aws.observe(&desired, |id| self.tell.live(&format!("looks at {id}"))).await?;
        let mut found = Found::default();
        for (id, seen) in observed.resources {
            if !seen.tagged && !self.ledger.made().contains(&id) {
                found.foreign.push(id);
                continue;
            }
            let certificates = seen.targets.into_iter().filter(|t| t.len() == 64);
            if id.name.starts_with(&self.aws.fleet.claim_policy_prefix()) && id.kind == Kind::Policy {
                found.claims.extend(certificates);
            } else if id.kind == Kind::Policy {
                found.devices.extend(certificates);
            }
            // A permission goes with its function.
            if id.kind != Kind::Permission {
                found.ours.insert(id);
            }
        }
        found.claims.extend(self.ledger.claims().values().cloned());
        // A run that was killed had been told that these go.
        found.claims.extend(self.ledger.ending().iter().cloned());
        let things = self.aws.things(|n| self.tell.live(&format!("things: {n}"))).await?;
        let certificates = self.aws.certificates(|n| self.tell.live(&format!("certificates: {n}"))).await?;
        found.devices.extend(things::bare(self.aws, &things, &certificates).await?.into_keys());
        let throw_away = self.throw_away();
        found.things = things.into_iter().map(|t| t.name).filter(|n| !throw_away.contains(n)).collect();
        let mut theirs = BTreeSet::new();
        for thing in &throw_away {
            theirs.extend(found_or_none(self.aws.principals(thing).await)?);
        }
        found.devices.retain(|id| !theirs.contains(id));
        Ok(found)
    }

    /// Things that are no devices: the policy check's and a verify's.
    fn throw_away(&self) -> Vec<String> {
        let trial = self.ledger.trial().map(Trial::things);
        std::iter::once(self.aws.fleet.probe()).chain(trial.into_iter().flatten()).collect()
    }

    fn confirm(&self, found: &Found, scope: Scope) -> Result<(), FleetError> {
        if !found.claims.is_empty() {
            self.tell.ask(&format!(
                "Remove {}? Devices that were not provisioned yet cannot be any more.",
                count(found.claims.len(), "claim certificate")
            ))?;
        }
        let devices = count(found.things.len(), "thing");
        if found.things.is_empty() && found.devices.is_empty() {
            Ok(())
        } else if scope.things {
            self.tell.ask(&format!(
                "Remove {devices} and their certificates? These devices lose their identity for good."
            ))
        } else {
            self.tell.ask(&format!(
                "{devices} stay, with their certificates and policy, and cannot rotate any more (--things removes \
                 them). Go on?"
            ))
        }
    }

    async fn end_claims(&mut self, claims: &BTreeSet<String>) -> Result<(), FleetError> {
        for purpose in self.ledger.unfinished() {
            if let Some(begun) = self.ledger.begun(&purpose).cloned()
                && let Some((id, ..)) = claim::by_public_key(self.aws, &begun).await?
            {
                claim::end(self.aws, &id).await?;
            }
            self.ledger.finish(&purpose)?;
        }
        for id in claims {
            self.tell.live(&format!("claim certificate {}", short(id)));
            self.end(id).await?;
            self.tell.line(&format!("removed certificate {}", short(id)));
        }
        for batch in self.ledger.claims().keys().cloned().collect::<Vec<_>>() {
            let pair = claim::Pair::of(self.ledger, &batch);
            for path in [&pair.key, &pair.certificate, &pair.dir] {
                files::remove(path)?;
            }
            self.ledger.claim(&batch, None)?;
        }
        Ok(())
    }

    async fn end_devices(&mut self, found: &Found) -> Result<(), FleetError> {
        let of = found.things.len();
        for (number, thing) in found.things.iter().enumerate() {
            self.tell.live(&format!("thing {} of {of}: {thing}", number + 1));
            for id in self.aws.principals(thing).await? {
                self.end(&id).await?;
            }
            patiently(|| self.aws.delete_thing(thing)).await?;
        }
        // Certificates with the fleet's policy that no thing has.
        for id in &found.devices {
            self.tell.live(&format!("device certificate {}", short(id)));
            self.end(id).await?;
        }
        self.tell.line(&format!("removed {} and their certificates", count(of, "thing")));
        Ok(())
    }

    async fn end(&mut self, id: &str) -> Result<(), FleetError> {
        self.ledger.end(id)?;
        claim::end(self.aws, id).await?;
        Ok(self.ledger.ended(id)?)
    }

    async fn remove(&mut self, id: &Id) -> Result<(), FleetError> {
        self.tell.live(&format!("removes {id}"));
        if id.kind == Kind::ThingType {
            // Its five minutes begin anew with each deprecation: one that is out of use already is left so.
            let deprecated = Body::ThingType { deprecated: true };
            if self.aws.see(id).await?.is_some_and(|seen| seen.body != deprecated) {
                self.aws.deprecate_thing_type(&id.name, false).await?;
            }
            self.tell.live(&format!("removes {id}: AWS deletes it five minutes after its end"));
            // AWS says InvalidRequest until then.
            let waits = |e: &CallError| matches!(e.refusal, Refusal::Other | Refusal::Conflict);
            patiently_while(|| self.aws.delete_thing_type(&id.name), waits).await?;
        } else {
            patiently(|| self.aws.delete(id)).await?;
        }
        self.ledger.removed(id)?;
        self.tell.line(&format!("{:>6.1}s  removed {id}", self.tell.seconds()));
        Ok(())
    }

    /// Removes what was written here; the ledger itself goes with the last of it.
    fn close(&mut self) -> Result<(), FleetError> {
        self.ledger.clear()?;
        let dir = self.ledger.dir().to_owned();
        for path in [dir.join(CONFIG), dir.join(ROOT), allow::path(&dir)] {
            files::remove(&path)?;
        }
        let claims = dir.join("claims");
        if claims.is_dir() && claims.read_dir().is_ok_and(|mut d| d.next().is_none()) {
            files::remove(&claims)?;
        }
        self.tell.line("nothing is left");
        Ok(())
    }
}

fn found_or_none(principals: Result<Vec<String>, CallError>) -> Result<Vec<String>, CallError> {
    Ok(crate::aws::found(principals)?.unwrap_or_default())
}

/// Does something until AWS has seen what came before it.
pub async fn patiently<Sent>(send: impl Fn() -> Sent) -> Result<(), CallError>
where
    Sent: Future<Output = Result<(), CallError>>,
{
    patiently_while(send, |error| error.refusal == Refusal::Conflict || still_attached(error)).await
}

async fn patiently_while<Sent>(
    send: impl Fn() -> Sent,
    waits: impl Fn(&CallError) -> bool,
) -> Result<(), CallError>
where
    Sent: Future<Output = Result<(), CallError>>,
{
    let end = Instant::now() + LONGEST;
    let mut wait = Duration::from_millis(250);
    loop {
        match send().await {
            Err(error) if waits(&error) && Instant::now() + wait < end => {}
            other => return other,
        }
        sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(10));
    }
}

/// AWS IoT answers InvalidRequest for a thing whose detachment it has not seen yet.
fn still_attached(error: &CallError) -> bool {
    error.refusal == Refusal::Other && error.message.contains("attached")
}

/// DetachPolicy and a thing type's deprecation take up to five minutes (API reference).
const LONGEST: Duration = Duration::from_secs(7 * 60);
