//! How `certrotctl` ends: sysexits, chosen in this one place from what went wrong.

use std::process::ExitCode;

use crate::control::client::ClientError;
use crate::control::wire::{CheckReport, CheckResult, Problem};

/// The exit codes of the contract (sysexits.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Done.
    Done = 0,
    /// The command line, or what it said, is wrong.
    Usage = 64,
    /// The daemon is not reachable.
    Unreachable = 69,
    /// Daemon and tool do not understand each other, or the daemon has a fault.
    Fault = 70,
    /// It did not work now; later it may.
    Later = 75,
    /// This user may not.
    NotPermitted = 77,
    /// The configuration is in the way.
    Configuration = 78,
}

impl From<End> for ExitCode {
    fn from(end: End) -> ExitCode {
        ExitCode::from(end as u8)
    }
}

impl From<&ClientError> for End {
    fn from(error: &ClientError) -> End {
        match error {
            ClientError::Missing { .. } | ClientError::NobodyListens { .. } | ClientError::Connect { .. } => {
                End::Unreachable
            }
            ClientError::NotPermitted { .. } => End::NotPermitted,
            ClientError::TooSlow { .. } | ClientError::BrokenOff => End::Later,
            ClientError::Malformed { .. } => End::Fault,
            ClientError::Refused(problem) => End::from(problem.as_ref()),
        }
    }
}

impl From<&Problem> for End {
    fn from(problem: &Problem) -> End {
        match (problem.code.as_str(), problem.status) {
            ("configuration", _) => End::Configuration,
            (_, 403) => End::NotPermitted,
            (_, 400 | 413 | 422) => End::Usage,
            (_, 408 | 409 | 425 | 429 | 503 | 504) => End::Later,
            _ => End::Fault,
        }
    }
}

impl From<&CheckReport> for End {
    fn from(report: &CheckReport) -> End {
        let mut failed = report.steps.iter().filter(|step| step.result == CheckResult::Fail).peekable();
        if failed.peek().is_none() {
            End::Done
        } else if failed.any(|step| step.cause.as_deref() == Some("configuration")) {
            End::Configuration
        } else {
            End::Later
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::CheckStep;

    fn refused(status: u16, code: &str) -> End {
        End::from(&Problem::new(status, code, "t", "d", "r"))
    }

    #[test]
    fn every_refusal_has_the_exit_code_of_the_contract() {
        assert_eq!(refused(403, "not-permitted"), End::NotPermitted);
        assert_eq!(refused(422, "configuration"), End::Configuration);
        assert_eq!(refused(409, "contested"), End::Later);
        assert_eq!(refused(503, "busy"), End::Later);
        assert_eq!(refused(400, "bad-request"), End::Usage);
        assert_eq!(refused(404, "unknown-path"), End::Fault);
        assert_eq!(refused(500, "internal"), End::Fault);
    }

    #[test]
    fn a_check_ends_with_its_worst_step() {
        let step = |result, cause: Option<&str>| CheckStep {
            result,
            cause: cause.map(str::to_owned),
            ..CheckStep::default()
        };
        let end = |steps| End::from(&CheckReport { steps });
        assert_eq!(end(vec![step(CheckResult::Ok, None), step(CheckResult::Warn, None)]), End::Done);
        assert_eq!(end(vec![step(CheckResult::Fail, Some("dns"))]), End::Later);
        let both = vec![step(CheckResult::Fail, Some("dns")), step(CheckResult::Fail, Some("configuration"))];
        assert_eq!(end(both), End::Configuration);
    }
}
