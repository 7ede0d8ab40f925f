//! What is asked of the cloud over the session in hand: issue, register, commit.
//!
//! Order (rules 1, 4 and 5): a new pair is checked and durable before RegisterThing is thought of; a key is used once.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::connect::template;
use super::detail::Detail;
use super::{ANSWER, Ended, RETIRED, Tools, who};
use crate::cloud::payload::{self, Class, CommitAnswer, Issued, Secret};
use crate::cloud::topics::Operation;
use crate::cloud::{Answer, RequestError, Session};
use crate::config::{Config, KeySource, KeyType};
use crate::keys::{self, Key, MadeType, SoftKey};
use crate::rotation::{Asked, Carrier, Certificate, Mark, Origin, Outcome, Slot, Stage, Verdict};
use crate::store::{NewGeneration, Pair, Token};
use crate::x509::{Leaf, leaf};
use zeroize::Zeroizing;

/// Has a certificate issued, for a key that is made here (`key-source = "device"`) or comes with it (`"cloud"`); checks
/// both and makes them durable.
pub(super) async fn issue(
    tools: Rc<Tools>,
    config: Rc<Config>,
    origin: Origin,
    session: Rc<Session>,
) -> Ended {
    let minted = mint(&tools, &config, origin, &session).await;
    minted.unwrap_or_else(|ended| *ended)
}

async fn mint(
    tools: &Tools,
    config: &Config,
    origin: Origin,
    session: &Session,
) -> Result<Ended, Box<Ended>> {
    let here = |detail| Box::new(Ended::failed(Outcome::Local, detail));
    room(tools).map_err(here)?;
    let (operation, question, made) = match config.identity.key_source {
        KeySource::Device => {
            let (key, csr) = made_here(config).map_err(here)?;
            let question = payload::create_from_csr(&csr).map_err(|_| Box::new(unwritable()))?;
            (Operation::create_from_csr(), question, Some(key))
        }
        KeySource::Cloud => (Operation::create_keys(), payload::create_keys().to_vec().into(), None),
    };
    let answer = accepted(session.request(&operation, question, tools.deadline(ANSWER)).await)?;
    let wrong = |detail| Box::new(contradicts(detail));
    let issued = payload::parse_issued(&answer.body)
        .map_err(|error| wrong(Detail::of("answer", &error, error.remedy())))?;
    let key = match made {
        Some(key) => key,
        None => sent_along(&issued).map_err(wrong)?,
    };
    Ok(keep(tools, config, origin, issued, &key))
}

/// A key of the configured type and its CSR (PEM).
pub(crate) fn made_here(config: &Config) -> Result<(SoftKey, String), Detail> {
    let kind = match config.identity.key_type {
        KeyType::EcdsaP256 => MadeType::EcdsaP256,
        KeyType::EcdsaP384 => MadeType::EcdsaP384,
    };
    SoftKey::generate(kind)
        .and_then(|key| keys::certificate_request(&key).map(|csr| (key, csr)))
        .map_err(|error| Detail::of("key", &error, error.remedy()))
}

/// The key that the cloud made.
fn sent_along(issued: &Issued) -> Result<SoftKey, Detail> {
    let Some(pem) = issued.private_key.as_ref().map(|k| Zeroizing::new(k.expose().to_owned())) else {
        let remedy = "what answers is not AWS IoT Core: check [aws] endpoint";
        return Err(Detail::new("answer", "the cloud sent no private key", remedy));
    };
    SoftKey::from_pem(pem).map_err(|error| Detail::of("key", &error, error.remedy()))
}

