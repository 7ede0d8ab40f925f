//! One event as a line of progress.

use crate::control::wire::{Event, EventKind, EventResult, Time};
use crate::ctl::words::{Paint, Tone, clean, clock};

/// The line: time of day, seconds since `began`, the step, how it stands, and its words.
pub fn event(event: &Event, began: Option<Time>, paint: Paint) -> String {
    let elapsed = match began {
        Some(began) => {
            let tenths = event.time.millis().saturating_sub(began.millis()).max(0) / 100;
            format!(" {:>5}.{} s", tenths / 10, tenths % 10)
        }
        None => String::new(),
    };
    let step = match (event.kind, &event.step) {
        // The step that failed has had its own line.
        (EventKind::RotationDone, _) => "rotation".to_owned(),
        (kind, step) => clean(step.as_deref().unwrap_or(kind.word())),
    };
    let (tone, result) = match event.result {
        Some(EventResult::Started) => (Tone::Dim, "…"),
        Some(EventResult::Ok) => (Tone::Good, "ok"),
        Some(EventResult::Failed) => (Tone::Bad, "failed"),
        Some(EventResult::Retry) => (Tone::Warn, "again"),
        Some(EventResult::Unknown) | None => (Tone::Dim, ""),
    };
    let result = paint.tone(tone, &format!("{result:<6}"));
    let line = format!("{}{elapsed}  {step:<14} {result}  {}", clock(event.time), clean(&event.text));
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_one_line_with_its_time() {
        let began = Time::from_seconds(1_795_514_400);
        let at = |ms: i64| Time(jiff::Timestamp::from_millisecond(1_795_514_400_000 + ms).expect("in range"));
        let step = |ms: i64, step, result| Event::new(at(ms), EventKind::RotationStep).step(step, result);
        let done = Event::new(at(61_950), EventKind::RotationDone).step("prove", EventResult::Failed);
        let lines = [
            step(0, "issue", EventResult::Started).text("a key on the device"),
            step(240, "issue", EventResult::Ok).text("generation 8"),
            step(61_950, "prove", EventResult::Failed).text("CONNECT\nrefused"),
            done.text("CONNECT refused"),
        ]
        .map(|e| event(&e, Some(began), Paint(false)));
        assert_eq!(
            lines,
            [
                "10:00:00     0.0 s  issue          …       a key on the device",
                "10:00:00     0.2 s  issue          ok      generation 8",
                "10:01:01    61.9 s  prove          failed  CONNECT refused",
                "10:01:01    61.9 s  rotation       failed  CONNECT refused",
            ]
        );
    }
}
