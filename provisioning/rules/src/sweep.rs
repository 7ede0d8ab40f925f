//! The sweep (rule 15): what an operator's `sweep` may finish for a thing, and what it only reports.
//!
//! Decides, and touches nothing: what may be retired is retired by `retire::Retire::by_record`, which reads everything
//! again. The only certificate of a thing, the newest ACTIVE one, and any of a thing that never committed are reported
//! and never changed.

use jiff::Timestamp;

use crate::record::Record;
use crate::registry::{Certificate, Status, Thing};

/// A thing as the sweep sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The thing's attributes, with its record of accepted commits.
    pub thing: Thing,
    /// Every certificate attached to the thing.
    pub attached: Vec<Certificate>,
}

/// One certificate of the thing, and what may be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The certificate.
    pub certificate_id: String,
    /// What may be done.
    pub verdict: Verdict,
}

/// What the sweep may do about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be retired by the word of this newer certificate.
    Retire {
        /// The newer, ACTIVE, attached certificate with an accepted commit on record.
        by: String,
    },
    /// It is reported and never changed.
    Report(Why),
}

/// Why a certificate is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is the only one of its thing.
    OnlyOne,
    /// It is the newest ACTIVE one.
    NewestActive,
    /// No commit of this thing is on record.
    NeverCommitted,
    /// Nothing strictly newer, ACTIVE and attached has an accepted commit on record.
    NoNewerCommit,
}

/// Decides for each certificate of a thing, in the order given.
pub fn sweep(view: &View) -> Vec<Finding> {
    let record = Record::of(&view.thing);
    view.attached
        .iter()
        .map(|c| Finding { certificate_id: c.id.clone(), verdict: verdict(c, &view.attached, &record) })
        .collect()
}

fn verdict(certificate: &Certificate, attached: &[Certificate], record: &Record) -> Verdict {
    let active = || attached.iter().filter(|c| c.status == Status::Active);
    let newest: Option<Timestamp> = active().map(|c| c.created).max();
    if attached.len() == 1 {
        return Verdict::Report(Why::OnlyOne);
    }
    if certificate.status == Status::Active && Some(certificate.created) == newest {
        return Verdict::Report(Why::NewestActive);
    }
    if record.accepted().is_empty() {
        return Verdict::Report(Why::NeverCommitted);
    }
    let by =
        active().filter(|c| c.created > certificate.created && record.names(&c.id)).max_by_key(|c| c.created);
    match by {
        Some(by) => Verdict::Retire { by: by.id.clone() },
        None => Verdict::Report(Why::NoNewerCommit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::COMMIT_ATTRIBUTE;

    fn id(letter: &str) -> String {
        letter.repeat(64)
    }

    fn certificate(letter: &str, status: Status, hour: i64) -> Certificate {
        let created = Timestamp::from_second(1_700_000_000 + hour * 3600).unwrap();
        Certificate { id: id(letter), status, created, not_after: None }
    }

    fn swept(attached: &[Certificate], committed: &[&str]) -> Vec<Verdict> {
        let record =
            committed.iter().fold(Record::default(), |r, letter| r.with(&id(letter), Timestamp::UNIX_EPOCH));
        let attributes = [(COMMIT_ATTRIBUTE.to_owned(), record.value())].into();
        let view =
            View { thing: Thing { version: None, type_name: None, attributes }, attached: attached.to_vec() };
        sweep(&view).into_iter().map(|f| f.verdict).collect()
    }

    use Status::{Active, Inactive, Revoked};

    #[test]
    fn rule_15_a_certificate_is_retired_only_by_a_newer_active_one_that_committed() {
        let by = |letter: &str| Verdict::Retire { by: id(letter) };
        let two = [certificate("a", Active, 1), certificate("b", Active, 2)];
        assert_eq!(swept(&two, &["b"]), [by("b"), Verdict::Report(Why::NewestActive)]);
        assert_eq!(swept(&two, &["a"])[0], Verdict::Report(Why::NoNewerCommit));
        let dead = [certificate("a", Revoked, 1), certificate("b", Inactive, 2), certificate("c", Active, 3)];
        assert_eq!(swept(&dead, &["b"])[0], Verdict::Report(Why::NoNewerCommit));
        assert_eq!(swept(&dead, &["b", "c"])[..2], [by("c"), by("c")]);
    }

    #[test]
    fn rule_15_a_thing_that_never_committed_is_only_reported() {
        let two = [certificate("a", Inactive, 1), certificate("b", Active, 2)];
        assert_eq!(swept(&two, &[])[0], Verdict::Report(Why::NeverCommitted));
    }

    #[test]
    fn rule_15_the_only_certificate_and_the_newest_active_one_are_never_changed() {
        assert_eq!(swept(&[certificate("a", Revoked, 1)], &["b"]), [Verdict::Report(Why::OnlyOne)]);
        let two = [certificate("a", Active, 1), certificate("b", Revoked, 2)];
        assert_eq!(
            swept(&two, &["a", "b"]),
            [Verdict::Report(Why::NewestActive), Verdict::Report(Why::NoNewerCommit)]
        );
    }

    #[test]
    fn rule_15_certificates_of_the_same_moment_never_retire_each_other() {
        let twins = [certificate("a", Active, 1), certificate("b", Active, 1)];
        assert_eq!(
            swept(&twins, &["a", "b"]),
            [Verdict::Report(Why::NewestActive), Verdict::Report(Why::NewestActive)]
        );
    }
}