/// RegisterThing with the saved token, by the template that the session's certificate may use.
pub(super) async fn register(
    tools: Rc<Tools>,
    config: Rc<Config>,
    n: u32,
    carrier: Carrier,
    session: Rc<Session>,
) -> Ended {
    let state = match tools.store.state(n) {
        Ok(state) => state,
        Err(error) => return Ended::failed(Outcome::Local, Detail::of_store("reading the token", &error)),
    };
    let (Some(token), Some(who)) = (state.token, who(&tools.store, &config)) else {
        let remedy = "time: another certificate is asked for";
        let detail = Detail::new("token", "the generation has no token", remedy);
        return Ended::failed(Outcome::Refused(Verdict::Invalid, None), detail);
    };
    let template = template(&config, carrier);
    let mut parameters: BTreeMap<String, String> = config.device.parameters.clone();
    parameters.insert(SERIAL.to_owned(), who.serial);
    let (Ok(operation), Ok(question)) = (
        Operation::register(template),
        payload::register(&Secret::new(token.reveal().to_owned()), &parameters),
    ) else {
        return unwritable();
    };
    let answer = match accepted(session.request(&operation, question, tools.deadline(ANSWER)).await) {
        Ok(answer) => answer,
        Err(ended) => return denied_claim(*ended, carrier, &who.thing),
    };
    match payload::parse_registered(&answer.body) {
        // Rule 4: another thing than the expected one fails the generation.
        Ok(registered) if registered.thing_name.as_deref().is_some_and(|name| name != state.thing) => {
            let name = registered.thing_name.unwrap_or_default();
            let text = format!("RegisterThing answered with the thing {name:?}, expected {:?}", state.thing);
            let remedy = "a person: [device] serial or thing-name and the provisioning template do not agree";
            contradicts(Detail::new("thing", text, remedy))
        }
        Ok(_) => Ended::new(Outcome::Registered),
        // It was accepted, so the certificate may be alive: to be proved, not to be given up.
        Err(error) => Ended::failed(
            Outcome::Refused(Verdict::Fault, None),
            Detail::of("answer", &error, error.remedy()),
        ),
    }
}

/// Rule 20: whoever reads of a denied claim is told the operator's command.
fn denied_claim(mut ended: Ended, carrier: Carrier, thing: &str) -> Ended {
    let denied = matches!(ended.outcome, Outcome::Refused(Verdict::Denied, _)) && carrier == Carrier::Claim;
    if let Some(detail) = ended.detail.as_mut().filter(|d| denied && d.code == "rejected") {
        detail.remedy = format!(
            "the cloud's operator: the allow-list, the hook, or certrot-fleet reclaim {thing} where the thing still holds a certificate"
        );
    }
    ended
}

/// The commit of a generation, made new each time (rule 10), and its own answer (rule 14).
pub(super) async fn commit(tools: Rc<Tools>, config: Rc<Config>, n: u32, session: Rc<Session>) -> Ended {
    // From the certificate itself: a damaged state.json must not keep its predecessors alive.
    let id = match tools.store.pair(n).map(|pair| leaf(pair.certificate.as_bytes())) {
        Ok(Ok(leaf)) => leaf.id_hex(),
        Ok(Err(error)) => {
            return Ended::failed(Outcome::Local, Detail::of("pair", &error, "a new certificate"));
        }
        Err(error) => return Ended::failed(Outcome::Local, Detail::of_store("reading the pair", &error)),
    };
    let Some(who) = who(&tools.store, &config) else {
        return Ended::failed(
            Outcome::Local,
            Detail::new("serial", "no serial is known", "certrotctl provision SERIAL"),
        );
    };
    let (Ok(operation), Ok(question)) = (Operation::commit(&who.thing), payload::commit(&id)) else {
        return unwritable();
    };
    let answer = match session.request(&operation, question, tools.deadline(RETIRED)).await {
        Ok(answer) => answer,
        Err(error) => return silent(&error),
    };
    match payload::parse_commit(answer.accepted, &answer.body) {
        Ok(words) if words.certificate_id() != id => {
            let remedy = "time: a late answer to an older commit, asked again";
            let detail = Detail::new("commit", "the answer was for another certificate", remedy);
            Ended::failed(Outcome::Refused(Verdict::Silence, None), detail)
        }
        Ok(CommitAnswer::Accepted { .. }) => Ended::new(Outcome::Committed),
        Ok(CommitAnswer::Rejected { reason, retry_after, .. }) => {
            let after = retry_after.map(|d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX));
            let detail = Detail::new(
                "commit",
                format!("the cloud rejected the commit: {reason}"),
                "time: asked again",
            );
            Ended::failed(Outcome::Refused(Verdict::Denied, after), detail)
        }
        Err(error) => contradicts(Detail::of("answer", &error, error.remedy())),
    }
}

