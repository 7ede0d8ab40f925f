//! Server-sent events (WHATWG HTML §9.2): writing ours and reading them back; pure, no input or output.

use super::wire::{Event, Heard};

/// One event as it goes over the wire.
pub fn frame(event: &Event) -> String {
    // An event is plain data with string keys: it always becomes JSON, and JSON of one line.
    let data = serde_json::to_string(event).unwrap_or_else(|_| "{}".to_owned());
    let id = if event.id == 0 { String::new() } else { format!("id: {}\n", event.id) };
    format!("{id}event: {}\ndata: {data}\n\n", event.kind.word())
}

/// What a subscriber hears, as it goes over the wire; without an id, since nothing of it is kept.
pub fn heard(heard: &Heard) -> String {
    let data = serde_json::to_string(heard).unwrap_or_else(|_| "{}".to_owned());
    format!("event: {}\ndata: {data}\n\n", heard.word())
}

/// What a stream begins with: the id to come back with, though no event was sent yet.
pub fn beginning(newest: u64) -> String {
    format!("id: {newest}\n: certrotd\n\n")
}

/// A comment: shows a quiet stream to be alive.
pub fn comment(text: &str) -> String {
    format!(": {text}\n\n")
}

/// Takes a stream apart into the data of its events.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    data: Option<String>,
    last_id: Option<u64>,
}

/// The stream is not one of server-sent events that we could have sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("reading events: a line longer than {LONGEST} bytes")]
pub struct TooLong;

impl Reader {
    /// The id to come back with after the stream broke off.
    pub fn last_id(&self) -> Option<u64> {
        self.last_id
    }

    /// Takes the next bytes and returns the data of every event that is now whole.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut whole = Vec::new();
        self.buffer.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(length) = self.buffer[start..].iter().position(|b| *b == b'\n') {
            let line = String::from_utf8_lossy(&self.buffer[start..start + length]);
            let line = line.strip_suffix('\r').unwrap_or(&line);
            start += length + 1;
            if line.is_empty() {
                whole.extend(self.data.take());
            } else if let Some(data) = line.strip_prefix("data:") {
                let data = data.strip_prefix(' ').unwrap_or(data);
                match &mut self.data {
                    Some(before) => {
                        before.push('\n');
                        before.push_str(data);
                    }
                    None => self.data = Some(data.to_owned()),
                }
            } else if let Some(id) = line.strip_prefix("id:") {
                self.last_id = id.trim().parse().ok().or(self.last_id);
            } // comments and other fields say nothing
        }
        self.buffer.drain(..start);
        if self.buffer.len() > LONGEST { Err(TooLong) } else { Ok(whole) }
    }
}

/// No event of ours is this long: a message of AWS's 128 KB in base64 is 175 kB.
const LONGEST: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::super::wire::{EventKind, EventResult, Time};
    use super::*;

    #[test]
    fn an_event_survives_the_wire_byte_by_byte_with_comments_between() {
        let mut event = Event::new(Time::from_seconds(5), EventKind::RotationStep)
            .step("prove", EventResult::Retry)
            .text("line\nbreak")
            .field("generation", 8);
        event.id = 5000;
        let text = beginning(7) + &comment("alive") + &frame(&event) + &comment("alive") + &frame(&event);
        let mut reader = Reader::default();
        let got: Vec<_> =
            text.as_bytes().iter().flat_map(|b| reader.feed(&[*b]).expect("lines are short")).collect();
        assert_eq!(got.len(), 2);
        assert_eq!(reader.last_id(), Some(5000));
        for data in got {
            assert_eq!(serde_json::from_str::<Event>(&data).expect("ours"), event);
        }
    }

    #[test]
    fn the_frame_is_what_the_standard_asks_for() {
        let mut event = Event::new(Time::from_seconds(0), EventKind::State);
        event.id = 1;
        let expected =
            "id: 1\nevent: state\ndata: {\"id\":1,\"time\":\"1970-01-01T00:00:00Z\",\"kind\":\"state\"}\n\n";
        assert_eq!(frame(&event), expected);
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let mut reader = Reader::default();
        assert_eq!(reader.feed(&vec![b'x'; LONGEST + 1]), Err(TooLong));
    }
}
