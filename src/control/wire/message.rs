//! `POST /v1/publish` and `GET /v1/subscribe`: messages of applications through the daemon's session.
//!
//! A payload is bytes. It crosses the socket as `payload` where it is text that JSON does not write longer than base64
//! would be, else as `payloadBase64` (RFC 4648, section 4, padded); a request may use either.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::{Problem, Time};

/// `POST /v1/publish`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PublishRequest {
    /// The topic.
    pub topic: String,
    /// The payload as text; with neither of the two it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload as base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// How long the cloud's acknowledgement is waited for: 1 to 120 s, 30 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
}

/// The answer to a publish that the cloud has acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Published {
    /// The topic.
    pub topic: String,
    /// The payload's size in bytes.
    pub bytes: usize,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// What a subscriber hears; the data of one server-sent event, whose name is the kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Heard {
    /// The subscription stands: from here on nothing is missed without a word.
    Subscribed {
        /// The filter that was asked for.
        filter: String,
    },
    /// A message.
    Message(Message),
    /// Messages are missing, or may be.
    Gap(Gap),
    /// The last event: why nothing more comes.
    Ended(Problem),
    /// A word of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// One message of the cloud's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Message {
    /// When the daemon had it.
    pub time: Time,
    /// Its topic.
    pub topic: String,
    /// The payload as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload as base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// Whether the cloud had kept it for new subscribers.
    pub retain: bool,
    /// Whether the cloud may have sent it before.
    pub dup: bool,
}

/// Messages that are missing, or may be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// How many, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// The same in words.
    pub text: String,
}

/// Why messages are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// The cloud did not know the session any more.
    SessionLost,
    /// More came at once than the daemon takes in.
    Dropped,
    /// This reader was too slow.
    SlowReader,
    /// A word of a newer daemon.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Heard {
    /// The word of the kind, which is also the `event:` line.
    pub fn word(&self) -> &'static str {
        match self {
            Heard::Subscribed { .. } => "subscribed",
            Heard::Message(_) => "message",
            Heard::Gap(_) => "gap",
            Heard::Ended(_) => "ended",
            Heard::Unknown => "unknown",
        }
    }
}

impl PublishRequest {
    /// A request with this payload, in the shorter of the two ways.
    pub fn new(topic: String, payload: Vec<u8>) -> PublishRequest {
        let (payload, payload_base64) = written(payload);
        PublishRequest { topic, payload, payload_base64, timeout_seconds: None }
    }

    /// The payload's bytes.
    pub fn into_bytes(self) -> Result<Vec<u8>, NoPayload> {
        bytes(self.payload, self.payload_base64)
    }
}

impl Message {
    /// The same with this payload, in the shorter of the two ways.
    pub fn with(mut self, payload: Vec<u8>) -> Message {
        (self.payload, self.payload_base64) = written(payload);
        self
    }

    /// The payload's bytes.
    pub fn into_bytes(self) -> Result<Vec<u8>, NoPayload> {
        bytes(self.payload, self.payload_base64)
    }
}

/// Why a payload cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPayload {
    /// Both ways at once.
    #[error("there are payload and payloadBase64: which of the two is it?")]
    Both,
    /// Not base64.
    #[error("payloadBase64 is not base64 (RFC 4648, section 4, padded)")]
    NotBase64,
}

fn bytes(text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, NoPayload> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(NoPayload::Both),
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => BASE64.decode(base64.as_bytes()).map_err(|_| NoPayload::NotBase64),
        (None, None) => Ok(Vec::new()),
    }
}

/// As text or as base64. JSON writes a control character as six bytes, quotes and backslashes as two.
fn written(payload: Vec<u8>) -> (Option<String>, Option<String>) {
    let escapes = payload.iter().map(|b| match b {
        0..0x20 => 5,
        b'"' | b'\\' => 1,
        _ => 0,
    });
    let short = escapes.sum::<usize>() <= payload.len() / 3 + 8;
    match String::from_utf8(payload) {
        Ok(text) if short => (Some(text), None),
        Ok(text) => (None, Some(BASE64.encode(text.as_bytes()))),
        Err(error) => (None, Some(BASE64.encode(error.as_bytes()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_payload_comes_back_as_it_was_and_is_never_much_longer_than_base64() {
        let payloads = [
            Vec::new(),
            b"hello".to_vec(),
            "d\u{e9}j\u{e0}\n\"vu\"\\".into(),
            vec![0xff, 0, 0xfe],
            vec![0; 3000],
            vec![b'"'; 3000],
            vec![b'"'; 131_072],
            (0..=255).cycle().take(70_000).collect(),
        ];
        for payload in payloads {
            let json = serde_json::to_string(&PublishRequest::new("t".to_owned(), payload.clone())).unwrap();
            assert!(json.len() <= payload.len() * 4 / 3 + 120, "{} of {}", json.len(), payload.len());
            let read: PublishRequest = serde_json::from_str(&json).unwrap();
            assert_eq!(read.into_bytes(), Ok(payload.clone()));
            let message = Heard::Message(Message::default().with(payload.clone()));
            let json = serde_json::to_string(&message).unwrap();
            let Heard::Message(read) = serde_json::from_str(&json).unwrap() else { panic!("{json}") };
            assert_eq!(read.into_bytes(), Ok(payload));
        }
    }

    #[test]
    fn what_a_subscriber_hears_has_its_kind_in_its_data() {
        let gap = Gap { reason: GapReason::SlowReader, lost: Some(3), text: "x".to_owned() };
        let json = serde_json::to_string(&Heard::Gap(gap)).unwrap();
        assert_eq!(json, r#"{"kind":"gap","reason":"slow-reader","lost":3,"text":"x"}"#);
        let heard: Heard = serde_json::from_str(r#"{"kind":"subscribed","filter":"a/#"}"#).unwrap();
        assert_eq!(heard, Heard::Subscribed { filter: "a/#".to_owned() });
        let newer: Heard = serde_json::from_str(r#"{"kind":"dance","to":"x"}"#).unwrap();
        assert_eq!(newer, Heard::Unknown);
    }

    #[test]
    fn two_payloads_or_none_that_can_be_read_are_refused() {
        let both = PublishRequest {
            payload: Some(String::new()),
            payload_base64: Some(String::new()),
            ..PublishRequest::default()
        };
        assert_eq!(both.into_bytes(), Err(NoPayload::Both));
        for bad in ["a", "YQ", "YQ=", "Y Q==", "_w=="] {
            let bad = PublishRequest { payload_base64: Some(bad.to_owned()), ..PublishRequest::default() };
            assert_eq!(bad.into_bytes(), Err(NoPayload::NotBase64));
        }
    }
}
