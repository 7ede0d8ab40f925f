//! What AWS answers when it does not do what was asked: sorted by what helps against it.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde_json::Value;
use thiserror::Error;

use crate::calls::Call;

/// A call that failed for good.
#[derive(Debug, Error)]
#[error("{} on {on}: {code}{}", call.name, colon(message))]
pub struct CallError {
    /// The call.
    pub call: &'static Call,
    /// On what.
    pub on: Box<str>,
    /// What kind of no.
    pub refusal: Refusal,
    /// AWS's code.
    pub code: Box<str>,
    /// AWS's message.
    pub message: Box<str>,
    /// The statement that would grant it, when it was denied.
    pub grant: Option<Box<Value>>,
    /// What the SDK says.
    pub source: Box<dyn Error + Send + Sync>,
}

/// What kind of no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not there.
    Gone,
    /// It is there already.
    Exists,
    /// Not in this state, or not while something else is attached.
    Conflict,
    /// These credentials may not.
    Denied,
    /// These credentials are none, are over, or are not known.
    Credentials,
    /// Too much at once.
    Throttled,
    /// AWS does not yet know everywhere what it was told, or is still at work.
    Settling,
    /// No answer, or a fault of AWS's own.
    Unreachable,
    /// Anything else: the request is wrong.
    Other,
}

impl Refusal {
    /// Says whether the same call may succeed a little later.
    pub fn passes(self) -> bool {
        matches!(self, Refusal::Throttled | Refusal::Settling | Refusal::Unreachable)
    }
}

impl CallError {
    /// Sorts what the SDK gave.
    pub fn new<E>(call: &'static Call, on: &str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let status = error.raw_response().map_or(0, |r| r.status().as_u16());
        let (code, message, refusal) = match &error {
            SdkError::ServiceError(service) => {
                let code = service.err().code().unwrap_or("an error without a code").to_owned();
                let message = service.err().message().unwrap_or_default().to_owned();
                let refusal = refusal(&code, &message, status);
                (code, message, refusal)
            }
            SdkError::ResponseError(_) => {
                ("an answer that is none".to_owned(), deepest(&error), Refusal::Unreachable)
            }
            _ => {
                let cause = deepest(&error);
                let credentials = chain(&error).any(|e| e.to_string().to_lowercase().contains("credential"));
                let refusal = if credentials { Refusal::Credentials } else { Refusal::Unreachable };
                ("no answer".to_owned(), cause, refusal)
            }
        };
        CallError {
            call,
            on: on.into(),
            refusal,
            code: code.into(),
            message: message.into(),
            grant: None,
            source: Box::new(error),
        }
    }

    /// Adds the statement that would grant it.
    #[must_use]
    pub fn with_grant(mut self, grant: Value) -> Self {
        self.grant = Some(Box::new(grant));
        self
    }

    /// Who can clear it, and how.
    pub fn remedy(&self) -> String {
        match self.refusal {
            Refusal::Denied => {
                let grant = self.grant.as_ref().map_or(String::new(), |g| format!(", for instance by {g}"));
                format!(
                    "whoever runs this must be allowed {}{grant}; `certrot-fleet operator-policy` prints all it needs",
                    self.call.actions().join(" and ")
                )
            }
            Refusal::Credentials => {
                "give credentials as for every AWS tool: AWS_PROFILE, `aws sso login`, or AWS_ACCESS_KEY_ID and its \
                 secret"
                    .to_owned()
            }
            Refusal::Throttled => "AWS slows this account down: run the same command again later".to_owned(),
            Refusal::Settling => {
                "AWS was still at work after all the time that --patience gives: run the same command again".to_owned()
            }
            Refusal::Unreachable => {
                "check the network, the region, and AWS_ENDPOINT_URL if it is set; then run the same command again"
                    .to_owned()
            }
            Refusal::Gone => "somebody removed it meanwhile: run the same command again".to_owned(),
            Refusal::Exists | Refusal::Conflict => {
                "something else uses it, or changed it meanwhile: run the same command again; `status` shows what is \
                 attached"
                    .to_owned()
            }
            Refusal::Other => "AWS's message says what it does not take".to_owned(),
        }
    }
}

/// The account cannot be used at all.
#[derive(Debug, Error)]
pub enum StartError {
    /// No region.
    #[error("no region is set")]
    NoRegion,
    /// Not even whose credentials these are.
    #[error(transparent)]
    Call(#[from] CallError),
}

fn refusal(code: &str, message: &str, status: u16) -> Refusal {
    let is = |words: &[&str]| words.iter().any(|w| code.contains(w));
    // Lambda and IoT refuse a role that IAM has not yet made known to them; Lambda, a function it is still at work on.
    let lower = message.to_lowercase();
    let assumes = lower.contains("assume") || lower.contains("cannot be assumed");
    let at_work =
        lower.contains("in progress") || lower.contains("pending") || lower.contains("please try again");
    if is(&["Throttl", "TooManyRequests", "RequestLimitExceeded", "SlowDown"]) || status == 429 {
        Refusal::Throttled
    } else if is(&[
        "ExpiredToken",
        "UnrecognizedClient",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "AuthFailure",
    ]) {
        Refusal::Credentials
    } else if is(&["AccessDenied", "Unauthorized", "NotAuthorized", "Forbidden"]) {
        Refusal::Denied
    } else if (is(&["InvalidParameterValue", "InvalidRequest"]) && assumes)
        || (is(&["ResourceConflict", "OperationAborted", "ConcurrentModification", "QueueDeletedRecently"])
            && at_work)
        || is(&["QueueDeletedRecently", "OperationAborted"])
    {
        Refusal::Settling
    } else if is(&["NotFound", "NoSuchEntity", "NonExistentQueue", "QueueDoesNotExist"]) {
        Refusal::Gone
    } else if is(&["AlreadyExists", "ResourceConflict", "QueueNameExists"]) {
        Refusal::Exists
    } else if is(&["DeleteConflict", "Conflict", "CertificateState", "VersionsLimitExceeded"]) {
        Refusal::Conflict
    } else if status >= 500 {
        Refusal::Unreachable
    } else {
        Refusal::Other
    }
}

fn colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |e: &&'a (dyn Error + 'static)| (*e).source())
}

fn deepest(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_services_are_sorted_by_what_helps() {
        for (code, message, status, wanted) in [
            ("ThrottlingException", "Rate exceeded", 400, Refusal::Throttled),
            ("TooManyRequestsException", "", 429, Refusal::Throttled),
            ("AccessDenied", "", 403, Refusal::Denied),
            ("UnauthorizedException", "", 401, Refusal::Denied),
            ("NoSuchEntity", "", 404, Refusal::Gone),
            ("AWS.SimpleQueueService.NonExistentQueue", "", 400, Refusal::Gone),
            ("ResourceAlreadyExistsException", "", 409, Refusal::Exists),
            ("EntityAlreadyExists", "", 409, Refusal::Exists),
            ("DeleteConflictException", "", 409, Refusal::Conflict),
            ("ExpiredToken", "", 403, Refusal::Credentials),
            ("InternalFailureException", "", 500, Refusal::Unreachable),
            ("MalformedPolicyException", "", 400, Refusal::Other),
            (
                "InvalidParameterValueException",
                "The role defined for the function cannot be assumed by Lambda.",
                400,
                Refusal::Settling,
            ),
            ("ResourceConflictException", "An update is in progress for resource", 409, Refusal::Settling),
        ] {
            assert_eq!(refusal(code, message, status), wanted, "{code}");
        }
    }
}
