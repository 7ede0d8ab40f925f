//! The account, over the AWS SDK. Every call goes through [`Aws::call`], and nothing else here sends.
//!
//! ```text
//! setup, status, … ─▶ observe | perform | devices ─▶ iot iam lambda sqs logs ─▶ Aws::call ─▶ SDK ─▶ AWS
//! ```
//! `Aws::call` backs off while AWS throttles or is still making something known to itself, and turns a refusal into
//! an error with the call, the permission and the statement that grants it. Region, profile, credentials and endpoints
//! are found as every AWS tool finds them.

pub mod devices;
pub mod error;
mod functions;
mod logs;
mod observe;
mod perform;
mod policies;
mod queue;
mod roles;
mod rules;
mod templates;
mod types;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use tokio::time::{Instant, sleep};

use crate::calls::{self, Call};
use crate::names::{Fleet, Place};
use crate::operator;
use error::{CallError, Refusal, StartError};

/// An account, a region, a fleet in it, and the clients to reach them.
pub struct Aws {
    /// The fleet.
    pub fleet: Fleet,
    /// Where it lives.
    pub place: Place,
    /// Who asks, as AWS knows them.
    pub caller: String,
    pub(crate) iot: aws_sdk_iot::Client,
    pub(crate) iam: aws_sdk_iam::Client,
    pub(crate) lambda: aws_sdk_lambda::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) logs: aws_sdk_cloudwatchlogs::Client,
    patience: Duration,
    counts: Mutex<BTreeMap<&'static str, u32>>,
}

/// How the account is reached; what is not said is found as every AWS tool finds it.
#[derive(Clone, Debug)]
pub struct Reach {
    /// `--region`, over AWS_REGION and the profile's.
    pub region: Option<String>,
    /// `--profile`, over AWS_PROFILE.
    pub profile: Option<String>,
    /// How long one call is tried again while AWS says “not now”.
    pub patience: Duration,
}

impl Aws {
    /// Finds region and credentials, and asks AWS whose they are.
    pub async fn open(fleet: Fleet, reach: &Reach) -> Result<Self, StartError> {
        let config = config(reach).await;
        let region = config.region().map(Region::to_string).ok_or(StartError::NoRegion)?;
        let sts = aws_sdk_sts::Client::new(&config);
        let mut aws = Aws {
            fleet,
            place: Place { partition: String::new(), region, account: String::new() },
            caller: String::new(),
            iot: aws_sdk_iot::Client::new(&config),
            iam: aws_sdk_iam::Client::new(&config),
            lambda: aws_sdk_lambda::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            logs: aws_sdk_cloudwatchlogs::Client::new(&config),
            patience: reach.patience,
            counts: Mutex::default(),
        };
        let identity = aws
            .call(&calls::GET_CALLER_IDENTITY, "these credentials", || sts.get_caller_identity().send())
            .await?;
        aws.caller = identity.arn().unwrap_or_default().to_owned();
        aws.place.account = identity.account().unwrap_or_default().to_owned();
        aws.place.partition = aws.caller.split(':').nth(1).unwrap_or("aws").to_owned();
        Ok(aws)
    }

    /// Sends one call, again while that helps.
    pub(crate) async fn call<T, E, Sent>(
        &self,
        call: &'static Call,
        on: &str,
        send: impl Fn() -> Sent,
    ) -> Result<T, CallError>
    where
        Sent: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let end = Instant::now() + self.patience;
        let mut wait = SHORTEST;
        loop {
            self.count(call);
            let failed = match send().await {
                Ok(answer) => return Ok(answer),
                Err(error) => CallError::new(call, on, error),
            };
            if !failed.refusal.passes() || Instant::now() + wait > end {
                return Err(match failed.refusal {
                    Refusal::Denied => failed.with_grant(operator::grant(call, &self.fleet, &self.place)),
                    _ => failed,
                });
            }
            // Full jitter: what was throttled together does not come back together.
            sleep(wait.mul_f64(fastrand::f64())).await;
            wait = (wait * 2).min(LONGEST);
        }
    }

    /// How often each call was sent.
    pub fn counts(&self) -> BTreeMap<&'static str, u32> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, call: &'static Call) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(call.name).or_default() += 1;
    }
}

async fn config(reach: &Reach) -> SdkConfig {
    let http = Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        // One place backs off: `Aws::call`.
        .retry_config(RetryConfig::disabled());
    if let Ok(name) = AppName::new("certrot-fleet") {
        loader = loader.app_name(name);
    }
    if let Some(region) = &reach.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &reach.profile {
        loader = loader.profile_name(profile);
    }
    loader.load().await
}

/// An empty success where something that should be gone is gone already.
pub(crate) fn gone_is_fine(result: Result<(), CallError>) -> Result<(), CallError> {
    match result {
        Err(error) if error.refusal == Refusal::Gone => Ok(()),
        other => other,
    }
}

/// Nothing where there is nothing.
pub(crate) fn found<T>(result: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.refusal == Refusal::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

/// A document as JSON; text that is none stays text, which equals no document of ours.
pub(crate) fn document(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
