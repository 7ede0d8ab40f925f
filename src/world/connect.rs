//! Connecting and proving: one CONNECT each, never a second one by itself.
//!
//! Rule 8 lives here on the world's side: the session in hand is only dropped when the broker has dropped it (CONNACK
//! of the successor, or no answer to its CONNECT). Nothing of applications goes over a session before it has done what
//! it was made for: what they publish could close it, and would then have cost a proof (rules 7 and 9). What comes for
//! them is theirs at once.

use std::rc::Rc;

use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::detail::Detail;
use super::{CONNECT, Ended, GOODBYE, Left, LinkChange, Live, Tools, Who, who};
use crate::cloud::proof::{prove as prove_session, rotation_answers};
use crate::cloud::topics::standing;
use crate::cloud::{ClientIdentity, ConnectFailure, Options, Session, SessionEvent, Target};
use crate::config::Config;
use crate::keys::Today;
use crate::rotation::{Carrier, Outcome, Trouble};
use crate::x509;

/// Makes a new connection; the one in hand ends first.
pub(super) async fn connect(
    tools: Rc<Tools>,
    config: Rc<Config>,
    carrier: Carrier,
    old: Option<Live>,
    early: mpsc::UnboundedSender<SessionEvent>,
) -> Ended {
    let mut left = Left::default();
    if let Some(old) = old {
        left.append(old.end(GOODBYE).await);
    }
    let down = |ended: Ended, left| Ended { link: LinkChange::Down, left, ..ended };
    let mut live = match open(&tools, &config, carrier).await {
        Ok(live) => live,
        Err(failure) => return down(failure.ended(), left),
    };
    let filters = match filters(&tools, &config, carrier) {
        Ok(filters) => filters,
        Err(detail) => {
            left.append(live.end(GOODBYE).await);
            return down(Ended::failed(Outcome::Local, detail), left);
        }
    };
    // Subscribed anew each time: whether a session carries over is not known (facts), and costs one packet.
    let session = Rc::clone(&live.session);
    let subscribed = session.subscribe(&filters, tools.deadline(CONNECT));
    if let Err(error) = live.meanwhile(&mut left, &early, subscribed).await {
        let detail = Detail::of("subscribe", &error, error.remedy());
        left.append(live.end(GOODBYE).await);
        return down(Ended::failed(Outcome::Failed(Trouble::Unfit), detail), left);
    }
    Ended { link: LinkChange::Up(live), left, ..Ended::new(Outcome::Done) }
}

/// Connects with a generation beside the session in hand, takes over, and proves it (rules 7 to 9).
pub(super) async fn prove(
    tools: Rc<Tools>,
    config: Rc<Config>,
    n: u32,
    old: Option<Rc<Session>>,
    early: mpsc::UnboundedSender<SessionEvent>,
) -> Ended {
    let carrier = Carrier::Generation(n);
    let mut left = Left::default();
    let mut live = match open(&tools, &config, carrier).await {
        Ok(live) => live,
        Err(failure) => {
            // Refused or never asked: the session in hand is as it was. No CONNACK: it may be gone (rule 8).
            let link = if failure.lost() { LinkChange::Down } else { LinkChange::Keep };
            if let (LinkChange::Down, Some(old)) = (&link, &old) {
                last_words(old).await;
            }
            return Ended { link, ..failure.ended() };
        }
    };
    let asked = who(&tools.store, &config).ok_or("the thing name is not known").and_then(|who| {
        let standing = standing(&who.thing).map_err(|_| "the thing name is not one")?;
        let answers = rotation_answers(config.rotation.template.as_str()).map_err(|_| "no template name")?;
        Ok((standing, answers))
    });
    let session = Rc::clone(&live.session);
    let proving = async {
        let proof = match &asked {
            Ok((standing, answers)) => prove_session(&session, standing, answers, tools.deadline(CONNECT))
                .await
                .map_err(|error| Detail::of("proof", &error, error.remedy())),
            Err(why) => Err(Detail::new("proof", *why, "a person: check [device] in the configuration")),
        };
        if let Some(old) = &old {
            last_words(old).await;
        }
        proof
    };
    let proof = live.meanwhile(&mut left, &early, proving).await;
    match proof {
        Ok(()) => Ended { link: LinkChange::Up(live), left, ..Ended::new(Outcome::Done) },
        Err(detail) => {
            left.append(live.end(GOODBYE).await);
            let failed = Ended::failed(Outcome::Failed(Trouble::Unfit), detail);
            Ended { link: LinkChange::Down, left, ..failed }
        }
    }
}

/// Waits for the end of the session that was taken over, so that what it had read from the wire (and acknowledged) is
/// with the world before its successor is.
async fn last_words(old: &Session) {
    if tokio::time::timeout(GOODBYE, old.closed()).await.is_err() {
        old.disconnect(GOODBYE).await;
    }
}

/// Why there is no session.
enum NoSession {
    Local(Detail),
    Cloud(ConnectFailure),
}

impl NoSession {
    fn lost(&self) -> bool {
        matches!(self, NoSession::Cloud(f) if trouble(f) == Trouble::Lost)
    }

