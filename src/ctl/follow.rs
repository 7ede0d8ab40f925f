//! Follows one rotation through its events to its end; pure.
//!
//! The reader joins the events before it orders the rotation, so it may see events of another rotation first: those
//! with another operation's number are left out. After a daemon's restart numbers mean nothing any more, and the next
//! end of a rotation is taken for ours: the daemon goes on with the one it finds on disk.

use crate::control::wire::{Event, EventKind, EventResult, Status, Time};

/// What is known of the rotation so far.
#[derive(Debug, Default)]
pub struct Follow {
    operation: Option<u64>,
    began: Option<Time>,
    failed_step: Option<String>,
}

/// What an event means for it.
#[derive(Debug, PartialEq)]
pub enum Turn {
    /// Nothing.
    Other,
    /// Progress.
    Progress,
    /// It has ended.
    Ended(Outcome),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether the new certificate is in use.
    pub ok: bool,
    /// The step that failed.
    pub step: Option<String>,
    /// Why, or what is in use now.
    pub text: String,
    /// What clears the failure.
    pub remedy: Option<String>,
}

impl Follow {
    /// Follows the operation with that number; any, where the daemon gave none.
    pub fn new(operation: Option<u64>) -> Follow {
        Follow { operation, ..Follow::default() }
    }

    /// When its first event was.
    pub fn began(&self) -> Option<Time> {
        self.began
    }

    /// Takes the next event.
    pub fn take(&mut self, event: &Event) -> Turn {
        let ours = match (self.operation, event.operation) {
            (Some(ours), Some(its)) => ours == its,
            (None, _) | (_, None) => true,
        };
        let told = match event.kind {
            EventKind::RotationStep | EventKind::RotationDone => ours,
            EventKind::Session | EventKind::Retire => self.began.is_some() && ours,
            _ => false,
        };
        if !told {
            return Turn::Other;
        }
        self.began.get_or_insert(event.time);
        if event.kind != EventKind::RotationDone {
            if matches!(event.result, Some(EventResult::Failed | EventResult::Retry)) {
                self.failed_step = event.step.clone();
            }
            return Turn::Progress;
        }
        let ok = event.result == Some(EventResult::Ok);
        let step = event.step.clone().or(self.failed_step.take()).filter(|_| !ok);
        Turn::Ended(Outcome { ok, step, text: event.text.clone(), remedy: event.remedy.clone() })
    }

    /// After events were lost: numbers are another life's, and the status may know the end already.
    pub fn after_gap(&mut self, status: &Status) -> Option<Outcome> {
        self.operation = status.operation.as_ref().map(|operation| operation.id);
        let began = self.began?;
        if status.operation.is_some() {
            return None;
        }
        let last = status.rotation.last_result.as_ref().filter(|last| last.at >= began)?;
        let text = last.text.clone().unwrap_or_default();
        Some(Outcome { ok: last.ok, step: last.step.clone(), text, remedy: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::{LastResult, Operation, Rotation};

    fn step(at: i64, operation: u64, result: EventResult) -> Event {
        Event::new(Time::from_seconds(at), EventKind::RotationStep).operation(operation).step("prove", result)
    }

    fn done(at: i64, operation: u64, result: EventResult) -> Event {
        let mut event = Event::new(Time::from_seconds(at), EventKind::RotationDone).operation(operation);
        event.result = Some(result);
        event.text("words")
    }

    #[test]
    fn the_end_of_another_rotation_is_not_taken_for_ours() {
        let mut follow = Follow::new(Some(2));
        assert_eq!(follow.take(&done(1, 1, EventResult::Ok)), Turn::Other);
        assert_eq!(follow.take(&step(2, 2, EventResult::Started)), Turn::Progress);
        let Turn::Ended(end) = follow.take(&done(3, 2, EventResult::Ok)) else { panic!("it is ours") };
        assert!(end.ok && end.step.is_none());
    }

    #[test]
    fn a_failed_rotation_names_the_step_that_failed_even_if_its_last_event_does_not() {
        let mut follow = Follow::new(None);
        follow.take(&step(1, 9, EventResult::Failed));
        let Turn::Ended(end) = follow.take(&done(2, 9, EventResult::Failed)) else { panic!("it ended") };
        assert_eq!((end.ok, end.step.as_deref(), end.text.as_str()), (false, Some("prove"), "words"));
    }

    #[test]
    fn an_end_without_a_result_is_no_success() {
        let mut event = done(1, 1, EventResult::Ok);
        event.result = None;
        assert!(matches!(Follow::new(None).take(&event), Turn::Ended(Outcome { ok: false, .. })));
    }

    #[test]
    fn the_session_is_told_of_once_the_rotation_has_begun() {
        let session = Event::new(Time::from_seconds(1), EventKind::Session);
        let mut follow = Follow::new(Some(1));
        assert_eq!(follow.take(&session), Turn::Other);
        follow.take(&step(1, 1, EventResult::Started));
        assert_eq!(follow.take(&session), Turn::Progress);
    }

    #[test]
    fn after_a_restart_the_status_or_the_next_end_decides() {
        let mut follow = Follow::new(Some(7));
        follow.take(&step(10, 7, EventResult::Started));
        let mut status =
            Status { operation: Some(Operation { id: 1, ..Operation::default() }), ..Status::default() };
        assert_eq!(follow.after_gap(&status), None);
        assert!(matches!(follow.take(&done(12, 1, EventResult::Ok)), Turn::Ended(_)), "numbers begin anew");

        status.operation = None;
        status.rotation = Rotation {
            last_result: Some(LastResult { ok: true, at: Time::from_seconds(9), ..LastResult::default() }),
            ..Rotation::default()
        };
        assert_eq!(follow.after_gap(&status), None, "that was an earlier one");
        status.rotation.last_result.as_mut().expect("just set").at = Time::from_seconds(11);
        assert!(follow.after_gap(&status).is_some_and(|end| end.ok));
    }
}
