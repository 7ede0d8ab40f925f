//! The answers of fleet provisioning.
//!
//! A `rejected` is told apart by the class of `statusCode` alone: AWS does not publish all `errorCode`s. `thingName`
//! and `deviceConfiguration` are optional.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{PayloadError, Secret, is_certificate_id, plain, read};

/// A new certificate, pending activation until RegisterThing.
#[derive(Debug)]
pub struct Issued {
    /// 64 lower-case hexadecimal digits: SHA-256 of the DER.
    pub certificate_id: String,
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Proof of ownership for RegisterThing; lives one hour.
    pub token: Secret,
    /// The private key (PKCS#1 PEM), only from CreateKeysAndCertificate.
    pub private_key: Option<Secret>,
}

/// Reads `accepted` of CreateCertificateFromCsr and CreateKeysAndCertificate.
pub fn parse_issued(body: &[u8]) -> Result<Issued, PayloadError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Raw {
        certificate_id: String,
        certificate_pem: String,
        certificate_ownership_token: Secret,
        #[serde(default)]
        private_key: Option<Secret>,
    }
    let what = "the issued certificate";
    let raw: Raw = read(what, ANSWER, body)?;
    let field = |field| Err(PayloadError::Field { what, field });
    if !is_certificate_id(&raw.certificate_id) {
        return field("certificateId");
    }
    if raw.certificate_pem.is_empty() || raw.certificate_pem.len() > PEM {
        return field("certificatePem");
    }
    if raw.certificate_ownership_token.expose().is_empty()
        || raw.certificate_ownership_token.expose().len() > TOKEN
    {
        return field("certificateOwnershipToken");
    }
    Ok(Issued {
        certificate_id: raw.certificate_id,
        certificate_pem: raw.certificate_pem,
        token: raw.certificate_ownership_token,
        private_key: raw.private_key,
    })
}

/// What RegisterThing accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// The thing, where the answer names it (rule 4: another than expected fails the generation).
    pub thing_name: Option<String>,
    /// The template's `DeviceConfiguration`.
    pub device_configuration: BTreeMap<String, String>,
}

/// Reads `accepted` of RegisterThing.
pub fn parse_registered(body: &[u8]) -> Result<Registered, PayloadError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Raw {
        #[serde(default)]
        thing_name: Option<String>,
        #[serde(default)]
        device_configuration: Option<BTreeMap<String, String>>,
    }
    let what = "the RegisterThing answer";
    let raw: Raw = read(what, ANSWER, body)?;
    if raw.thing_name.as_ref().is_some_and(|name| name.is_empty() || name.len() > 128) {
        return Err(PayloadError::Field { what, field: "thingName" });
    }
    Ok(Registered {
        thing_name: raw.thing_name,
        device_configuration: raw.device_configuration.unwrap_or_default(),
    })
}

/// What a refusal means for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 4xx: not with this request (for RegisterThing still only *later*, rule 6).
    Denied,
    /// 429, or a word for throttling: slow down, on a new connection.
    Throttled,
    /// 5xx and everything else: the cloud's own fault, retry.
    Fault,
}

/// A `rejected` answer; its texts are for people, never for decisions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rejected with {status} {code}: {message}")]
pub struct Rejected {
    /// `statusCode`, 0 where there was none.
    pub status: u16,
    /// `errorCode`, at most 64 characters; `ACCESS_DENIED` where a hook denied, failed or timed out.
    pub code: String,
    /// `errorMessage`, at most 256 characters.
    pub message: String,
    /// What it means.
    pub class: Class,
}

/// Reads a `rejected` of fleet provisioning; one that cannot be read is a refusal of class [`Class::Fault`].
pub fn parse_rejected(body: &[u8]) -> Rejected {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Raw {
        status_code: i64,
        error_code: String,
        error_message: String,
    }
    let raw: Raw = read("the refusal", ANSWER, body)
        .unwrap_or_else(|error| Raw { error_message: error.to_string(), ..Raw::default() });
    Rejected {
        status: u16::try_from(raw.status_code).unwrap_or(0),
        class: classify(raw.status_code, &raw.error_code, &raw.error_message),
        code: plain(&raw.error_code, 64),
        message: plain(&raw.error_message, 256),
    }
}

