//! The commit and its answers (rules 10 to 14).
//!
//! Answers carry the certificate they are for; whether it is `current` is judged by the caller, which knows it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{PayloadError, is_certificate_id, plain, read, write};

/// The commit of one certificate: “retire my older ones”.
pub fn commit(certificate_id: &str) -> Result<Zeroizing<Vec<u8>>, PayloadError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        certificate_id: &'a str,
    }
    if !is_certificate_id(certificate_id) {
        return Err(PayloadError::Field { what: "the commit", field: "certificateId" });
    }
    write("the commit", &Body { certificate_id })
}

/// What the cloud says to a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitAnswer {
    /// Every older certificate is dead.
    Accepted {
        /// The certificate whose commit it was (rule 14).
        certificate_id: String,
    },
    /// Not now, or not this one.
    Rejected {
        /// The certificate whose commit it was (rule 14).
        certificate_id: String,
        /// Why, in the cloud's words, at most 256 characters.
        reason: String,
        /// How long to wait, at most one day, where waiting helps.
        retry_after: Option<Duration>,
    },
}

impl CommitAnswer {
    /// The certificate it speaks of.
    pub fn certificate_id(&self) -> &str {
        match self {
            CommitAnswer::Accepted { certificate_id } | CommitAnswer::Rejected { certificate_id, .. } => {
                certificate_id
            }
        }
    }
}

/// Reads an answer to a commit; `accepted` by the topic it came on.
pub fn parse_commit(accepted: bool, body: &[u8]) -> Result<CommitAnswer, PayloadError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Raw {
        certificate_id: String,
        #[serde(default)]
        reason: Option<String>,
        #[serde(default)]
        retry_after: Option<f64>,
    }
    let what = "the answer to the commit";
    let raw: Raw = read(what, ANSWER, body)?;
    if !is_certificate_id(&raw.certificate_id) {
        return Err(PayloadError::Field { what, field: "certificateId" });
    }
    let certificate_id = raw.certificate_id;
    if accepted {
        return Ok(CommitAnswer::Accepted { certificate_id });
    }
    let retry_after = match raw.retry_after {
        Some(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            Some(Duration::from_secs_f64(seconds.min(LONGEST_WAIT)))
        }
        Some(_) => return Err(PayloadError::Field { what, field: "retryAfter" }),
        None => None,
    };
    Ok(CommitAnswer::Rejected {
        certificate_id,
        reason: plain(&raw.reason.unwrap_or_default(), 256),
        retry_after,
    })
}

/// Largest answer to a commit.
const ANSWER: usize = 8 * 1024;

/// The longest `retryAfter` that is obeyed, in seconds: a day.
const LONGEST_WAIT: f64 = 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> String {
        "ab".repeat(32)
    }

    #[test]
    fn a_commit_names_its_certificate_and_nothing_else() {
        assert_eq!(&**commit(&id()).unwrap(), format!(r#"{{"certificateId":"{}"}}"#, id()).as_bytes());
        assert!(commit("x").is_err());
    }

    #[test]
    fn an_answer_without_the_certificate_it_is_for_is_no_answer_rule_14() {
        assert!(parse_commit(true, b"{}").is_err());
        assert!(parse_commit(true, br#"{"certificateId":"x"}"#).is_err());
        let body = format!(r#"{{"certificateId":"{}","retired":["…"]}}"#, id());
        assert_eq!(parse_commit(true, body.as_bytes()).unwrap().certificate_id(), id());
    }

    #[test]
    fn a_wait_is_bounded_and_never_negative() {
        let answer = |wait: &str| {
            let body = format!(r#"{{"certificateId":"{}","reason":"stale","retryAfter":{wait}}}"#, id());
            parse_commit(false, body.as_bytes())
        };
        let wait_of = |wait| match answer(wait).unwrap() {
            CommitAnswer::Rejected { retry_after, .. } => retry_after,
            CommitAnswer::Accepted { .. } => None,
        };
        assert_eq!(wait_of("30"), Some(Duration::from_secs(30)));
        assert_eq!(wait_of("1e300"), Some(Duration::from_secs(86_400)));
        assert_eq!(wait_of("null"), None);
        assert!(answer("-1").is_err());
        assert!(answer(r#""30""#).is_err());
    }
}
