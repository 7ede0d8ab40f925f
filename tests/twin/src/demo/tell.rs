//! What the demo says: a line for each step, a table at the end, commands; coloured on a terminal, plain in a pipe.

use std::io::{IsTerminal, Write};

/// A step that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub step: &'static str,
    /// When, in milliseconds since the demo began.
    pub at_ms: i64,
    /// What was seen.
    pub detail: String,
}

/// The demo's voice.
pub struct Teller {
    out: Box<dyn Write>,
    colour: bool,
}

impl Teller {
    /// Speaks on stdout, in colour where that is a terminal and `NO_COLOR` is not set (no-color.org).
    pub fn to_stdout() -> Self {
        let colour =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { out: Box::new(std::io::stdout()), colour }
    }

    /// The first line.
    pub fn title(&mut self, text: &str) {
        let text = self.paint(BOLD, text);
        self.say(&text);
    }

    /// A part of the story begins.
    pub fn heading(&mut self, text: &str) {
        let text = self.paint(BOLD, text);
        self.say(&format!("\n{text}"));
    }

    /// A step has happened.
    pub fn line(&mut self, line: &Line) {
        let time = self.paint(DIM, &seconds(line.at_ms));
        let mark = self.paint(GREEN, "ok");
        let padded = format!("{:<WIDTH$}", line.step);
        let detail = self.paint(DIM, &line.detail);
        self.say(format!("  {time}  {mark}  {padded}  {detail}").trim_end());
    }

    /// Every step with its time and how long after the one above it.
    pub fn table(&mut self, lines: &[Line]) {
        let head = self.paint(BOLD, &format!("{:<WIDTH$}  {:>11}  {:>11}", "step", "at", "after"));
        self.say(&format!("\n{head}"));
        let mut before = 0;
        for line in lines {
            let took = line.at_ms.saturating_sub(before).max(0);
            self.say(&format!("{:<WIDTH$}  {}  {}", line.step, seconds(line.at_ms), seconds(took)));
            before = before.max(line.at_ms);
        }
        let count = lines.len();
        let all = self.paint(GREEN, &format!("all {count} steps done in {} s", decimal(before)));
        self.say(&all);
    }

    /// Something failed: what is known.
    pub fn failure(&mut self, words: &[String]) {
        let head = self.paint(RED, "\nthe story broke off; the last that is known:");
        self.say(&head);
        for line in words {
            self.say(&format!("  {line}"));
        }
    }

    /// A command to try, with what it is for.
    pub fn command(&mut self, what: &str, command: &str) {
        let what = self.paint(DIM, &format!("# {what}"));
        self.say(&format!("  {what}\n  {command}"));
    }

    /// A remark.
    pub fn note(&mut self, text: &str) {
        self.say(text);
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A reader that has gone (`| head`) does not end the demo: it has a daemon to stop.
    fn say(&mut self, text: &str) {
        let _gone = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
    }
}

fn seconds(ms: i64) -> String {
    format!("{:>9} s", decimal(ms))
}

fn decimal(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

const WIDTH: usize = 34;
const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn in_a_pipe_a_line_is_plain_and_the_table_adds_up() {
        let kept = Kept::default();
        let mut tell = Teller { out: Box::new(kept.clone()), colour: false };
        let line = |step, at_ms| Line { step, at_ms, detail: String::new() };
        tell.line(&line("first", 12));
        // Two clocks of one machine: a line may be a little before the one above it.
        tell.table(&[line("first", 1012), line("second", 1010), line("third", 1500)]);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains('\u{1b}'));
        let after: Vec<&str> =
            text.lines().filter(|l| l.ends_with(" s")).map(|l| &l[l.len() - 7..]).collect();
        assert_eq!(after, ["1.012 s", "0.000 s", "0.488 s", "1.500 s"], "{text}");
    }
}
