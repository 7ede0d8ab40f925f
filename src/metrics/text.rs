//! The Prometheus text format 0.0.4 (prometheus.io, “Exposition formats”): one family after the other.
//!
//! Written here because the maintained client library writes OpenMetrics only, whose counters `promtool check metrics`
//! refuses, and brings twenty crates for it. It knows no metric; what there is stands in `metrics`.

use std::fmt::{self, Display, Write as _};

/// A document in the making.
#[derive(Debug, Default)]
pub struct Text(String);

/// A family's type.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Goes up only, and begins at 0 with the process; its name ends with `_total`.
    Counter,
    /// Goes both ways.
    Gauge,
    /// A sum and a count, without quantiles.
    Summary,
}

impl Text {
    /// Begins a family; its samples follow.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Summary => "summary",
        };
        // A text takes all that is written to it.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { text: &mut self.0, name }
    }

    /// A family of one gauge, or nothing where there is no value.
    pub fn gauge(&mut self, name: &'static str, help: &str, value: Option<&dyn Display>) {
        if let Some(value) = value {
            self.family(name, Kind::Gauge, help).sample(&[], value);
        }
    }

    /// The whole document.
    pub fn finish(self) -> String {
        self.0
    }
}

/// The family that samples are added to.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    /// One sample with its labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: &dyn Display) -> &mut Self {
        self.suffixed("", labels, value)
    }

    /// One sample of a summary: `_sum` or `_count`.
    pub fn suffixed(&mut self, suffix: &str, labels: &[(&str, &str)], value: &dyn Display) -> &mut Self {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"", if at == 0 { '{' } else { ',' });
            for letter in value.chars() {
                match letter {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
        self
    }
}

/// Milliseconds, written as seconds; whole numbers all the way, so that what is printed is what was measured.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub i64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let millis = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:03}", millis / 1000, millis % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_break_out_of_its_quotes_or_its_line() {
        let mut text = Text::default();
        text.family("certrotd_x_total", Kind::Counter, "Help.").sample(&[("a", "q\"b\\n\n"), ("c", "d")], &2);
        assert_eq!(
            text.finish(),
            "# HELP certrotd_x_total Help.\n# TYPE certrotd_x_total counter\n\
             certrotd_x_total{a=\"q\\\"b\\\\n\\n\",c=\"d\"} 2\n"
        );
    }

    #[test]
    fn seconds_keep_their_sign_and_their_thousandths() {
        let texts = [0, 1, -1, -1_500, 60_012].map(|millis| Seconds(millis).to_string());
        assert_eq!(texts, ["0.000", "0.001", "-0.001", "-1.500", "60.012"]);
    }

    #[test]
    fn what_is_not_known_is_not_there() {
        let mut text = Text::default();
        text.gauge("certrotd_generation", "Help.", None);
        assert_eq!(text.finish(), "");
    }
}
