//! One step of a report, from its beginning to its result: what was seen, why it is so, and what clears it.
//!
//! Shared by the daemon's examination and by `certrotctl`, which examines alone where no daemon answers.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::control::wire::{CheckResult, CheckStep};
use crate::world::Detail;

/// A step that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    name: &'static str,
    since: Instant,
}

impl Step {
    /// Begins a step.
    pub fn begin(name: &'static str) -> Step {
        Step { name, since: Instant::now() }
    }

    /// It is as it should be.
    pub fn ok(self, evidence: impl Into<String>) -> CheckStep {
        self.end(CheckResult::Ok, evidence.into())
    }

    /// It works, and somebody should see to it.
    pub fn warn(self, cause: &str, evidence: impl Into<String>, fix: impl Into<String>) -> CheckStep {
        let step = self.end(CheckResult::Warn, evidence.into());
        CheckStep { cause: Some(cause.to_owned()), remedy: Some(fix.into()), ..step }
    }

    /// It does not work.
    pub fn fail(self, cause: &str, evidence: impl Into<String>, fix: impl Into<String>) -> CheckStep {
        let step = self.end(CheckResult::Fail, evidence.into());
        CheckStep { cause: Some(cause.to_owned()), remedy: Some(fix.into()), ..step }
    }

    /// It does not work, and the adapters have said why.
    pub fn failed(self, detail: &Detail) -> CheckStep {
        self.fail(&detail.code, detail.text.clone(), detail.remedy.clone())
    }

    /// It was not tried.
    pub fn skip(self, why: impl Into<String>) -> CheckStep {
        CheckStep { millis: None, ..self.end(CheckResult::Skipped, why.into()) }
    }

    fn end(self, result: CheckResult, detail: String) -> CheckStep {
        CheckStep {
            name: self.name.to_owned(),
            result,
            detail,
            millis: millis(self.since.elapsed()),
            ..CheckStep::default()
        }
    }
}

/// Adds how long it took, as measured elsewhere.
pub fn took(step: CheckStep, time: Duration) -> CheckStep {
    CheckStep { millis: millis(time), ..step }
}

/// Adds the policy statement that seems to be missing.
pub fn lacking(step: CheckStep, statement: Value) -> CheckStep {
    CheckStep { statement: Some(statement), ..step }
}

fn millis(time: Duration) -> Option<u64> {
    u64::try_from(time.as_millis()).ok()
}
