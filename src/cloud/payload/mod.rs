//! The bodies of requests and answers: types at once, bounded, and secrets in types that wipe themselves.
//!
//! Reads what the contract and AWS promise and ignores fields that it does not know. Errors of the cloud are told
//! apart by the class of `statusCode`, never by equality of `errorCode`. What libraries keep: serde_json copies a
//! string with escapes (a PEM key has them) into a scratch buffer that it frees without wiping; the token has none
//! and is copied once, into its own wiping type.

mod answers;
mod commit;
mod rotate;

pub use answers::{Class, Issued, Registered, Rejected, parse_issued, parse_registered, parse_rejected};
pub use commit::{CommitAnswer, commit, parse_commit};
pub use rotate::{Condition, RotateError, RotateOrder, parse_rotate};

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// A text that is wiped when dropped and never shown: a private key or an ownership token.
#[derive(Clone, PartialEq, Eq, Zeroize)]
#[zeroize(drop)]
pub struct Secret(String);

impl Secret {
    /// Takes a text over.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Shows the text to the one who must send or store it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}

/// Why a body was not understood; the body itself is never in it.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// Longer than anything that is right.
    #[error("{what} of {bytes} bytes is larger than {limit}")]
    TooLarge {
        /// Which body.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not the JSON that was expected. The cause is given by line and column only: its text could quote the body.
    #[error("{what} is not what was expected (line {line}, column {column})")]
    Json {
        /// Which body.
        what: &'static str,
        /// Line in the body, from 1.
        line: usize,
        /// Column in the line.
        column: usize,
    },
    /// A field has a value that cannot be right.
    #[error("{field} of {what} cannot be right")]
    Field {
        /// Which body.
        what: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// A request could not be written (never for what the daemon sends).
    #[error("writing {0}")]
    Write(&'static str),
}

impl PayloadError {
    /// Says who can clear it.
    pub fn remedy(&self) -> &'static str {
        match self {
            PayloadError::TooLarge { .. } | PayloadError::Json { .. } | PayloadError::Field { .. } => {
                "what answers on this topic is not what this program knows: check the sender"
            }
            PayloadError::Write(_) => "report it",
        }
    }
}

/// The request of CreateCertificateFromCsr.
pub fn create_from_csr(csr_pem: &str) -> Result<Zeroizing<Vec<u8>>, PayloadError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        certificate_signing_request: &'a str,
    }
    write("the CSR request", &Body { certificate_signing_request: csr_pem })
}

/// The request of CreateCertificateFromCsr that no cloud can accept (rule 7).
pub fn not_a_csr() -> &'static [u8] {
    br#"{"certificateSigningRequest":"not a CSR"}"#
}

/// The request of RegisterThing that no cloud can accept (rule 7): nothing belongs to its token.
pub fn no_token() -> &'static [u8] {
    br#"{"certificateOwnershipToken":"not a token","parameters":{}}"#
}

/// A commit that no cloud can accept: it names no certificate, so it cannot be its sender's (rule 11).
pub fn no_commit() -> &'static [u8] {
    br#"{"check":true}"#
}

/// The request of CreateKeysAndCertificate.
pub fn create_keys() -> &'static [u8] {
    b"{}"
}

/// The request of RegisterThing.
pub fn register(
    token: &Secret,
    parameters: &BTreeMap<String, String>,
) -> Result<Zeroizing<Vec<u8>>, PayloadError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        certificate_ownership_token: &'a str,
        parameters: &'a BTreeMap<String, String>,
    }
    write("the RegisterThing request", &Body { certificate_ownership_token: token.expose(), parameters })
}

/// Serializes into one buffer of known size, so that no grown-out copy of a secret stays behind.
fn write(what: &'static str, body: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, PayloadError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(REQUEST));
    serde_json::to_writer(&mut *bytes, body).map_err(|_| PayloadError::Write(what))?;
    Ok(bytes)
}

fn read<'a, T: Deserialize<'a>>(what: &'static str, limit: usize, body: &'a [u8]) -> Result<T, PayloadError> {
    if body.len() > limit {
        return Err(PayloadError::TooLarge { what, bytes: body.len(), limit });
    }
    serde_json::from_slice(body).map_err(|error| PayloadError::Json {
        what,
        line: error.line(),
        column: error.column(),
    })
}

/// Says whether a text is a certificate id: 64 lower-case hexadecimal digits (SHA-256 of the DER).
fn is_certificate_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A text from outside as it may stand in a log line: at most `limit` characters, no control characters.
fn plain(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Room for a request: a 4096-character CSR or a 4 kB token and parameters.
const REQUEST: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown_by_debug() {
        let issued = parse_issued(
            format!(
                r#"{{"certificateId":"{}","certificatePem":"C","privateKey":"KEYKEY","certificateOwnershipToken":"TOKTOK"}}"#,
                "a".repeat(64)
            )
            .as_bytes(),
        )
        .unwrap();
        let shown = format!("{issued:?}");
        assert!(!shown.contains("KEYKEY") && !shown.contains("TOKTOK"), "{shown}");
        assert_eq!(issued.private_key.unwrap().expose(), "KEYKEY");
        assert_eq!(issued.token.expose(), "TOKTOK");
    }

    #[test]
    fn requests_are_those_of_aws() {
        assert_eq!(&**create_from_csr("A\nB").unwrap(), br#"{"certificateSigningRequest":"A\nB"}"#);
        let parameters = BTreeMap::from([("SerialNumber".to_owned(), "SN".to_owned())]);
        assert_eq!(
            &**register(&Secret::new("T".into()), &parameters).unwrap(),
            br#"{"certificateOwnershipToken":"T","parameters":{"SerialNumber":"SN"}}"#
        );
    }

    #[test]
    fn an_error_tells_where_and_never_what() {
        let error = parse_issued(br#"{"certificateId": SECRET}"#).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("SECRET"));
        let long = vec![b' '; 64 * 1024 + 1];
        assert!(matches!(parse_issued(&long), Err(PayloadError::TooLarge { .. })));
    }
}