    fn ended(self) -> Ended {
        match self {
            NoSession::Local(detail) => Ended::failed(Outcome::Local, detail),
            NoSession::Cloud(failure) => {
                Ended::failed(Outcome::Failed(trouble(&failure)), Detail::of_connect(&failure))
            }
        }
    }
}

fn trouble(failure: &ConnectFailure) -> Trouble {
    if failure.is_refusal() {
        Trouble::Refused
    } else if failure.old_session_may_be_gone() {
        Trouble::Lost
    } else {
        Trouble::Unreachable
    }
}

/// The template that an identity registers by.
pub(super) fn template(config: &Config, carrier: Carrier) -> &str {
    match carrier {
        Carrier::Claim => config.claim.template.as_str(),
        Carrier::Generation(_) => config.rotation.template.as_str(),
    }
}

/// Dials with an identity and gets a CONNACK.
async fn open(tools: &Tools, config: &Config, carrier: Carrier) -> Result<Live, NoSession> {
    let who = who(&tools.store, config);
    let identity = identity(tools, config, carrier).map_err(NoSession::Local)?;
    let Some(client_id) = client_id(carrier, who.as_ref(), tools) else {
        let detail = Detail::new("serial", "no serial is known", "a person: certrotctl provision SERIAL");
        return Err(NoSession::Local(detail));
    };
    let options = Options {
        target: Target::new(config.aws.endpoint.as_str(), config.aws.port),
        identity,
        client_id,
        clean_session: carrier == Carrier::Claim,
        keep_alive: config.session.keep_alive.as_std(),
        connect_timeout: tools.deadline(CONNECT),
    };
    let (sender, events) = mpsc::channel(EVENTS);
    let (session, connack) = crate::cloud::connect(&options, sender).await.map_err(NoSession::Cloud)?;
    Ok(Live { carrier, session: Rc::new(session), present: connack.session_present, number: 0, events })
}

/// The TLS client of an identity, made afresh: nothing of an older one is carried over by resumption.
pub(crate) fn identity(tools: &Tools, config: &Config, carrier: Carrier) -> Result<ClientIdentity, Detail> {
    let root = read(config.aws.root_ca.as_path(), "root-ca")?;
    let (certificate, key) = match carrier {
        Carrier::Generation(n) => {
            let pair = tools.store.pair(n).map_err(|e| Detail::of_store("reading the pair", &e))?;
            (Zeroizing::new(pair.certificate.into_bytes()), Zeroizing::new(pair.key.as_bytes().to_vec()))
        }
        Carrier::Claim => {
            let files = config.claim.files.as_ref().ok_or_else(|| {
                Detail::new(
                    "claim",
                    "the claim pair is in $CREDENTIALS_DIRECTORY, which is not set",
                    "a person: start certrotd by its unit (LoadCredential=), or name the files in [claim]",
                )
            })?;
            (read(files.certificate.as_path(), "claim")?, read(files.private_key.as_path(), "claim")?)
        }
    };
    let bad = |error: x509::Error| {
        Detail::of("pair", &error, "a new certificate, or a person: the PEM file is damaged")
    };
    let chain = x509::certificates(&certificate).map_err(bad)?;
    let key = x509::private_key(&key).map_err(bad)?;
    ClientIdentity::new(&root, chain, &key, tools.tls_clock())
        .map(|identity| identity.with_floor_only(matches!(tools.today(), Today::AtLeast(_))))
        .map_err(|error| Detail::of("tls", &error, error.remedy()))
}

fn read(path: &std::path::Path, what: &str) -> Result<Zeroizing<Vec<u8>>, Detail> {
    std::fs::read(path).map(Zeroizing::new).map_err(|error| {
        let text = format!("reading {}: {error}", path.display());
        Detail::new(
            what,
            text,
            format!(
                "a person: put the file there, readable for certrotd ([{}])",
                if what == "claim" { "claim" } else { "aws" }
            ),
        )
    })
}

/// The claim's client ids never meet a device's (`claim-` is refused as a thing name), nor each other's.
fn client_id(carrier: Carrier, who: Option<&Who>, tools: &Tools) -> Option<String> {
    let who = who?;
    Some(match carrier {
        Carrier::Generation(_) => who.thing.clone(),
        Carrier::Claim => format!("claim-{}-{:08x}", who.serial, tools.clock.random()),
    })
}

fn filters(tools: &Tools, config: &Config, carrier: Carrier) -> Result<Vec<String>, Detail> {
    let bad = |error: crate::cloud::TopicError| Detail::of("topic", &error, error.remedy());
    match carrier {
        Carrier::Claim => rotation_answers(config.claim.template.as_str()).map_err(bad),
        // Not the answers of the next rotation: `prove` has tried them (rule 7), and whoever asks subscribes to them. A
        // template or a policy that is wrong by now costs the rotation, which says so, and not the session.
        Carrier::Generation(_) => {
            let who = who(&tools.store, config).ok_or_else(|| {
                Detail::new("serial", "no serial is known", "a person: certrotctl provision SERIAL")
            })?;
            standing(&who.thing).map_err(bad)
        }
    }
}

/// How many messages a session may lag behind.
const EVENTS: usize = 64;
