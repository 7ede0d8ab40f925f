//! RFC 9457 problem documents: every refusal of the control socket, with what clears it.

use serde::{Deserialize, Serialize};

/// A refusal; `application/problem+json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase", default)]
#[error("{title}: {detail}")]
pub struct Problem {
    /// A URI that names the kind of problem: `tag:certrotd,2026:<code>` (RFC 9457 §3.1.1; not to be fetched).
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// What kind of problem, in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time.
    pub detail: String,
    /// What clears it.
    pub remedy: String,
    /// One stable kebab-case word.
    pub code: String,
}

impl Problem {
    /// A problem with its status, stable word, title, detail and remedy.
    pub fn new(
        status: u16,
        code: &str,
        title: &str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Problem {
        Problem {
            kind: format!("tag:certrotd,2026:{code}").into(),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            remedy: remedy.into(),
            code: code.to_owned(),
        }
    }

    /// 400: what was sent is not what the path takes.
    pub fn bad_request(detail: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem::new(400, "bad-request", "The request is malformed", detail, remedy)
    }

    /// 403: the peer may not do that.
    pub fn forbidden(detail: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem::new(403, "not-permitted", "Not permitted", detail, remedy)
    }

    /// 409: it cannot be done in the present state.
    pub fn conflict(code: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem::new(409, code, "Not possible now", detail, remedy)
    }

    /// 422 `configuration`: the configuration does not allow it, or a reload was refused.
    pub fn configuration(detail: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem::new(422, "configuration", "The configuration does not allow it", detail, remedy)
    }

    /// 503: the daemon is busy or does not answer; later it may.
    pub fn busy(detail: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem::new(503, "busy", "The daemon is busy", detail, remedy)
    }

    /// 500: something that should not be.
    pub fn internal(detail: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem::new(500, "internal", "Something went wrong inside the daemon", detail, remedy)
    }
}