/// Judges what was issued (rule 5) and makes it durable as a new generation.
fn keep(tools: &Tools, config: &Config, origin: Origin, issued: Issued, key: &SoftKey) -> Ended {
    let now = tools.wall();
    let (pem, id) = (&issued.certificate_pem, &issued.certificate_id);
    let leaf = match keys::check_issued(pem, id, key as &dyn Key, tools.today()) {
        Ok(leaf) => leaf,
        Err(error) => return contradicts(Detail::of("certificate", &error, error.remedy())),
    };
    let Some(who) = who(&tools.store, config) else {
        return Ended::failed(
            Outcome::Local,
            Detail::new("serial", "no serial is known", "certrotctl provision SERIAL"),
        );
    };
    let template = match origin {
        Origin::Claim => config.claim.template.as_str(),
        Origin::Rotation => config.rotation.template.as_str(),
    };
    let new = NewGeneration {
        pair: Pair { certificate: issued.certificate_pem, key: key.pem().clone() },
        origin,
        thing: who.thing,
        template: template.to_owned(),
        endpoint: config.aws.endpoint.as_str().to_owned(),
        token: Token::new(issued.token.expose()),
        token_ends: now + TOKEN_LIFE,
        issued_at: now,
    };
    match tools.store.add(new) {
        Ok(generation) => Ended::new(Outcome::Issued(slot(generation, origin, &leaf, now))),
        Err(error) => Ended::failed(Outcome::Local, Detail::of_store("storing the new pair", &error)),
    }
}

fn slot(generation: u32, origin: Origin, leaf: &Leaf, now: i64) -> Slot {
    Slot {
        generation,
        stage: Stage::Issued,
        origin,
        certificate: Some(Certificate {
            id: leaf.id,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        }),
        asked: Asked::Never,
        token_ends: Some(now + TOKEN_LIFE),
        issued_at: now,
        mark: Mark::Clear,
    }
}

/// A disk that is full is found out before a certificate is minted for it.
fn room(tools: &Tools) -> Result<(), Detail> {
    let space = tools.store.probe_space().map_err(|error| Detail::of_store("trying the store", &error))?;
    if space.is_enough() {
        return Ok(());
    }
    let text = format!("the store's file system has {} bytes left, too few for a pair", space.free_bytes);
    Err(Detail::new("disk-full", text, "a person: make room on that file system; tried again by itself"))
}

/// The accepted answer, or how the effect ended.
fn accepted(answer: Result<Answer, RequestError>) -> Result<Answer, Box<Ended>> {
    let answer = answer.map_err(|error| Box::new(silent(&error)))?;
    if answer.accepted {
        return Ok(answer);
    }
    let rejected = payload::parse_rejected(&answer.body);
    let (verdict, remedy) = match (rejected.class, rejected.status) {
        (Class::Throttled, _) => (Verdict::Denied, "time: the cloud is throttling, asked again later"),
        (Class::Denied, 401 | 403) => (
            Verdict::Denied,
            "the cloud's operator: allow-list, hook, or a certificate that the thing still holds",
        ),
        (Class::Denied, _) => (Verdict::Invalid, "the cloud's operator: template, role or parameters"),
        (Class::Fault, _) => (Verdict::Fault, "time: a fault of the cloud's, asked again later"),
    };
    let code = if rejected.class == Class::Throttled { "throttled" } else { "rejected" };
    Err(Box::new(Ended::failed(Outcome::Refused(verdict, None), Detail::of(code, &rejected, remedy))))
}

/// No answer: it may have happened only where it may have arrived. What a check has asked in vain and heard nothing of
/// is no answer either: the core then asks on a new connection (rule 2).
fn silent(error: &RequestError) -> Ended {
    let spent = matches!(error, RequestError::Spent { .. });
    let verdict = if error.may_have_arrived() || spent { Verdict::Silence } else { Verdict::Denied };
    let code = if let RequestError::Deaf { .. } = error { "subscribe" } else { "no-answer" };
    Ended::failed(Outcome::Refused(verdict, None), Detail::of(code, error, error.remedy()))
}

fn contradicts(detail: Detail) -> Ended {
    Ended::failed(Outcome::Refused(Verdict::Wrong, None), detail)
}

fn unwritable() -> Ended {
    let remedy = "a person: report it with the configuration's [claim], [rotation] and [device]";
    Ended::failed(Outcome::Local, Detail::new("request", "a request could not be written", remedy))
}

/// Life of an ownership token, seconds (AWS: one hour).
const TOKEN_LIFE: i64 = 3_600;
/// The template parameter that carries the serial.
const SERIAL: &str = "SerialNumber";
