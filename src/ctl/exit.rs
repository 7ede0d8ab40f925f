//! How `certrotctl` ends: sysexits, chosen in this one place from what went wrong.

use crate::control::client::ClientError;
use crate::control::wire::{CheckReport, CheckResult, Problem};
use crate::exit::Exit;

impl From<&ClientError> for Exit {
    fn from(error: &ClientError) -> Exit {
        match error {
            ClientError::Missing { .. } | ClientError::NobodyListens { .. } | ClientError::Connect { .. } => {
                Exit::Unavailable
            }
            ClientError::NotPermitted { .. } => Exit::NotPermitted,
            ClientError::TooSlow { .. } | ClientError::BrokenOff => Exit::TryAgain,
            ClientError::Malformed { .. } => Exit::Software,
            ClientError::Refused(problem) => Exit::from(problem.as_ref()),
        }
    }
}

impl From<&Problem> for Exit {
    fn from(problem: &Problem) -> Exit {
        match (problem.code.as_str(), problem.status) {
            ("configuration", _) => Exit::Config,
            (_, 403) => Exit::NotPermitted,
            (_, 400 | 413 | 422) => Exit::Usage,
            (_, 408 | 409 | 425 | 429 | 503 | 504) => Exit::TryAgain,
            _ => Exit::Software,
        }
    }
}

impl From<&CheckReport> for Exit {
    fn from(report: &CheckReport) -> Exit {
        // The worst first: what stays wrong until a person changes it, then who may not ask, then nobody to ask.
        let failed = |cause: &str| {
            let steps = report.steps.iter().filter(|step| step.result == CheckResult::Fail);
            steps.filter(|step| cause.is_empty() || step.cause.as_deref() == Some(cause)).count() > 0
        };
        if !failed("") {
            Exit::Done
        } else if failed("configuration") {
            Exit::Config
        } else if failed("not-permitted") {
            Exit::NotPermitted
        } else if failed("daemon") {
            Exit::Unavailable
        } else {
            Exit::TryAgain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::CheckStep;

    fn refused(status: u16, code: &str) -> Exit {
        Exit::from(&Problem::new(status, code, "t", "d", "r"))
    }

    #[test]
    fn every_refusal_has_the_exit_code_of_the_contract() {
        assert_eq!(refused(403, "not-permitted"), Exit::NotPermitted);
        assert_eq!(refused(422, "configuration"), Exit::Config);
        assert_eq!(refused(409, "contested"), Exit::TryAgain);
        assert_eq!(refused(503, "busy"), Exit::TryAgain);
        assert_eq!(refused(400, "bad-request"), Exit::Usage);
        assert_eq!(refused(404, "unknown-path"), Exit::Software);
        assert_eq!(refused(500, "internal"), Exit::Software);
    }

    #[test]
    fn a_check_ends_with_its_worst_step() {
        let step = |result, cause: Option<&str>| CheckStep {
            result,
            cause: cause.map(str::to_owned),
            ..CheckStep::default()
        };
        let end = |steps| Exit::from(&CheckReport { steps, ..CheckReport::default() });
        assert_eq!(end(vec![step(CheckResult::Ok, None), step(CheckResult::Warn, None)]), Exit::Done);
        assert_eq!(end(vec![step(CheckResult::Fail, Some("dns"))]), Exit::TryAgain);
        let both = vec![step(CheckResult::Fail, Some("dns")), step(CheckResult::Fail, Some("configuration"))];
        assert_eq!(end(both), Exit::Config);
        let fail = |cause| step(CheckResult::Fail, Some(cause));
        assert_eq!(end(vec![fail("daemon"), fail("dns")]), Exit::Unavailable);
        assert_eq!(end(vec![fail("daemon"), fail("configuration")]), Exit::Config);
        assert_eq!(end(vec![fail("not-permitted")]), Exit::NotPermitted);
        assert_eq!(end(vec![step(CheckResult::Warn, Some("configuration"))]), Exit::Done);
    }
}
