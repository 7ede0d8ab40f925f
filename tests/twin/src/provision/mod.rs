//! Fleet provisioning over MQTT: create, create-from-csr, provision; answers to the asking connection alone.
//!
//! ```text
//! publish ─▶ operation(topic) ─▶ handle: faults ─▶ effect ─▶ faults ─▶ answer on …/accepted | …/rejected
//! ```

pub mod codec;
mod hook;
mod register;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use tokio::time::sleep;

use crate::broker::message::Message;
use crate::broker::sessions::Close;
use crate::ca::{self, CaError, Minted};
use crate::cloud::{Cloud, millis};
use crate::events::Event;
use crate::faults::Effect;
use crate::registry::{Status, Token};
use codec::{Format, Request};

/// One of the three operations, as a request topic names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// CreateKeysAndCertificate.
    Create(Format),
    /// CreateCertificateFromCsr.
    CreateFromCsr(Format),
    /// RegisterThing by the template of this name.
    Register(String, Format),
}

impl Operation {
    /// The name that faults and events have for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::CreateFromCsr(_) => "create-from-csr",
            Self::Register(..) => "register",
        }
    }

    fn format(&self) -> Format {
        match self {
            Self::Create(format) | Self::CreateFromCsr(format) | Self::Register(_, format) => *format,
        }
    }
}

/// Reads a request topic; `None` for any other.
pub fn operation(topic: &str) -> Option<Operation> {
    let levels: Vec<&str> = topic.split('/').collect();
    match levels.as_slice() {
        ["$aws", "certificates", "create", format] => Some(Operation::Create(Format::parse(format)?)),
        ["$aws", "certificates", "create-from-csr", format] => {
            Some(Operation::CreateFromCsr(Format::parse(format)?))
        }
        ["$aws", "provisioning-templates", template, "provision", format] => {
            Some(Operation::Register((*template).to_owned(), Format::parse(format)?))
        }
        _ => None,
    }
}

/// The connection that asks.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Its number.
    pub connection: u64,
    /// Its client id.
    pub client: String,
    /// Its certificate id.
    pub principal: String,
}

/// An answer `rejected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// `statusCode`.
    pub status: u16,
    /// `errorCode`.
    pub code: String,
    /// `errorMessage`.
    pub message: String,
}

impl Rejection {
    /// A rejection in AWS's words.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }
}

/// Performs one request and answers it, with the faults that were ordered.
pub async fn handle(cloud: Arc<Cloud>, asker: Asker, operation: Operation, message: Message) {
    let on_answer = |e: &Effect| !matches!(e, Effect::LosePuback);
    let fault = cloud.fault(operation.name(), &asker.client, &asker.principal, on_answer);
    match &fault {
        Some(Effect::Ignore) => return,
        Some(Effect::CloseBefore) => return close(&cloud, &asker),
        Some(Effect::Delay { ms }) => sleep(Duration::from_millis(*ms)).await,
        _ => {}
    }
    let outcome = match &fault {
        Some(Effect::Refuse { status_code, error_code }) => {
            Err(Rejection::new(*status_code, error_code, "refused by a fault"))
        }
        Some(Effect::Throttle) => Err(Rejection::new(429, "ThrottlingException", "Rate exceeded")),
        _ => perform(&cloud, &asker, &operation, &message, fault.as_ref()).await,
    };
    if let Err(rejection) = &outcome {
        cloud.log(Event::Rejected {
            operation: operation.name().to_owned(),
            by: asker.principal.clone(),
            status_code: rejection.status,
            error_code: rejection.code.clone(),
        });
    }
    let answer = answer_to(&operation, &message.topic, outcome);
    match &fault {
        Some(Effect::Drop) => {}
        Some(Effect::CloseUnanswered) => close(&cloud, &asker),
        Some(Effect::Twice) => {
            send(&cloud, &asker, answer.clone());
            send(&cloud, &asker, answer);
        }
        Some(Effect::CloseAfter) => {
            send(&cloud, &asker, answer);
            close(&cloud, &asker);
        }
        Some(Effect::DelayAnswer { ms }) => {
            sleep(Duration::from_millis(*ms)).await;
            send(&cloud, &asker, answer);
        }
        _ => send(&cloud, &asker, answer),
    }
}

type Answer = Map<String, Value>;

