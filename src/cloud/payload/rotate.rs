//! The message by which the cloud orders a rotation.
//!
//! It acts only while its condition is true, so that a retained or repeated one cannot loop; one without a condition
//! is refused with a text that shows a right one. Whether the condition is true is judged by the caller.

use std::time::Duration;

use serde::Deserialize;

use super::{is_certificate_id, read};

/// While this is true, rotate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `current` is this certificate.
    IfCertificateId(String),
    /// `current` was issued before this wall time (seconds since the Unix epoch).
    IssuedBefore(i64),
}

/// An order to rotate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotateOrder {
    /// When it acts.
    pub condition: Condition,
    /// Over how long the fleet spreads; at most 30 days.
    pub within: Option<Duration>,
}

impl RotateOrder {
    /// Refuses a condition that would stay true whatever is issued: an order that is retained or repeated would then
    /// rotate again and again. `now` is in seconds since the Unix epoch.
    pub fn at(self, now: i64) -> Result<Self, RotateError> {
        match self.condition {
            Condition::IssuedBefore(at) if at > now.saturating_add(AHEAD) => Err(RotateError {
                why: "issuedBefore is in the future, so it would hold for the new certificate too",
            }),
            Condition::IssuedBefore(_) | Condition::IfCertificateId(_) => Ok(self),
        }
    }
}

/// Why an order was refused; the text shows a right one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "rotate message refused: {why}; a right one is {{\"ifCertificateId\": \"<64 hex digits>\"}} or \
     {{\"issuedBefore\": \"2026-01-31T00:00:00Z\", \"within\": \"6h\"}}"
)]
pub struct RotateError {
    /// What is wrong with it.
    pub why: &'static str,
}

/// Reads an order.
pub fn parse_rotate(body: &[u8]) -> Result<RotateOrder, RotateError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Raw {
        #[serde(default)]
        if_certificate_id: Option<String>,
        #[serde(default)]
        issued_before: Option<String>,
        #[serde(default)]
        within: Option<String>,
    }
    let refuse = |why| RotateError { why };
    let raw: Raw = read("the order", ORDER, body).map_err(|_| refuse("it is not a small JSON object"))?;
    let condition = match (raw.if_certificate_id, raw.issued_before) {
        (None, None) => return Err(refuse("it has no condition, so a repeated one would loop")),
        (Some(_), Some(_)) => return Err(refuse("it has two conditions")),
        (Some(id), None) if is_certificate_id(&id) => Condition::IfCertificateId(id),
        (Some(_), None) => return Err(refuse("ifCertificateId is not 64 lower-case hexadecimal digits")),
        (None, Some(time)) => match time.parse::<jiff::Timestamp>() {
            Ok(time) => Condition::IssuedBefore(time.as_second()),
            Err(_) => return Err(refuse("issuedBefore is not an RFC 3339 time")),
        },
    };
    let within = match raw.within {
        None => None,
        Some(text) => Some(duration(&text).ok_or_else(|| refuse("within is not a duration of at most 30d"))?),
    };
    Ok(RotateOrder { condition, within })
}

/// `90s`, `30m`, `6h`, `2d`.
fn duration(text: &str) -> Option<Duration> {
    let unit = match text.chars().next_back()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (seconds <= LONGEST_SPREAD).then(|| Duration::from_secs(seconds))
}

/// How far the operator's clock may be ahead of ours, in seconds: as far as a commit's may be off (rule 11).
const AHEAD: i64 = 300;

/// Largest order.
const ORDER: usize = 4096;

/// The longest spread that makes sense, in seconds: 30 days.
const LONGEST_SPREAD: u64 = 30 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_without_a_condition_is_refused_and_shown_a_right_one() {
        for body in ["{}", r#"{"within":"6h"}"#, "", "null", "[]", "rotate!"] {
            let error = parse_rotate(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("ifCertificateId") && error.contains("issuedBefore"), "{error}");
        }
    }

    #[test]
    fn the_example_in_the_refusal_is_itself_accepted() {
        let error = parse_rotate(b"{}").unwrap_err().to_string();
        let example = error.rsplit(" or ").next().unwrap();
        let order = parse_rotate(example.as_bytes()).unwrap();
        assert_eq!(order.condition, Condition::IssuedBefore(1_769_817_600));
        assert_eq!(order.within, Some(Duration::from_secs(6 * 3600)));
    }

    #[test]
    fn an_order_that_would_hold_for_every_certificate_to_come_is_refused() {
        let order = |body: &str| parse_rotate(body.as_bytes()).unwrap();
        let body = r#"{"issuedBefore":"2026-01-31T00:00:00Z"}"#;
        let at = 1_769_817_600;
        assert!(order(body).at(at).is_ok());
        assert!(order(body).at(at - AHEAD).is_ok(), "clocks differ a little");
        let refused = order(body).at(at - AHEAD - 1).unwrap_err().to_string();
        assert!(refused.contains("future") && refused.contains("ifCertificateId"), "{refused}");
        let named = format!(r#"{{"ifCertificateId":"{}"}}"#, "0".repeat(64));
        assert!(order(&named).at(0).is_ok());
    }

    #[test]
    fn two_conditions_bad_ids_bad_times_and_bad_spreads_are_refused() {
        let id = "0".repeat(64);
        for body in [
            format!(r#"{{"ifCertificateId":"{id}","issuedBefore":"2026-01-31T00:00:00Z"}}"#),
            r#"{"ifCertificateId":"x"}"#.to_owned(),
            r#"{"issuedBefore":"yesterday"}"#.to_owned(),
            r#"{"issuedBefore":"2026-01-31"}"#.to_owned(),
            format!(r#"{{"ifCertificateId":"{id}","within":"6"}}"#),
            format!(r#"{{"ifCertificateId":"{id}","within":"-6h"}}"#),
            format!(r#"{{"ifCertificateId":"{id}","within":"31d"}}"#),
            format!(r#"{{"ifCertificateId":"{id}","within":"ä"}}"#),
            format!(r#"{{"ifCertificateId":"{id}","within":"99999999999999999999d"}}"#),
        ] {
            assert!(parse_rotate(body.as_bytes()).is_err(), "{body}");
        }
        let order = parse_rotate(format!(r#"{{"ifCertificateId":"{id}","note":1}}"#).as_bytes()).unwrap();
        assert_eq!(order, RotateOrder { condition: Condition::IfCertificateId(id), within: None });
    }
}
