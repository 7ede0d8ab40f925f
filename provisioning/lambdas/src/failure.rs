//! Why a call of AWS's was not done, sorted by what the handlers do about it.

use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// A call that was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of no.
    pub kind: Kind,
    /// AWS's code, or what the SDK says where AWS said nothing.
    pub code: String,
}

/// What kind of no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is not there.
    Gone,
    /// Not while something is attached, not in this state, not in this version.
    Conflict,
    /// Too much at once, no answer, or a fault of AWS's own: the same call may succeed a little later.
    Busy,
    /// Anything else: waiting does not help.
    Refused,
}

impl Failure {
    /// The invocation's time was over before an answer came.
    pub fn late() -> Self {
        Failure { kind: Kind::Refused, code: "no time left".to_owned() }
    }

    /// Reads an error of the SDK's.
    pub fn of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Self {
        let status = error.raw_response().map(|r| r.status().as_u16());
        let code = error.as_service_error().and_then(|e| e.meta().code());
        let kind = match code {
            Some("ResourceNotFoundException") => Kind::Gone,
            Some("DeleteConflictException" | "CertificateStateException" | "VersionConflictException") => {
                Kind::Conflict
            }
            Some("ThrottlingException" | "TooManyRequestsException" | "Throttling") => Kind::Busy,
            _ if status.is_some_and(|s| s == 429 || s >= 500) => Kind::Busy,
            Some(_) => Kind::Refused,
            None => match error {
                SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
                    Kind::Busy
                }
                _ => Kind::Refused,
            },
        };
        let code = code.map_or_else(|| error.to_string(), str::to_owned);
        Failure { kind, code }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)
    }
}