async fn perform(
    cloud: &Arc<Cloud>,
    asker: &Asker,
    operation: &Operation,
    message: &Message,
    fault: Option<&Effect>,
) -> Result<Answer, Rejection> {
    let request = codec::read(operation.format(), &message.payload)
        .map_err(|e| Rejection::new(400, "InvalidPayload", e.to_string()))?;
    match operation {
        Operation::Create(_) => create(cloud, asker).await,
        Operation::CreateFromCsr(_) => create_from_csr(cloud, asker, &request),
        Operation::Register(template, _) => {
            let later_ms = match fault {
                Some(Effect::SeenLate { ms }) => i64::try_from(*ms).unwrap_or(i64::MAX),
                _ => 0,
            };
            register::register(cloud, asker, template, &request, later_ms).await
        }
    }
}

async fn create(cloud: &Arc<Cloud>, asker: &Asker) -> Result<Answer, Rejection> {
    let made = tokio::task::spawn_blocking(ca::rsa_key).await;
    let key = made.map_err(|_| internal())?.map_err(|_| internal())?;
    let minted = cloud.mint(&key.public, Status::PendingActivation).map_err(|_| internal())?;
    let mut answer = issued(cloud, asker, &minted, true);
    answer.insert("privateKey".into(), key.private_pem.into());
    Ok(answer)
}

fn create_from_csr(cloud: &Cloud, asker: &Asker, request: &Request) -> Result<Answer, Rejection> {
    let missing = || Rejection::new(400, "InvalidPayload", "certificateSigningRequest is missing");
    let csr = request.csr.as_deref().ok_or_else(missing)?;
    let key = ca::check_request(csr).map_err(|e| match e {
        CaError::Request(_) => Rejection::new(400, "InvalidCertificateSigningRequest", e.to_string()),
        CaError::File(_) | CaError::Crypto { .. } => internal(),
    })?;
    let minted = cloud.mint(&key, Status::PendingActivation).map_err(|_| internal())?;
    Ok(issued(cloud, asker, &minted, false))
}

/// Makes the ownership token and the part of the answer that both operations have.
fn issued(cloud: &Cloud, asker: &Asker, minted: &Minted, cloud_key: bool) -> Answer {
    let bytes: Vec<u8> = (0..348).map(|_| fastrand::u8(..)).collect();
    // 464 characters, as seen on AWS.
    let value = STANDARD.encode(bytes);
    let ends_ms = cloud.clock.now_ms().saturating_add(millis(cloud.options.token_life));
    let token = Token { certificate_id: minted.id.clone(), ends_ms, connection: asker.connection };
    cloud.change(|r| r.tokens.insert(value.clone(), token));
    cloud.log(Event::Minted { certificate_id: minted.id.clone(), by: asker.principal.clone(), cloud_key });
    Map::from_iter([
        ("certificateId".to_owned(), minted.id.clone().into()),
        ("certificatePem".to_owned(), minted.pem.clone().into()),
        ("certificateOwnershipToken".to_owned(), value.into()),
    ])
}

fn answer_to(operation: &Operation, topic: &str, outcome: Result<Answer, Rejection>) -> Message {
    let (word, map) = match outcome {
        Ok(answer) => ("accepted", answer),
        Err(rejection) => (
            "rejected",
            Map::from_iter([
                ("statusCode".to_owned(), rejection.status.into()),
                ("errorCode".to_owned(), rejection.code.into()),
                ("errorMessage".to_owned(), rejection.message.into()),
            ]),
        ),
    };
    Message::new(&format!("{topic}/{word}"), &codec::write(operation.format(), &map), 1, false)
}

fn send(cloud: &Cloud, asker: &Asker, answer: Message) {
    cloud.sessions(|s| s.answer(asker.connection, answer));
}

fn close(cloud: &Cloud, asker: &Asker) {
    cloud.sessions(|s| s.close_connection(&Close::Order, asker.connection));
}

fn internal() -> Rejection {
    Rejection::new(500, "InternalFailure", "the twin could not make the certificate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_topics_are_told_from_answer_topics() {
        assert_eq!(operation("$aws/certificates/create/json"), Some(Operation::Create(Format::Json)));
        assert_eq!(
            operation("$aws/provisioning-templates/t/provision/cbor"),
            Some(Operation::Register("t".into(), Format::Cbor))
        );
        for topic in ["$aws/certificates/create/json/accepted", "$aws/certificates/create/xml", "a/b"] {
            assert_eq!(operation(topic), None, "{topic}");
        }
    }
}
