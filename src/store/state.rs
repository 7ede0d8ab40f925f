//! What a generation is made of: the data of `state.json`, the pair, and the ownership token that must not leak.
//!
//! Bytes become types here and types become bytes; it opens no file. Nothing secret has a Debug or Display of its own.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::rotation::identity::{Asked, Origin, Stage, Wall};

/// The certificate ownership token: whoever holds it may make a certificate live. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Takes a token in.
    pub fn new(token: impl Into<String>) -> Self {
        Token(Zeroizing::new(token.into()))
    }

    /// Shows it, for RegisterThing and for nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What the store is asked to keep as a new generation, before RegisterThing is sent.
#[derive(Debug)]
pub struct NewGeneration {
    /// Certificate and private key.
    pub pair: Pair,
    /// Which template it was issued for.
    pub origin: Origin,
    /// The thing name that RegisterThing must answer (rule 4).
    pub thing: String,
    /// The template's name.
    pub template: String,
    /// The endpoint that issued it.
    pub endpoint: String,
    /// The ownership token.
    pub token: Token,
    /// When the token ends.
    pub token_ends: Wall,
    /// Now.
    pub issued_at: Wall,
}

/// Certificate and private key in PEM; the key is wiped when dropped.
pub struct Pair {
    /// The certificate, as the cloud sent it.
    pub certificate: String,
    /// The private key.
    pub key: Zeroizing<String>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair(..)")
    }
}

/// What `state.json` says of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// How far it came.
    pub stage: Stage,
    /// Which template it was issued for.
    pub origin: Origin,
    /// The thing name that RegisterThing must answer (rule 4).
    pub thing: String,
    /// The template's name.
    pub template: String,
    /// The endpoint that issued it.
    pub endpoint: String,
    /// The certificate id, 64 hexadecimal digits.
    pub certificate_id: String,
    /// The ownership token; gone once the generation is registered.
    pub token: Option<Token>,
    /// When the token ends.
    pub token_ends: Option<Wall>,
    /// When it was issued.
    pub issued_at: Wall,
    /// Its RegisterThing requests.
    pub requests: Requests,
}

impl State {
    /// What is known of its RegisterThing requests (rule 1).
    pub fn asked(&self) -> Asked {
        match (self.stage, self.requests) {
            (Stage::Issued, Requests::Never) => Asked::Never,
            (Stage::Issued, Requests::Rejected) => Asked::Rejected,
            (Stage::Issued, Requests::Outstanding | Requests::Lost) => Asked::Unanswered,
            (Stage::Registered | Stage::Proved, _) => Asked::Unanswered,
        }
    }

    /// Reads `state.json`; `None` where it is not one.
    pub fn parse(bytes: &[u8]) -> Option<State> {
        let wire: Wire = serde_json::from_slice(bytes).ok()?;
        Some(State {
            stage: wire.stage.into(),
            origin: wire.origin.into(),
            thing: wire.thing,
            template: wire.template,
            endpoint: wire.endpoint,
            certificate_id: wire.certificate_id,
            token: wire.token.map(|t| Token(t.0)),
            token_ends: wire.token_ends,
            issued_at: wire.issued_at,
            requests: wire.requests,
        })
    }

    /// Writes `state.json`. The bytes are wiped when dropped: they may hold the token.
    pub(super) fn bytes(&self) -> Zeroizing<Vec<u8>> {
        let wire = Wire {
            stage: self.stage.into(),
            origin: self.origin.into(),
            thing: self.thing.clone(),
            template: self.template.clone(),
            endpoint: self.endpoint.clone(),
            certificate_id: self.certificate_id.clone(),
            token: self.token.clone().map(|t| Secret(t.0)),
            token_ends: self.token_ends,
            issued_at: self.issued_at,
            requests: self.requests,
        };
        encode(&wire)
    }
}

/// The RegisterThing requests of a generation. Each step is safe to repeat: a repeat never makes it look deader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Requests {
    /// None was sent.
    Never,
    /// One was sent and is not answered yet; all before it were answered `rejected`.
    Outstanding,
    /// All that were sent were answered `rejected`.
    Rejected,
    /// Another was sent while one had no answer: that one may have landed, for ever.
    Lost,
}

impl Requests {
    /// One more is about to be sent.
    pub(super) fn sending(self) -> Requests {
        match self {
            Requests::Never | Requests::Rejected => Requests::Outstanding,
            Requests::Outstanding | Requests::Lost => Requests::Lost,
        }
    }

    /// One was answered `rejected`.
    pub(super) fn rejected(self) -> Requests {
        match self {
            Requests::Outstanding | Requests::Rejected => Requests::Rejected,
            Requests::Never => Requests::Never,
            Requests::Lost => Requests::Lost,
        }
    }
}

/// Writes JSON with room from the start, so that growing leaves no copy behind.
pub(super) fn encode(value: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
    // Cannot fail: plain structs with string keys, written to memory. If it ever did, the file would read as garbage
    // and be treated so.
    let _ = serde_json::to_writer_pretty(&mut *bytes, value);
    bytes.push(b'\n');
    bytes
}

/// The file's own shape. Unknown keys are a newer version's: passed over.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    stage: WireStage,
    origin: WireOrigin,
    thing: String,
    template: String,
    endpoint: String,
    certificate_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_ends: Option<Wall>,
    issued_at: Wall,
    requests: Requests,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum WireStage {
    Issued,
    Registered,
    Proved,
}

impl From<Stage> for WireStage {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Issued => WireStage::Issued,
            Stage::Registered => WireStage::Registered,
            Stage::Proved => WireStage::Proved,
        }
    }
}

impl From<WireStage> for Stage {
    fn from(stage: WireStage) -> Self {
        match stage {
            WireStage::Issued => Stage::Issued,
            WireStage::Registered => Stage::Registered,
            WireStage::Proved => Stage::Proved,
        }
    }
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum WireOrigin {
    Claim,
    Rotation,
}

impl From<Origin> for WireOrigin {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Claim => WireOrigin::Claim,
            Origin::Rotation => WireOrigin::Rotation,
        }
    }
}

impl From<WireOrigin> for Origin {
    fn from(origin: WireOrigin) -> Self {
        match origin {
            WireOrigin::Claim => Origin::Claim,
            WireOrigin::Rotation => Origin::Rotation,
        }
    }
}

/// A string that is wiped when dropped.
struct Secret(Zeroizing<String>);

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|s| Secret(Zeroizing::new(s)))
    }
}

/// Room for the longest JSON file that is written, bytes (a token may have 4 kB).
const ROOM: usize = 32 << 10;
