//! `GET /v1/events`: what happens, as it happens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Time;

/// One thing that happened; the data of one server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// Set by the feed: strictly ascending, and over restarts as far as the clock is.
    pub id: u64,
    /// When it happened.
    pub time: Time,
    /// What kind of thing.
    pub kind: EventKind,
    /// The provisioning or rotation it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<u64>,
    /// The step it speaks of, such as `issue`, `register`, `prove`, `switch`, `retire`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// How it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<EventResult>,
    /// The same in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What clears it, where it is a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What else is known: `generation`, `certificateId`, `cause`, `state` …
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The daemon changed its state.
    State,
    /// A step of a rotation began or ended.
    RotationStep,
    /// A rotation ended, one way or the other.
    RotationDone,
    /// The session came up, went down or was taken over.
    Session,
    /// A commit was sent or answered.
    Retire,
    /// An alert came or went.
    Alert,
    /// A step of the provisioning began or ended.
    Provision,
    /// Events were lost between the one asked for and the next.
    Gap,
    /// A word of a newer daemon.
    #[default]
    #[serde(other)]
    Unknown,
}

impl EventKind {
    /// The word on the wire, also the `event:` line.
    pub fn word(self) -> &'static str {
        match self {
            EventKind::State => "state",
            EventKind::RotationStep => "rotation-step",
            EventKind::RotationDone => "rotation-done",
            EventKind::Session => "session",
            EventKind::Retire => "retire",
            EventKind::Alert => "alert",
            EventKind::Provision => "provision",
            EventKind::Gap => "gap",
            EventKind::Unknown => "unknown",
        }
    }
}

/// How a step or an operation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventResult {
    /// It began.
    Started,
    /// It is done.
    Ok,
    /// It failed, and is not tried again as part of this operation.
    Failed,
    /// An attempt failed; it is tried again.
    Retry,
    /// A word of a newer daemon.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Event {
    /// An event of that kind at that time; the feed sets the id.
    pub fn new(time: Time, kind: EventKind) -> Event {
        Event { time, kind, ..Event::default() }
    }

    /// The same with a step and how it stands.
    pub fn step(mut self, step: impl Into<String>, result: EventResult) -> Event {
        self.step = Some(step.into());
        self.result = Some(result);
        self
    }

    /// The same with its words.
    pub fn text(mut self, text: impl Into<String>) -> Event {
        self.text = text.into();
        self
    }

    /// The same with one more field.
    pub fn field(mut self, name: &str, value: impl ToString) -> Event {
        self.fields.insert(name.to_owned(), value.to_string());
        self
    }

    /// The same with the operation it belongs to.
    pub fn operation(mut self, id: u64) -> Event {
        self.operation = Some(id);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_same_word_as_on_the_wire() {
        use EventKind::*;
        for kind in [State, RotationStep, RotationDone, Session, Retire, Alert, Provision, Gap, Unknown] {
            assert_eq!(serde_json::to_value(kind).expect("a word"), kind.word());
        }
    }

    #[test]
    fn an_event_of_a_newer_daemon_is_read_as_unknown_and_not_refused() {
        let event: Event = serde_json::from_str(r#"{"id":7,"kind":"teleport","result":"meh","new":{"a":1}}"#)
            .expect("unknown words and fields are allowed");
        assert_eq!((event.id, event.kind, event.result), (7, EventKind::Unknown, Some(EventResult::Unknown)));
    }
}
