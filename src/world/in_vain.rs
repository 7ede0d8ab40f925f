//! Questions on the live session that cannot succeed, for the doctor: the refusal shows the right to ask, and nothing
//! is minted or registered.
//!
//! They are asked as any request is: one that stays without an answer spends its operation on this connection, and
//! the next one by the core goes over a new connection (rule 2).

use zeroize::Zeroizing;

use super::{ANSWER, Detail, Tools};
use crate::cloud::payload::{Class, no_token, not_a_csr, parse_rejected};
use crate::cloud::topics::Operation;
use crate::cloud::{Answer, Session};

/// Tries whether a certificate could be asked for: what is no CSR is rejected.
pub(crate) async fn ask_in_vain(session: &Session, tools: &Tools) -> Result<(), Detail> {
    ask(session, tools, &Operation::create_from_csr(), not_a_csr()).await.map(drop)
}

/// Tries whether RegisterThing could be asked for by this template (rule 7): what is no token is rejected. Gives the
/// cloud's words.
pub(crate) async fn register_in_vain(
    session: &Session,
    tools: &Tools,
    template: &str,
) -> Result<String, Detail> {
    let operation =
        Operation::register(template).map_err(|error| Detail::of("topic", &error, error.remedy()))?;
    let answer = ask(session, tools, &operation, no_token()).await?;
    let rejected = parse_rejected(&answer.body);
    match (rejected.class, rejected.status) {
        (Class::Denied, 404) => {
            let text = format!("the cloud does not know the template {template}: {rejected}");
            Err(Detail::new("template", text, "check [rotation] template, or make it: certrot-fleet setup"))
        }
        _ => Ok(format!("{} {}", rejected.status, rejected.code)),
    }
}

/// Tries whether the answers of CreateKeysAndCertificate could be heard. Every request of it mints, so none is sent.
pub(crate) async fn listen_for_keys(session: &Session, tools: &Tools) -> Result<(), Detail> {
    session
        .subscribe(&Operation::create_keys().answers(), tools.deadline(ANSWER))
        .await
        .map_err(|error| Detail::of("answers", &error, error.remedy()))
}

async fn ask(
    session: &Session,
    tools: &Tools,
    operation: &Operation,
    question: &[u8],
) -> Result<Answer, Detail> {
    let question = Zeroizing::new(question.to_vec());
    match session.request(operation, question, tools.deadline(ANSWER)).await {
        Ok(answer) if !answer.accepted => Ok(answer),
        Ok(_) => {
            let text = format!("a request on {} that cannot be right was accepted", operation.request());
            Err(Detail::new("proof", text, "a person: check [aws] endpoint"))
        }
        Err(error) => Err(Detail::of("answers", &error, error.remedy())),
    }
}
