//! The pre-provisioning hook's shell: looks up what rule 23 asks about, and answers in time.
//!
//! AWS IoT waits 5 s and takes silence for a denial, so a hook that is late only costs; [`BUDGET`] leaves it a margin
//! in which to say why. Whatever goes wrong here is a denial, and each answer is made of one event.

use std::collections::BTreeMap;
use std::time::Duration;

use certrot_rules::hook::{self, Answer, Denial, Event, Facts, Listing};
use certrot_rules::serial::Serial;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::allow_list::AllowList;
use crate::failure::{Failure, Kind};
use crate::registry::Registry;

/// Which template the hook stands before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Post {
    /// The claim's (rule 23).
    Claim(AllowList),
    /// The rotation's (rule 24): nothing is looked up.
    Rotate,
}

impl Post {
    /// Reads `CERTROT_HOOK`; a word that is none of the two is `None`, and the program must not start on it.
    pub fn from_environment(word: Option<&str>, list: AllowList) -> Option<Self> {
        match word? {
            "claim" => Some(Post::Claim(list)),
            "rotate" => Some(Post::Rotate),
            _ => None,
        }
    }
}

/// Why a hook says no, for the operator's log.
#[derive(Debug)]
pub enum Why {
    /// By the rules.
    Denial(Denial),
    /// AWS did not say what is needed to say yes.
    Call(Failure),
    /// The allow-list cannot be read.
    AllowList(std::io::Error),
    /// The event is not AWS's.
    Event(serde_json::Error),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Denial(denial) => denial.fmt(f),
            Why::Call(failure) => write!(f, "AWS did not answer: {failure}"),
            Why::AllowList(error) => write!(f, "the allow-list cannot be read: {error}"),
            Why::Event(error) => write!(f, "the event cannot be read: {error}"),
        }
    }
}

/// Answers one event; the reason of a denial is for the log and never for the device.
pub async fn answer(post: &Post, event: Value, registry: &Registry, now: Timestamp) -> Result<Answer, Why> {
    let event: Event = serde_json::from_value(event).map_err(Why::Event)?;
    match post {
        Post::Rotate => hook::rotate(&event).map_err(Why::Denial),
        Post::Claim(list) => claim(list, &event, registry, now).await,
    }
}

async fn claim(list: &AllowList, event: &Event, registry: &Registry, now: Timestamp) -> Result<Answer, Why> {
    let until = Instant::now() + BUDGET;
    let subject = hook::subject(event).map_err(Why::Denial)?;
    let listing = list.listing(subject.as_str()).map_err(Why::AllowList)?;
    // Who is not on the list costs the account no look-up.
    let facts = if listing == Listing::NotListed {
        Facts { listing, ..Facts::default() }
    } else {
        facts(&subject, listing, registry, until).await.map_err(Why::Call)?
    };
    let grant = hook::decide(event, &subject, &facts, now).map_err(Why::Denial)?;
    if let Some(write) = grant.write {
        // The word is used up before it counts: of two claims at once, the version lets one through.
        let attributes = BTreeMap::from([(write.attribute.to_owned(), write.value)]);
        let written =
            registry.update_thing(subject.as_str(), &attributes, write.expected_version, until).await;
        written.map_err(Why::Call)?;
    }
    Ok(grant.answer)
}

async fn facts(
    subject: &Serial,
    listing: Listing,
    registry: &Registry,
    until: Instant,
) -> Result<Facts, Failure> {
    let name = subject.as_str();
    let thing = match registry.thing(name, until).await {
        Ok(thing) => thing,
        Err(failure) if failure.kind == Kind::Gone => return Ok(Facts { listing, ..Facts::default() }),
        Err(failure) => return Err(failure),
    };
    let ids = match registry.certificates_of(name, until).await {
        Err(failure) if failure.kind == Kind::Gone => vec![],
        other => other?,
    };
    let mut held = Vec::new();
    for id in ids {
        match registry.certificate(&id, until).await {
            Ok(certificate) => held.push(certificate),
            Err(failure) if failure.kind == Kind::Gone => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(Facts { listing, thing: Some(thing), held })
}

/// How long look-ups may take: AWS IoT's limit is 5 s (developer guide, “Pre-provisioning hooks”), a cold start and the
/// way there and back are inside it.
pub const BUDGET: Duration = Duration::from_millis(3000);

/// How long one request may take before it is tried again.
pub const ATTEMPT: Duration = Duration::from_millis(1200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_without_a_known_post_does_not_start() {
        for word in [None, Some(""), Some("Claim"), Some("claims")] {
            assert_eq!(Post::from_environment(word, AllowList::Open), None, "{word:?}");
        }
        assert_eq!(Post::from_environment(Some("rotate"), AllowList::Open), Some(Post::Rotate));
    }
}
