//! AWS IoT's registry and the reply topic, as the handlers use them.
//!
//! Each method is one operation (every page of a list); each backs off with full jitter while AWS is busy, and gives up
//! when the caller's time is over, never later. Nothing is decided here.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_iot::primitives::DateTime;
use aws_sdk_iot::types::{AttributePayload, CertificateStatus};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use certrot_rules::record;
use certrot_rules::registry::{Certificate, Status, Thing};
use certrot_rules::retire::Reply;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};

use crate::failure::{Failure, Kind};
use crate::log::{Level, tell};

/// The clients, kept over a container's life.
#[derive(Clone, Debug)]
pub struct Registry {
    iot: aws_sdk_iot::Client,
    data: aws_sdk_iotdataplane::Client,
    /// What a certificate's ARN begins with.
    prefix: String,
}

impl Registry {
    /// Over a configuration; no call is made yet.
    pub fn new(config: &SdkConfig) -> Self {
        let (iot, data) = (aws_sdk_iot::Client::new(config), aws_sdk_iotdataplane::Client::new(config));
        Registry { iot, data, prefix: String::new() }
    }

    /// The same clients, in the account and region of the function that was invoked; `None` for what is no ARN.
    pub fn beside(&self, function_arn: &str) -> Option<Self> {
        let mut parts = function_arn.split(':');
        let (_, partition, _, region, account) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(Registry { prefix: format!("arn:{partition}:iot:{region}:{account}:cert/"), ..self.clone() })
    }

    /// DescribeThing.
    pub async fn thing(&self, thing: &str, until: Instant) -> Result<Thing, Failure> {
        let answer =
            ask("DescribeThing", until, || self.iot.describe_thing().thing_name(thing).send()).await?;
        Ok(Thing {
            version: Some(answer.version()),
            type_name: answer.thing_type_name().map(str::to_owned),
            attributes: answer.attributes().cloned().unwrap_or_default().into_iter().collect(),
        })
    }

    /// UpdateThing, merging; an empty value takes an attribute away.
    pub async fn update_thing(
        &self,
        thing: &str,
        attributes: &BTreeMap<String, String>,
        expected_version: Option<i64>,
        until: Instant,
    ) -> Result<(), Failure> {
        let attributes = attributes.clone().into_iter().collect();
        let payload = AttributePayload::builder().set_attributes(Some(attributes)).merge(true).build();
        let send = || {
            let update = self.iot.update_thing().thing_name(thing).attribute_payload(payload.clone());
            update.set_expected_version(expected_version).send()
        };
        ask("UpdateThing", until, send).await.map(drop)
    }

