//! The proof that a new certificate can do its job (rule 7).
//!
//! After CONNACK: SUBACK for every standing filter and for the answer topics of the next rotation, and a `rejected`
//! to a CSR that is not one, which shows that the certificate may ask. RegisterThing's own right is not tried: it
//! would cost the fleet's scarcest quota.

use std::time::Duration;

use zeroize::Zeroizing;

use super::error::SubscribeError;
use super::payload;
use super::request::RequestError;
use super::session::Session;
use super::topics::Operation;

/// Why the proof failed.
#[derive(Debug, thiserror::Error)]
pub enum ProofFailure {
    /// A standing filter or an answer topic could not be subscribed to.
    #[error("proving the new certificate")]
    Subscribe(#[source] SubscribeError),
    /// The certificate may not ask for a successor, or nobody answers.
    #[error("proving the new certificate")]
    Ask(#[source] RequestError),
    /// The cloud signed what is not a CSR: it is not the cloud that this program knows.
    #[error("proving the new certificate: a request that is no CSR was accepted")]
    Accepted,
}

impl ProofFailure {
    /// Says who can clear it.
    pub fn remedy(&self) -> &'static str {
        match self {
            ProofFailure::Subscribe(error) => error.remedy(),
            ProofFailure::Ask(RequestError::Closed { .. }) => {
                "the certificate's policy must allow iot:Publish on $aws/certificates/create-from-csr/json"
            }
            ProofFailure::Ask(error) => error.remedy(),
            ProofFailure::Accepted => "check the endpoint",
        }
    }
}

/// Proves a fresh session; each part (subscriptions, question) has `deadline`.
///
/// `answers` are the answer topics of the next rotation (see [`rotation_answers`]). Any `rejected` counts, whatever
/// its class: what is shown is the right to ask.
pub async fn prove(
    session: &Session,
    standing: &[String],
    answers: &[String],
    deadline: Duration,
) -> Result<(), ProofFailure> {
    let filters: Vec<String> = standing.iter().chain(answers).cloned().collect();
    session.subscribe(&filters, deadline).await.map_err(ProofFailure::Subscribe)?;
    let question = Zeroizing::new(payload::not_a_csr().to_vec());
    let answer = session
        .request(&Operation::create_from_csr(), question, deadline)
        .await
        .map_err(ProofFailure::Ask)?;
    if answer.accepted { Err(ProofFailure::Accepted) } else { Ok(()) }
}

/// The answer topics of a rotation by a template, in both ways of making keys.
pub fn rotation_answers(template: &str) -> Result<Vec<String>, super::TopicError> {
    let operations = [Operation::create_from_csr(), Operation::create_keys(), Operation::register(template)?];
    Ok(operations.iter().flat_map(Operation::answers).collect())
}
