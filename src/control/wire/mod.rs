//! What crosses the control socket, as types: the one place where its JSON becomes Rust and Rust becomes JSON.
//!
//! Names are camelCase, words are kebab-case, times are RFC 3339 in UTC. Fields are only ever added: a reader ignores
//! what it does not know, and a word it does not know reads as `Unknown`. No key, token or CSR has a field, and no payload but those of applications' own messages.
//! It must not import anything of the daemon: `certrotctl` is built from the same types.

mod configuration;
mod event;
mod message;
mod order;
mod problem;
mod status;

pub use configuration::{Acts, ConfigChange, Configuration};
pub use event::{Event, EventKind, EventResult};
pub use message::{Gap, GapReason, Heard, Message, NoPayload, PublishRequest, Published};
pub use order::{
    Accepted, CheckReport, CheckResult, CheckStep, HistoryEntry, ProvisionRequest, RotateAccepted,
    RotateRequest, RotationPatch,
};
pub use problem::Problem;
pub use status::{
    Alert, Certificate, Clock, Connection, Generation, HookResult, Hooks, LastResult, Level, Mark, Operation,
    Retire, Rotation, Stage, State, Status,
};

use core::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment of wall time; RFC 3339 in UTC on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub jiff::Timestamp);

impl Time {
    /// Makes a time from seconds since the Unix epoch; what is beyond jiff's range becomes its nearest end.
    pub fn from_seconds(seconds: i64) -> Time {
        Time(jiff::Timestamp::from_second(seconds).unwrap_or(if seconds < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        }))
    }

    /// Seconds since the Unix epoch, rounded towards it.
    pub fn seconds(self) -> i64 {
        self.0.as_second()
    }

    /// Milliseconds since the Unix epoch.
    pub fn millis(self) -> i64 {
        self.0.as_millisecond()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl From<jiff::Timestamp> for Time {
    fn from(at: jiff::Timestamp) -> Time {
        Time(at)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Time).map_err(|_| D::Error::custom(format!("“{text}” is not an RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_in_utc_and_comes_back_the_same() {
        let time = Time::from_seconds(2_524_607_999);
        let json = serde_json::to_string(&time).expect("a time is a string");
        assert_eq!(json, "\"2049-12-31T23:59:59Z\"");
        assert_eq!(serde_json::from_str::<Time>(&json).expect("it was written by us"), time);
        assert!(serde_json::from_str::<Time>("\"yesterday\"").is_err());
    }

    #[test]
    fn a_time_beyond_every_calendar_is_clamped_and_never_panics() {
        assert_eq!(Time::from_seconds(i64::MAX).0, jiff::Timestamp::MAX);
        assert_eq!(Time::from_seconds(i64::MIN).0, jiff::Timestamp::MIN);
    }
}
