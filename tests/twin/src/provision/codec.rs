//! Fleet provisioning's payloads in JSON and CBOR: requests in, answers out.
//!
//! One map with text keys; `parameters` a nested map of texts; `statusCode` a number. Definite and indefinite lengths.

use std::collections::BTreeMap;

use ciborium::Value as Cbor;
use serde_json::{Map, Value as Json};

/// How a payload is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// CBOR.
    Cbor,
}

impl Format {
    /// Reads the last level of a request topic.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "json" => Some(Self::Json),
            "cbor" => Some(Self::Cbor),
            _ => None,
        }
    }

    /// The last level of a request topic.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Cbor => "cbor",
        }
    }
}

/// A request of any of the three operations.
#[derive(Default)]
pub struct Request {
    /// `certificateSigningRequest`.
    pub csr: Option<String>,
    /// `certificateOwnershipToken`.
    pub token: Option<String>,
    /// `parameters`.
    pub parameters: BTreeMap<String, String>,
}

/// The payload is not a request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload is not a map of the operation's fields")]
pub struct Malformed;

/// Reads a request; an empty payload is an empty map.
pub fn read(format: Format, payload: &[u8]) -> Result<Request, Malformed> {
    if payload.is_empty() {
        return Ok(Request::default());
    }
    let map = match format {
        Format::Json => match serde_json::from_slice(payload) {
            Ok(Json::Object(map)) => map,
            _ => return Err(Malformed),
        },
        Format::Cbor => {
            let value: Cbor = ciborium::from_reader(payload).map_err(|_| Malformed)?;
            match to_json(value) {
                Some(Json::Object(map)) => map,
                _ => return Err(Malformed),
            }
        }
    };
    let text = |name: &str| match map.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Malformed),
    };
    let parameters = match map.get("parameters") {
        None | Some(Json::Null) => BTreeMap::new(),
        Some(Json::Object(given)) => {
            let pairs = given.iter().map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
            pairs.collect::<Option<_>>().ok_or(Malformed)?
        }
        Some(_) => return Err(Malformed),
    };
    Ok(Request {
        csr: text("certificateSigningRequest")?,
        token: text("certificateOwnershipToken")?,
        parameters,
    })
}

/// Writes an answer.
pub fn write(format: Format, answer: &Map<String, Json>) -> Vec<u8> {
    match format {
        Format::Json => Json::Object(answer.clone()).to_string().into_bytes(),
        Format::Cbor => {
            let mut bytes = Vec::new();
            let value = from_json(&Json::Object(answer.clone()));
            // Writing to memory cannot fail; an empty answer would show it if it did.
            if ciborium::into_writer(&value, &mut bytes).is_err() {
                bytes.clear();
            }
            bytes
        }
    }
}

fn to_json(value: Cbor) -> Option<Json> {
    Some(match value {
        Cbor::Text(text) => Json::String(text),
        Cbor::Null => Json::Null,
        Cbor::Bool(b) => Json::Bool(b),
        Cbor::Integer(n) => Json::from(i64::try_from(i128::from(n)).ok()?),
        Cbor::Array(items) => Json::Array(items.into_iter().map(to_json).collect::<Option<_>>()?),
        Cbor::Map(pairs) => {
            let mut map = Map::new();
            for (key, value) in pairs {
                map.insert(key.into_text().ok()?, to_json(value)?);
            }
            Json::Object(map)
        }
        _ => return None,
    })
}

fn from_json(value: &Json) -> Cbor {
    match value {
        Json::Null => Cbor::Null,
        Json::Bool(b) => Cbor::Bool(*b),
        Json::Number(n) => n.as_u64().map_or_else(|| Cbor::from(n.as_f64().unwrap_or_default()), Cbor::from),
        Json::String(text) => Cbor::Text(text.clone()),
        Json::Array(items) => Cbor::Array(items.iter().map(from_json).collect()),
        Json::Object(map) => {
            Cbor::Map(map.iter().map(|(k, v)| (Cbor::Text(k.clone()), from_json(v))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_map_of_texts_is_refused() {
        for payload in ["[]", "1", "{", r#"{"parameters":{"a":1}}"#, r#"{"parameters":"x"}"#] {
            assert!(read(Format::Json, payload.as_bytes()).is_err(), "{payload}");
        }
        assert!(read(Format::Cbor, b"{}").is_err());
        assert!(read(Format::Json, b"").is_ok());
    }

    #[test]
    fn cbor_of_indefinite_length_reads_like_the_definite_one() {
        // {_ "certificateOwnershipToken": (_ "t", "ok"), "parameters": {_ "a": "b"}}
        let mut bytes = vec![0xbf, 0x78, 25];
        bytes.extend(b"certificateOwnershipToken");
        bytes.extend([0x7f, 0x61, b't', 0x62, b'o', b'k', 0xff, 0x6a]);
        bytes.extend(b"parameters");
        bytes.extend([0xbf, 0x61, b'a', 0x61, b'b', 0xff, 0xff]);
        let request = read(Format::Cbor, &bytes).unwrap();
        assert_eq!(request.token.as_deref(), Some("tok"));
        assert_eq!(request.parameters["a"], "b");
    }

    #[test]
    fn an_answer_in_cbor_reads_back() {
        let answer = Map::from_iter([
            ("statusCode".to_owned(), Json::from(400)),
            ("errorCode".to_owned(), "X".into()),
        ]);
        let back: Cbor = ciborium::from_reader(write(Format::Cbor, &answer).as_slice()).unwrap();
        let status = back.as_map().unwrap().iter().find(|(k, _)| k.as_text() == Some("statusCode")).unwrap();
        assert_eq!(status.1.as_integer(), Some(400.into()));
    }
}
