//! The two attributes on a thing that the decisions keep: its accepted commits and the operator's word `reclaim`.
//!
//! A thing without a thing type has room for three attributes, so each is one line of AWS's attribute alphabet
//! (`[a-zA-Z0-9_.,@/:#-]`, at most 800 characters). A value that does not parse is nobody's word: it grants nothing.

use jiff::{SignedDuration, Timestamp};

use crate::registry::Thing;

/// The attribute that holds a thing's accepted commits, newest first (rule 15).
pub const COMMIT_ATTRIBUTE: &str = "certrot-commit";

/// The attribute that holds the operator's word to let the claim in once more (rule 23).
pub const RECLAIM_ATTRIBUTE: &str = "certrot-reclaim";

/// How long `reclaim` lasts (rule 23).
pub const RECLAIM_LASTS: SignedDuration = SignedDuration::from_hours(24);

/// How long a word is kept for the certificate that was let in on it: the life of its token, and what propagation takes.
const RECLAIM_HOLDS: SignedDuration = SignedDuration::from_mins(70);

/// One accepted commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The certificate that committed.
    pub certificate_id: String,
    /// When its commit was first accepted.
    pub at: Timestamp,
}

/// The accepted commits of a thing, newest first; at most [`Record::KEPT`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record(Vec<Accepted>);

impl Record {
    /// How many are kept: enough to see a second one within an hour (rule 25).
    pub const KEPT: usize = 4;

    /// Reads the record off a thing; what does not parse is left out.
    pub fn of(thing: &Thing) -> Self {
        let value = thing.attributes.get(COMMIT_ATTRIBUTE).map_or("", String::as_str);
        let accepted = |part: &str| {
            let (id, at) = part.split_once('@')?;
            Some(Accepted { certificate_id: certificate_id(id)?, at: at.parse().ok()? })
        };
        Record(value.split(',').filter_map(accepted).take(Self::KEPT).collect())
    }

    /// The commits, newest first.
    pub fn accepted(&self) -> &[Accepted] {
        &self.0
    }

    /// Says whether a commit by this certificate was accepted.
    pub fn names(&self, certificate_id: &str) -> bool {
        self.0.iter().any(|a| a.certificate_id == certificate_id)
    }

    /// Adds an accepted commit; a repeated one keeps its first time and place.
    #[must_use]
    pub fn with(mut self, certificate_id: &str, at: Timestamp) -> Self {
        if !self.names(certificate_id) {
            self.0.insert(0, Accepted { certificate_id: certificate_id.to_owned(), at: whole_second(at) });
            self.0.truncate(Self::KEPT);
        }
        self
    }

    /// The attribute's value.
    pub fn value(&self) -> String {
        let parts: Vec<_> = self.0.iter().map(|a| format!("{}@{}", a.certificate_id, a.at)).collect();
        parts.join(",")
    }

    /// The two newest commits where they lie within an hour of each other (rule 25: two holders of one identity).
    pub fn crowded(&self) -> Option<(&Accepted, &Accepted)> {
        let (newest, before) = (self.0.first()?, self.0.get(1)?);
        let apart = newest.at.duration_since(before.at).abs();
        (apart <= SignedDuration::from_hours(1)).then_some((newest, before))
    }
}

/// The operator's word that the claim may be used once more for this thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reclaim {
    /// When the operator gave it.
    pub given: Timestamp,
    /// The certificate that was let in on it, if any: the word is for that one alone, once it is held.
    pub used_by: Option<String>,
    /// When that one was let in, where this was written down.
    pub used_at: Option<Timestamp>,
}

impl Reclaim {
    /// A fresh word.
    pub fn given(at: Timestamp) -> Self {
        Reclaim { given: whole_second(at), used_by: None, used_at: None }
    }

    /// The same word, for one certificate.
    #[must_use]
    pub fn used(self, certificate_id: &str, at: Timestamp) -> Self {
        Reclaim { used_by: Some(certificate_id.to_owned()), used_at: Some(whole_second(at)), ..self }
    }

    /// Reads the word off a thing; what does not parse is no word.
    pub fn of(thing: &Thing) -> Option<Self> {
        let value = thing.attributes.get(RECLAIM_ATTRIBUTE)?;
        let Some((id, times)) = value.split_once('@') else {
            return Some(Reclaim { given: value.parse().ok()?, used_by: None, used_at: None });
        };
        let (given, used_at) = match times.split_once('@') {
            Some((given, used_at)) => (given, Some(used_at.parse().ok()?)),
            None => (times, None),
        };
        Some(Reclaim { given: given.parse().ok()?, used_by: Some(certificate_id(id)?), used_at })
    }

