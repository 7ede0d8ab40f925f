//! Small words: times, durations, colour, lines that fit; pure, and safe to print whatever the cloud wrote.

use crate::control::wire::Time;

/// How a piece of text is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
    /// Beside the point.
    Dim,
}

/// Whether there is colour: only on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    /// Gives the text its colour, or leaves it alone.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "1;32",
            Tone::Warn => "1;33",
            Tone::Bad => "1;31",
            Tone::Dim => "2",
        };
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A span of time in one unit, such as `3 h`; the unit keeps at least two of itself where it can.
pub fn span(seconds: i64) -> String {
    let seconds = seconds.unsigned_abs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        172_800..63_244_800 => format!("{} days", seconds / 86400),
        _ => format!("{} years", seconds / 31_557_600),
    }
}

/// `in 3 h`, `3 h ago` or `now`.
pub fn distance(to: Time, now: Time) -> String {
    match to.seconds().saturating_sub(now.seconds()) {
        0 => "now".to_owned(),
        ahead @ 1.. => format!("in {}", span(ahead)),
        behind => format!("{} ago", span(behind)),
    }
}

/// A date with its time of day, in UTC.
pub fn date(at: Time) -> String {
    at.0.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A date alone, in UTC.
pub fn day(at: Time) -> String {
    at.0.strftime("%Y-%m-%d").to_string()
}

/// A time of day, in UTC.
pub fn clock(at: Time) -> String {
    at.0.strftime("%H:%M:%S").to_string()
}

/// Makes text of elsewhere fit for a terminal: no control characters, no ends of lines.
pub fn clean(text: &str) -> String {
    let blank = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let spaced: String = text.chars().map(|c| if blank(c) { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Breaks clean text into lines of at most `width` characters; a word that is longer is cut into pieces.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut rest: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + rest.len() > width {
            lines.push(String::new());
            used = 0;
        }
        while !rest.is_empty() {
            if used == width {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                if used > 0 {
                    line.push(' ');
                    used += 1;
                }
                let fits = rest.len().min(width - used);
                line.extend(rest.drain(..fits));
                used += fits;
            }
        }
    }
    lines
}

/// The first lines of a text; the last one ends in `…` where something is left off.
pub fn wrap_to(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines = wrap(text, width);
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            let keep: String = last.chars().take(width.saturating_sub(1)).collect();
            *last = keep + "…";
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_the_unit_that_a_person_would_use() {
        let said = [0, 119, 120, 7199, 7200, 172_799, 172_800, 7_776_000, 757_382_400].map(span);
        assert_eq!(
            said,
            ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days", "90 days", "24 years"]
        );
        assert_eq!(span(i64::MIN), "292271023045 years");
    }

    #[test]
    fn a_distance_knows_before_and_after() {
        let now = Time::from_seconds(1000);
        let said = [1000, 1040, 940].map(|at| distance(Time::from_seconds(at), now));
        assert_eq!(said, ["now", "in 40 s", "60 s ago"]);
    }

    #[test]
    fn text_of_the_cloud_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\r\nc\u{202e}d\u{9b}31m"), "a [2Jb c d 31m");
    }

    #[test]
    fn lines_fit_and_lose_nothing() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a abcdefghij b", 4), ["a", "abcd", "efgh", "ij b"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap_to("one two three", 7, 1), ["one tw…"]);
        assert_eq!(wrap_to("one two three", 7, 2), ["one two", "three"]);
    }
}