fn classify(status: i64, code: &str, message: &str) -> Class {
    let says =
        |word: &str| code.to_ascii_lowercase().contains(word) || message.to_ascii_lowercase().contains(word);
    if status == 429 || says("throttl") || says("too many requests") || says("toomanyrequests") {
        Class::Throttled
    } else if (400..500).contains(&status) {
        Class::Denied
    } else {
        Class::Fault
    }
}

/// Largest answer that is read: certificate, key and token are below 12 kB.
const ANSWER: usize = 64 * 1024;

/// Largest certificate, PEM.
const PEM: usize = 16 * 1024;

/// Largest ownership token (seen: 464 characters).
const TOKEN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(status: i64, code: &str, message: &str) -> Class {
        parse_rejected(
            serde_json::json!({"statusCode": status, "errorCode": code, "errorMessage": message})
                .to_string()
                .as_bytes(),
        )
        .class
    }

    #[test]
    fn the_class_of_the_status_decides_and_never_the_code() {
        assert_eq!(rejected(400, "InvalidCertificateSigningRequest", ""), Class::Denied);
        assert_eq!(rejected(403, "NEVER_SEEN", ""), Class::Denied);
        assert_eq!(rejected(429, "", ""), Class::Throttled);
        assert_eq!(rejected(400, "ThrottlingException", ""), Class::Throttled);
        assert_eq!(rejected(400, "", "Request was throttled"), Class::Throttled);
        assert_eq!(rejected(500, "ACCESS_DENIED", ""), Class::Fault);
        assert_eq!(rejected(0, "", ""), Class::Fault);
        assert_eq!(rejected(200, "", ""), Class::Fault);
    }

    #[test]
    fn access_denied_is_kept_as_text() {
        let body = br#"{"statusCode":400,"errorCode":"ACCESS_DENIED","errorMessage":"no","more":[1]}"#;
        let answer = parse_rejected(body);
        assert_eq!(
            (answer.status, answer.code.as_str(), answer.class),
            (400, "ACCESS_DENIED", Class::Denied)
        );
    }

    #[test]
    fn a_refusal_that_is_no_json_is_a_fault_and_cannot_write_into_the_log() {
        assert_eq!(parse_rejected(b"<html>").class, Class::Fault);
        let answer = parse_rejected(br#"{"statusCode":400,"errorCode":"a\nERROR forged","errorMessage":""}"#);
        assert_eq!(answer.code, "a ERROR forged");
        let long = format!(r#"{{"statusCode":400,"errorMessage":"{}"}}"#, "x".repeat(5000));
        assert_eq!(parse_rejected(long.as_bytes()).message.len(), 256);
    }

    #[test]
    fn thing_name_and_configuration_are_optional() {
        assert_eq!(parse_registered(b"{}").unwrap(), Registered::default());
        let body = br#"{"thingName":"SN-1","deviceConfiguration":{"a":"b"},"unknown":{}}"#;
        let answer = parse_registered(body).unwrap();
        assert_eq!(answer.thing_name.as_deref(), Some("SN-1"));
        assert_eq!(answer.device_configuration["a"], "b");
        assert_eq!(
            parse_registered(br#"{"thingName":null,"deviceConfiguration":null}"#).unwrap(),
            Registered::default()
        );
        assert!(parse_registered(br#"{"thingName":""}"#).is_err());
    }

    #[test]
    fn an_issued_certificate_without_a_right_id_or_token_is_refused() {
        let id = "0".repeat(64);
        for (id, pem, token) in [
            ("short", "PEM", "t"),
            (&"A".repeat(64) as &str, "PEM", "t"),
            (&id, "", "t"),
            (&id, "PEM", ""),
            (&id, "PEM", &"t".repeat(4097)),
        ] {
            let body = serde_json::json!({"certificateId": id, "certificatePem": pem, "certificateOwnershipToken": token});
            assert!(
                matches!(parse_issued(body.to_string().as_bytes()), Err(PayloadError::Field { .. })),
                "{body}"
            );
        }
    }
}
