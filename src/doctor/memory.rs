//! What earlier examinations have shown, so that asking often costs neither the cloud's quotas nor the session.
//!
//! Three bounds: a report a minute; the rights that cost the fleet something (RegisterThing's, the commit's) once an hour
//! while they are there; and after a question that cost the session nothing more is asked for a quarter of an hour, so
//! that examinations alone can never add up to five early ends in ten minutes (rule 22).

use std::collections::BTreeMap;

use crate::control::wire::{CheckReport, CheckResult, CheckStep};

/// The memory of one daemon. Times are milliseconds since boot.
#[derive(Debug, Default)]
pub struct Memory {
    report: Option<Kept>,
    shown: BTreeMap<&'static str, (u64, CheckStep)>,
    lost: Option<(u64, CheckStep)>,
    generation: Option<u32>,
}

#[derive(Debug)]
struct Kept {
    at: u64,
    quiet: bool,
    report: CheckReport,
}

impl Memory {
    /// The last report while it is younger than a minute, saying its age. One that was made beside a rotation, without a
    /// question to the cloud (`quiet`), serves only until questions may be asked again.
    pub fn recent(&self, now: u64, quiet: bool) -> Option<CheckReport> {
        let kept = self.report.as_ref().filter(|kept| quiet || !kept.quiet)?;
        let age = now.saturating_sub(kept.at);
        (age < EACH_MINUTE).then(|| CheckReport { age_seconds: age / 1000, ..kept.report.clone() })
    }

    /// Keeps a report.
    pub fn keep(&mut self, now: u64, quiet: bool, report: &CheckReport) {
        self.report = Some(Kept { at: now, quiet, report: report.clone() });
    }

    /// Forgets what another certificate has shown.
    pub fn speak_of(&mut self, generation: Option<u32>) {
        if self.generation != generation {
            self.forget();
            self.generation = generation;
        }
    }

    /// Forgets what was shown under another configuration; what cost the session is not forgotten.
    pub fn forget(&mut self) {
        self.report = None;
        self.shown.clear();
    }

    /// Keeps what a costly step has shown, where it went well.
    pub(super) fn show(&mut self, name: &'static str, now: u64, step: &CheckStep) {
        if step.result == CheckResult::Ok {
            self.shown.insert(name, (now, step.clone()));
        }
    }

    /// What a costly step has shown within the hour.
    pub(super) fn shown(&self, name: &str, now: u64) -> Option<CheckStep> {
        let (at, step) = self.shown.get(name)?;
        let age = now.saturating_sub(*at);
        (age < EACH_HOUR).then(|| CheckStep {
            detail: format!("{}; tried {} min ago, and at most once an hour", step.detail, age / 60_000),
            millis: None,
            ..step.clone()
        })
    }

    /// Keeps the step that cost the session.
    pub(super) fn lose(&mut self, now: u64, step: &CheckStep) {
        self.lost = Some((now, step.clone()));
    }

    /// The step that cost the session within the last quarter of an hour, and the minutes until the next try.
    pub(super) fn lost(&self, now: u64) -> Option<(&CheckStep, u64)> {
        let (at, step) = self.lost.as_ref()?;
        let age = now.saturating_sub(*at);
        (age < AFTER_A_LOSS).then(|| (step, (AFTER_A_LOSS - age).div_ceil(60_000)))
    }
}

const EACH_MINUTE: u64 = 60_000;
const EACH_HOUR: u64 = 3_600_000;
const AFTER_A_LOSS: u64 = 900_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn step(result: CheckResult) -> CheckStep {
        CheckStep { name: "commit".to_owned(), result, detail: "answered".to_owned(), ..CheckStep::default() }
    }

    #[test]
    fn a_report_is_given_again_for_a_minute_with_its_age() {
        let mut memory = Memory::default();
        assert!(memory.recent(0, false).is_none());
        memory.keep(
            1_000,
            false,
            &CheckReport { steps: vec![step(CheckResult::Ok)], ..CheckReport::default() },
        );
        assert_eq!(memory.recent(43_999, false).unwrap().age_seconds, 42);
        assert!(memory.recent(61_000, false).is_none());
    }

    #[test]
    fn a_report_that_asked_nothing_serves_only_while_nothing_may_be_asked() {
        let mut memory = Memory::default();
        memory.keep(0, true, &CheckReport::default());
        assert!(memory.recent(1, true).is_some());
        assert!(memory.recent(1, false).is_none(), "the rotation has ended: it is tried again");
        memory.keep(2, false, &CheckReport::default());
        assert!(memory.recent(3, true).is_some(), "a whole one serves beside a rotation too");
    }

    #[test]
    fn a_costly_step_is_shown_again_for_an_hour_where_it_went_well_and_tried_again_where_not() {
        let mut memory = Memory::default();
        memory.show("commit", 0, &step(CheckResult::Fail));
        assert!(memory.shown("commit", 1).is_none());
        memory.show("commit", 0, &step(CheckResult::Ok));
        assert!(memory.shown("commit", 600_000).unwrap().detail.contains("10 min ago"));
        assert!(memory.shown("commit", 3_600_000).is_none());
    }

    #[test]
    fn another_certificate_or_configuration_has_shown_nothing_and_a_lost_session_stays_remembered() {
        let mut memory = Memory::default();
        memory.speak_of(Some(1));
        memory.show("commit", 0, &step(CheckResult::Ok));
        memory.keep(0, false, &CheckReport::default());
        memory.lose(0, &step(CheckResult::Fail));
        memory.speak_of(Some(1));
        assert!(memory.shown("commit", 1).is_some() && memory.recent(1, false).is_some());
        memory.speak_of(Some(2));
        assert!(memory.shown("commit", 1).is_none() && memory.recent(1, false).is_none());
        assert_eq!(memory.lost(899_999).unwrap().1, 1);
        assert!(memory.lost(900_000).is_none());
    }
}
