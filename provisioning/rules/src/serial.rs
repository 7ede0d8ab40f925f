//! Serials and thing names: which words may name a thing (rule 23).
//!
//! A serial becomes a thing name, a client id and a level of a topic, so the alphabet is AWS's for thing names, which
//! has no `/`, `+`, `#` and no blank. Whether a serial may have an identity is `hook`'s decision.

use thiserror::Error;

/// The longest serial, in characters: AWS's thing names have up to 128, client ids `claim-<serial>-<random>` too.
pub const MAX_CHARACTERS: usize = 100;

/// What a claim client id begins with, and a thing name must not.
pub const CLAIM_PREFIX: &str = "claim-";

/// A well-formed serial, fit to name a thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(String);

impl Serial {
    /// Checks a word by the rules for serials, firmware placeholders included.
    pub fn parse(word: &str) -> Result<Self, SerialError> {
        let serial = Self::thing_name(word)?;
        if is_placeholder(word) {
            return Err(SerialError::Placeholder);
        }
        Ok(serial)
    }

    /// Checks a word by the rules for the name of a thing that already exists: alphabet, length, never `claim-…`.
    pub fn thing_name(word: &str) -> Result<Self, SerialError> {
        if word.is_empty() {
            return Err(SerialError::Empty);
        }
        if !word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-')) {
            return Err(SerialError::Alphabet);
        }
        if word.len() > MAX_CHARACTERS {
            return Err(SerialError::TooLong);
        }
        let begins = word.get(..CLAIM_PREFIX.len());
        if begins.is_some_and(|head| head.eq_ignore_ascii_case(CLAIM_PREFIX)) {
            return Err(SerialError::Claim);
        }
        Ok(Serial(word.to_owned()))
    }

    /// The serial as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a word is no serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SerialError {
    /// Nothing is there.
    #[error("the serial is empty")]
    Empty,
    /// A character outside AWS's alphabet of thing names.
    #[error("the serial has a character outside a-z A-Z 0-9 : _ -")]
    Alphabet,
    /// Longer than [`MAX_CHARACTERS`].
    #[error("the serial has more than {MAX_CHARACTERS} characters")]
    TooLong,
    /// It would collide with the client ids of the claim.
    #[error("the serial begins with claim-, which is for connections on the claim certificate")]
    Claim,
    /// What firmware says when nobody wrote a serial: thousands of machines have it.
    #[error("the serial is a placeholder of the firmware, not a serial")]
    Placeholder,
}

/// Says whether a word is what firmware shows when nobody set a serial; case and punctuation do not count.
fn is_placeholder(word: &str) -> bool {
    let bare: String =
        word.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let first = bare.chars().next();
    let filler = matches!(first, None | Some('0' | 'f' | 'x')) && bare.chars().all(|c| Some(c) == first);
    filler || PLACEHOLDERS.contains(&bare.as_str())
}

/// Seen in SMBIOS tables of boards in the field, lower case and without punctuation.
const PLACEHOLDERS: [&str; 18] = [
    "defaultstring",
    "tobefilledbyoem",
    "tobefilled",
    "systemserialnumber",
    "chassisserialnumber",
    "baseboardserialnumber",
    "serialnumber",
    "serial",
    "notspecified",
    "notapplicable",
    "notavailable",
    "none",
    "null",
    "na",
    "unknown",
    "invalid",
    "oem",
    "0123456789",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_that_would_break_a_topic_or_a_policy_are_refused() {
        for word in
            ["a/b", "a+b", "#", "+", "*", "a b", "sn$1", "sn.1", "SN\u{e9}", "a\0b", "${iot:ClientId}"]
        {
            assert_eq!(Serial::parse(word), Err(SerialError::Alphabet), "{word:?}");
        }
        assert_eq!(Serial::parse(""), Err(SerialError::Empty));
    }

    #[test]
    fn a_serial_has_at_most_one_hundred_characters() {
        assert!(Serial::parse(&"A1".repeat(50)).is_ok());
        assert_eq!(Serial::parse(&format!("{}b", "A1".repeat(50))), Err(SerialError::TooLong));
    }

    #[test]
    fn rule_23_a_serial_that_begins_like_a_claim_client_id_is_refused() {
        for word in ["claim-x", "claim-", "Claim-7", "CLAIM-SN-1"] {
            assert_eq!(Serial::parse(word), Err(SerialError::Claim), "{word}");
        }
        assert!(Serial::parse("claims").is_ok());
        assert!(Serial::parse("x-claim-").is_ok());
    }

    #[test]
    fn rule_23_firmware_placeholders_are_refused() {
        for word in
            ["Default_string", "To-Be-Filled-By-OEM", "None", "N_A", "00000000", "FFFF", "xxxx", "---", "0"]
        {
            assert_eq!(Serial::parse(word), Err(SerialError::Placeholder), "{word}");
        }
        for word in ["SN-0001", "0001", "f00d", "i-0abc123", "X1", "7"] {
            assert!(Serial::parse(word).is_ok(), "{word}");
        }
    }

    #[test]
    fn a_thing_that_exists_may_have_any_name_but_a_claims() {
        assert!(Serial::thing_name("unknown").is_ok());
        assert_eq!(Serial::thing_name("claim-x"), Err(SerialError::Claim));
    }
}