    /// ListThingPrincipals: ids of the certificates among them.
    pub async fn certificates_of(&self, thing: &str, until: Instant) -> Result<Vec<String>, Failure> {
        let (mut ids, mut next) = (Vec::new(), None);
        loop {
            let token: Option<String> = next.take();
            let send =
                || self.iot.list_thing_principals().thing_name(thing).set_next_token(token.clone()).send();
            let page = ask("ListThingPrincipals", until, send).await?;
            ids.extend(page.principals().iter().filter_map(|arn| certificate_id(arn)));
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                return Ok(ids);
            }
        }
    }

    /// ListPrincipalThings.
    pub async fn things_of(&self, id: &str, until: Instant) -> Result<Vec<String>, Failure> {
        let arn = self.arn(id);
        let (mut names, mut next) = (Vec::new(), None);
        loop {
            let token: Option<String> = next.take();
            let send =
                || self.iot.list_principal_things().principal(&arn).set_next_token(token.clone()).send();
            let page = ask("ListPrincipalThings", until, send).await?;
            names.extend(page.things().iter().cloned());
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                return Ok(names);
            }
        }
    }

    /// DescribeCertificate.
    pub async fn certificate(&self, id: &str, until: Instant) -> Result<Certificate, Failure> {
        let send = || self.iot.describe_certificate().certificate_id(id).send();
        let answer = ask("DescribeCertificate", until, send).await?;
        let described = answer.certificate_description().ok_or_else(|| unread("no description"))?;
        let created =
            described.creation_date().and_then(timestamp).ok_or_else(|| unread("no creationDate"))?;
        let not_after = described.validity().and_then(|v| v.not_after()).and_then(timestamp);
        let status = described.status().map_or(Status::Unknown, status);
        Ok(Certificate { id: id.to_owned(), status, created, not_after })
    }

    /// UpdateCertificate.
    pub async fn update_certificate(&self, id: &str, status: Status, until: Instant) -> Result<(), Failure> {
        let status = CertificateStatus::from(status.as_str());
        let send = || self.iot.update_certificate().certificate_id(id).new_status(status.clone()).send();
        ask("UpdateCertificate", until, send).await.map(drop)
    }

    /// ListAttachedPolicies.
    pub async fn policies_of(&self, id: &str, until: Instant) -> Result<Vec<String>, Failure> {
        let arn = self.arn(id);
        let (mut names, mut next) = (Vec::new(), None);
        loop {
            let marker: Option<String> = next.take();
            let send = || self.iot.list_attached_policies().target(&arn).set_marker(marker.clone()).send();
            let page = ask("ListAttachedPolicies", until, send).await?;
            names.extend(page.policies().iter().filter_map(|p| p.policy_name()).map(str::to_owned));
            next = page.next_marker().map(str::to_owned);
            if next.is_none() {
                return Ok(names);
            }
        }
    }

    /// DetachPolicy.
    pub async fn detach_policy(&self, id: &str, policy: &str, until: Instant) -> Result<(), Failure> {
        let arn = self.arn(id);
        let send = || self.iot.detach_policy().policy_name(policy).target(&arn).send();
        ask("DetachPolicy", until, send).await.map(drop)
    }

    /// DetachThingPrincipal.
    pub async fn detach_thing(&self, thing: &str, id: &str, until: Instant) -> Result<(), Failure> {
        let arn = self.arn(id);
        let send = || self.iot.detach_thing_principal().thing_name(thing).principal(&arn).send();
        ask("DetachThingPrincipal", until, send).await.map(drop)
    }

    /// DeleteCertificate.
    pub async fn delete_certificate(&self, id: &str, until: Instant) -> Result<(), Failure> {
        let send = || self.iot.delete_certificate().certificate_id(id).send();
        ask("DeleteCertificate", until, send).await.map(drop)
    }

    /// Publishes a reply, QoS 1.
    pub async fn reply(&self, reply: &Reply, until: Instant) -> Result<(), Failure> {
        let (topic, payload) = (reply.topic(), reply.payload().to_string().into_bytes());
        let send = || self.data.publish().topic(&topic).qos(1).payload(payload.clone().into()).send();
        ask("Publish", until, send).await.map(drop)
    }

    fn arn(&self, id: &str) -> String {
        format!("{}{id}", self.prefix)
    }
}

/// Sends one request until it is answered for good, backing off while AWS is busy; never beyond `until`.
async fn ask<T, E, F>(operation: &str, until: Instant, mut send: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata,
{
    let mut wait = FIRST_WAIT;
    loop {
        let failure = match timeout_at(until, send()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Failure::of(&error),
            Err(_) => Failure::late(),
        };
        // Full jitter: handlers that were throttled together must not come back together.
        let pause = wait.mul_f64(fastrand::f64());
        let in_time = Instant::now() + pause < until;
        if failure.kind != Kind::Gone {
            tell(Level::Warn, "call", &[("operation", &operation), ("code", &failure)]);
        }
        if failure.kind != Kind::Busy || !in_time {
            return Err(failure);
        }
        sleep(pause).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// The certificate id of a principal's ARN; `None` for a principal that is no certificate.
fn certificate_id(arn: &str) -> Option<String> {
    arn.rsplit_once(":cert/").and_then(|(_, id)| record::certificate_id(id))
}

fn status(status: &CertificateStatus) -> Status {
    match status {
        CertificateStatus::Active => Status::Active,
        CertificateStatus::Inactive => Status::Inactive,
        CertificateStatus::Revoked => Status::Revoked,
        CertificateStatus::PendingTransfer => Status::PendingTransfer,
        CertificateStatus::PendingActivation => Status::PendingActivation,
        // Never treated as dead.
        _ => Status::Unknown,
    }
}

fn timestamp(date: &DateTime) -> Option<Timestamp> {
    Timestamp::new(date.secs(), i32::try_from(date.subsec_nanos()).ok()?).ok()
}

fn unread(what: &str) -> Failure {
    Failure { kind: Kind::Refused, code: what.to_owned() }
}

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_count_among_the_principals() {
        let id = "a".repeat(64);
        assert_eq!(certificate_id(&format!("arn:aws:iot:eu-west-1:123456789012:cert/{id}")), Some(id));
        for other in ["eu-west-1:5b2e8d3c-1", "arn:aws:iot:eu-west-1:1:cert/xyz", "arn:aws:iam::1:user/cert"]
        {
            assert_eq!(certificate_id(other), None, "{other}");
        }
    }
}