    /// The attribute's value.
    pub fn value(&self) -> String {
        match (&self.used_by, self.used_at) {
            (None, _) => self.given.to_string(),
            (Some(id), None) => format!("{id}@{}", self.given),
            (Some(id), Some(at)) => format!("{id}@{}@{at}", self.given),
        }
    }

    /// Says whether the certificate that was let in may still come to be attached: its token lives an hour, and what
    /// RegisterThing does is seen minutes later (rule 3). Without a time on record it may.
    pub fn is_in_use(&self, now: Timestamp) -> bool {
        self.used_by.is_some() && self.used_at.is_none_or(|at| now.duration_since(at) < RECLAIM_HOLDS)
    }

    /// Says whether 24 hours have passed; a word from the future beyond a clock's slack counts as ended too.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let age = now.duration_since(self.given);
        age >= RECLAIM_LASTS || age < SignedDuration::from_mins(-5)
    }
}

/// A certificate id where the text is one: 64 lower-case hex digits.
pub fn certificate_id(text: &str) -> Option<String> {
    let hex = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    hex.then(|| text.to_owned())
}

/// Attribute values carry whole seconds.
fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(attribute: &str, value: &str) -> Thing {
        Thing {
            version: None,
            type_name: None,
            attributes: [(attribute.to_owned(), value.to_owned())].into(),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_full_record_fits_an_attribute_and_reads_back() {
        let mut record = Record::default();
        for n in 0..9 {
            record = record.with(&format!("{n:064x}"), at("2026-01-01T00:00:00.5Z"));
        }
        let value = record.value();
        assert!(value.len() <= 800, "{}", value.len());
        assert!(value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.,@/:#-".contains(&b)), "{value}");
        assert_eq!(Record::of(&thing(COMMIT_ATTRIBUTE, &value)), record);
        assert_eq!(record.accepted()[0].certificate_id, format!("{:064x}", 8));
    }

    #[test]
    fn a_repeated_commit_keeps_its_first_time() {
        let id = "a".repeat(64);
        let record = Record::default().with(&id, at("2026-01-01T00:00:00Z"));
        assert_eq!(record.clone().with(&id, at("2026-03-01T00:00:00Z")), record);
    }

    #[test]
    fn rule_25_two_commits_within_an_hour_are_seen() {
        let first = Record::default().with(&"a".repeat(64), at("2026-01-01T00:00:00Z"));
        assert_eq!(first.crowded(), None);
        assert!(first.clone().with(&"b".repeat(64), at("2026-01-01T00:59:00Z")).crowded().is_some());
        assert!(first.with(&"b".repeat(64), at("2026-01-01T02:00:00Z")).crowded().is_none());
    }

    #[test]
    fn a_value_that_does_not_parse_grants_nothing() {
        for value in ["", "yes", "@", "2026-01-01", "zz@2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z@x"] {
            assert_eq!(Reclaim::of(&thing(RECLAIM_ATTRIBUTE, value)), None, "{value}");
            assert_eq!(Record::of(&thing(COMMIT_ATTRIBUTE, value)), Record::default(), "{value}");
        }
    }

    #[test]
    fn a_word_reads_back_fresh_and_used() {
        let mut word = Reclaim::given(at("2026-01-01T00:00:00Z"));
        assert_eq!(Reclaim::of(&thing(RECLAIM_ATTRIBUTE, &word.value())), Some(word.clone()));
        word.used_by = Some("c".repeat(64));
        assert_eq!(Reclaim::of(&thing(RECLAIM_ATTRIBUTE, &word.value())), Some(word.clone()));
        word = word.used(&"d".repeat(64), at("2026-01-01T01:00:00Z"));
        assert_eq!(Reclaim::of(&thing(RECLAIM_ATTRIBUTE, &word.value())), Some(word));
    }

    #[test]
    fn rule_23_a_word_ends_after_a_day() {
        let word = Reclaim::given(at("2026-01-01T00:00:00Z"));
        assert!(!word.is_over(at("2026-01-01T23:59:59Z")));
        assert!(word.is_over(at("2026-01-02T00:00:00Z")));
        assert!(word.is_over(at("2025-12-31T23:00:00Z")));
    }
}
