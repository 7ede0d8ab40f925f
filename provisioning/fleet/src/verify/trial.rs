//! What `verify` makes and takes away again: a claim batch, a serial on the allow-list, two things, certificates.
//!
//! All of it is in the ledger before it is in the account, under one random word. So what a `verify` that was killed
//! left behind is taken away by the next one, or by `cleanup`; nothing that does not carry the word is touched.

use std::collections::BTreeSet;
use std::path::Path;

use certrot_rules::registry::Status;
use certrot_rules::serial::CLAIM_PREFIX;

use crate::allow;
use crate::aws::Aws;
use crate::aws::error::Refusal;
use crate::claim;
use crate::cleanup::patiently;
use crate::error::FleetError;
use crate::ledger::Trial;
use crate::plan::short;
use crate::setup::Work;
use crate::tell::Tell;

impl Trial {
    /// A new one: 64 random bits, so that no claim holder meets its serial while it is on the list.
    pub fn new() -> Self {
        Trial { word: format!("{PREFIX}{:016x}", fastrand::u64(..)), ..Trial::default() }
    }

    /// The thing that is provisioned and rotated; its serial too.
    pub fn thing(&self) -> String {
        self.word.clone()
    }

    /// The thing that it tries to be.
    pub fn other(&self) -> String {
        format!("{}-other", self.word)
    }

    /// A serial that is on no list.
    pub fn stranger(&self) -> String {
        format!("{}-stranger", self.word)
    }

    /// A serial that may be nobody's: client ids of claims begin so.
    pub fn forbidden(&self) -> String {
        format!("{CLAIM_PREFIX}{}", self.word)
    }

    /// Every thing that it may come to, if a promise is broken.
    pub fn things(&self) -> [String; 4] {
        [self.thing(), self.other(), self.stranger(), self.forbidden()]
    }

    /// The batch of its claim certificate.
    pub fn batch(&self) -> String {
        self.word.clone()
    }
}

/// What is left of a trial, and what goes by itself.
#[derive(Debug, Default)]
pub struct Gone {
    /// What could not be taken away, and why.
    pub left: Vec<String>,
    /// What AWS takes away later.
    pub notes: Vec<String>,
}

/// Takes a trial away, this run's or an earlier one's; one part that fails does not keep the others alive.
///
/// `lambdas` is where the hook's program lies, for the allow-list; `None` where the functions go too, with the
/// whole fleet: then only the operator's own copy of the list is set right.
pub async fn clear(work: &mut Work<'_>, lambdas: Option<&Path>) -> Result<Gone, FleetError> {
    let mut gone = Gone::default();
    let Some(mut trial) = work.ledger.trial().cloned() else { return Ok(gone) };
    let aws = work.aws;
    let quiet = Tell::quiet();
    let mut miss = |what: String, error: &FleetError| gone.left.push(format!("{what}: {}", told(error)));

    let mut certificates = trial.certificates.clone();
    for thing in trial.things() {
        match principals(aws, &thing).await {
            Ok(ids) => certificates.extend(ids),
            Err(error) => miss(format!("the certificates of thing {thing}"), &error),
        }
    }
    let mut waiting = 0;
    for id in &certificates {
        match end(aws, id).await {
            Ok(Ended::Gone) => {
                trial.certificates.remove(id);
            }
            Ok(Ended::Waits) => {
                trial.certificates.remove(id);
                waiting += 1;
            }
            Err(error) => miss(format!("certificate {}", short(id)), &error),
        }
    }
    for thing in trial.things() {
        if let Err(error) = delete(aws, &thing).await {
            miss(format!("thing {thing}"), &error);
        }
    }
    let policies = aws.policies_of_fleet(&aws.fleet.claim_policy_prefix()).await;
    let batch = match policies {
        Ok(policies) => claim::revoke(aws, work.ledger, &policies, &trial.batch(), &quiet).await,
        Err(error) => Err(error.into()),
    };
    match batch {
        // It was never begun.
        Ok(()) | Err(FleetError::NotOurs { .. }) => {}
        Err(error) => miss(format!("claim batch {}", trial.batch()), &error),
    }
    if let Some(lambdas) = lambdas.filter(|_| trial.listed) {
        let off = BTreeSet::from([trial.thing()]);
        match allow::change(work, &BTreeSet::new(), &off, lambdas).await {
            Ok(_) => trial.listed = false,
            Err(error) => miss(format!("serial {} on the allow-list", trial.thing()), &error),
        }
    }
    if trial.listed && lambdas.is_none() {
        // The functions go with the fleet; the operator's list stays, and must not bring the serial back.
        match allow::forget(work.ledger.dir(), &trial.thing()) {
            Ok(()) => trial.listed = false,
            Err(error) => miss(format!("serial {} on the allow-list", trial.thing()), &error),
        }
    }
    if waiting > 0 {
        gone.notes.push(format!(
            "{} that were issued and not registered go by themselves: AWS deletes them at their tokens' end, within the hour",
            crate::plan::count(waiting, "certificate")
        ));
    }
    work.ledger.set_trial(if gone.left.is_empty() { None } else { Some(trial) })?;
    Ok(gone)
}

/// An error with its causes, in one line.
pub fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let word = source.to_string();
        if !text.contains(&word) {
            text = format!("{text}: {word}");
        }
        cause = source.source();
    }
    text
}

enum Ended {
    Gone,
    Waits,
}

async fn end(aws: &Aws, id: &str) -> Result<Ended, FleetError> {
    match aws.certificate(id).await? {
        None => Ok(Ended::Gone),
        // Whether AWS deletes one that waits for its token is in no document.
        Some((certificate, _)) if certificate.status == Status::PendingActivation => {
            Ok(match aws.delete_certificate(id).await {
                Ok(()) => Ended::Gone,
                Err(error) if matches!(error.refusal, Refusal::Conflict | Refusal::Other) => Ended::Waits,
                Err(error) => return Err(error.into()),
            })
        }
        Some(_) => claim::end(aws, id).await.map(|()| Ended::Gone),
    }
}

async fn principals(aws: &Aws, thing: &str) -> Result<Vec<String>, FleetError> {
    Ok(crate::aws::found(aws.principals(thing).await)?.unwrap_or_default())
}

async fn delete(aws: &Aws, thing: &str) -> Result<(), FleetError> {
    match aws.thing(thing).await? {
        None => Ok(()),
        Some(_) => Ok(patiently(|| aws.delete_thing(thing)).await?),
    }
}

/// What every name of a trial begins with.
pub const PREFIX: &str = "verify-";
