//! The raw form: the TOML text with the place of each key and value, read key by key so that nothing stops at the
//! first fault.
//!
//! It knows which keys there are and how TOML writes text, numbers and lists; what a value means is for the parsers of
//! `units` and `names`. A derived `Deserialize` would end at its first error, and would not know the lines.

use super::defaults::Span;
use super::problem::{Fault, Problem, nearest};
use super::units::Duration;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Every key there is, as `section.key`, in the order of the shipped file.
pub(super) const KEYS: [&str; 33] = [
    "device.serial",
    "device.serial-file",
    "device.thing-name",
    "device.parameters",
    "aws.endpoint",
    "aws.port",
    "aws.root-ca",
    "claim.certificate",
    "claim.private-key",
    "claim.template",
    "claim.fallback-after",
    "identity.directory",
    "identity.key-source",
    "identity.key-type",
    "identity.machine-change",
    "rotation.template",
    "rotation.max-age",
    "rotation.renew-before",
    "rotation.check-interval",
    "rotation.splay",
    "rotation.min-interval",
    "retire.mode",
    "retire.delay",
    "retire.keep-generations",
    "session.keep-alive",
    "session.start-jitter",
    "messages.publish",
    "messages.subscribe",
    "messages.users",
    "control.socket",
    "control.operators",
    "control.metrics-listen",
    "log.level",
];

/// A file's text with the places of its keys and values, and the problems found so far.
pub(super) struct Raw<'a> {
    source: &'a str,
    root: DeTable<'a>,
    /// Whether TOML itself could not be read everywhere: a missing key means nothing then.
    pub(super) broken: bool,
    /// What was found wrong so far.
    pub(super) problems: Vec<Problem>,
}

impl<'a> Raw<'a> {
    /// Parses the text; faults of TOML itself and keys that nobody knows are problems already.
    pub(super) fn parse(source: &'a str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(source);
        let mut raw =
            Self { source, root: root.into_inner(), broken: !errors.is_empty(), problems: Vec::new() };
        for error in errors {
            raw.problems.push(Problem {
                line: error.span().map(|span| line_of(source, span.start)),
                key: String::new(),
                value: None,
                rule: format!("TOML: {}", error.message()),
                fix: "write key = value, text in quotes, each key once".to_owned(),
            });
        }
        raw.refuse_unknown();
        raw
    }

    /// Says whether the key is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.item(key).is_some()
    }

    /// Reads a key; `None` where it is absent, or wrong, which is then a problem.
    pub(super) fn get<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&DeValue<'a>) -> Result<T, Fault>,
    ) -> Option<T> {
        match parse(self.item(key)?.get_ref()) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.refuse(key, fault);
                None
            }
        }
    }

    /// Reads a key of text.
    pub(super) fn text<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        self.get(key, |value| parse(as_text(value)?))
    }

    /// Reads a key of text; where it is absent, reads `default` in its place.
    pub(super) fn text_or<T>(
        &mut self,
        key: &str,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        if self.has(key) {
            return self.text(key, parse);
        }
        parse(default).map_err(|fault| self.refuse(key, fault)).ok()
    }

    /// Reads a duration in its range; absent means the default.
    pub(super) fn duration(&mut self, key: &str, span: &Span) -> Duration {
        self.text(key, |text| Duration::parse_within(text, span.least, span.most)).unwrap_or(span.default)
    }

    /// Reads a whole number; absent means `default`. So does wrong, and then no configuration comes of the file.
    pub(super) fn number_or(
        &mut self,
        key: &str,
        default: i64,
        check: impl FnOnce(i64) -> Result<i64, Fault>,
    ) -> i64 {
        let number = |value: &DeValue<'a>| {
            value
                .as_integer()
                .and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok())
                .ok_or_else(|| Fault::new("it is a whole number", format!("write {default}, without quotes")))
        };
        self.get(key, |value| check(number(value)?)).unwrap_or(default)
    }

    /// Reads a list of text, at most `most` long; absent is `None`. Each wrong entry is a problem of its own.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        most: usize,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Vec<T>> {
        let item = self.item(key)?;
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        match item.get_ref().as_array() {
            None => {
                bad.push((item.span(), Fault::new("it is a list of texts", "write it as [\"…\", \"…\"]")))
            }
            Some(entries) if entries.len() > most => bad.push((
                item.span(),
                Fault::new(
                    format!("the list has at most {most} entries"),
                    "join what can be joined with + and #",
                ),
            )),
            Some(entries) => {
                for entry in entries.iter() {
                    match as_text(entry.get_ref()).and_then(&parse) {
                        Ok(value) => good.push(value),
                        Err(fault) => bad.push((entry.span(), fault)),
                    }
                }
            }
        }
        for (span, fault) in bad {
            self.refuse_at(key, span, fault);
        }
        Some(good)
    }

    /// Reads a table of texts under free names.
    pub(super) fn table(
        &mut self,
        key: &str,
        check: impl Fn(&str) -> Result<(), Fault>,
    ) -> BTreeMap<String, String> {
        let (mut good, mut bad) = (BTreeMap::new(), Vec::new());
        let Some(item) = self.item(key) else {
            return good;
        };
        match item.get_ref().as_table() {
            None => bad.push((
                key.to_owned(),
                item.span(),
                Fault::new("it is a table of texts", "write it as { Site = \"oslo\" }"),
            )),
            Some(table) => {
                for (name, value) in table.iter() {
                    match check(name.get_ref()).and_then(|()| as_text(value.get_ref())) {
                        Ok(text) => {
                            good.insert(name.get_ref().to_string(), text.to_owned());
                        }
                        Err(fault) => bad.push((format!("{key}.{}", name.get_ref()), value.span(), fault)),
                    }
                }
            }
        }
        for (key, span, fault) in bad {
            self.refuse_at(&key, span, fault);
        }
        good
    }

    /// Records a problem with a key, at its value, else at its section, else in the file.
    pub(super) fn refuse(&mut self, key: &str, fault: Fault) {
        let problem = self.problem(key, fault);
        self.problems.push(problem);
    }

    /// Makes a problem with a key without recording it.
    pub(super) fn problem(&self, key: &str, fault: Fault) -> Problem {
        let span = self.item(key).map(Spanned::span);
        let section = key.split('.').next().unwrap_or(key);
        let line = match &span {
            Some(span) => Some(span.start),
            None => self
                .root
                .iter()
                .find(|(name, _)| name.get_ref() == section)
                .map(|(name, _)| name.span().start),
        };
        Problem {
            line: line.map(|at| line_of(self.source, at)),
            key: key.to_owned(),
            value: span.map(|span| self.shown(span)),
            rule: fault.rule,
            fix: fault.fix,
        }
    }

    fn refuse_at(&mut self, key: &str, span: Range<usize>, fault: Fault) {
        let value = Some(self.shown(span.clone()));
        let line = Some(line_of(self.source, span.start));
        self.problems.push(Problem { line, key: key.to_owned(), value, rule: fault.rule, fix: fault.fix });
    }

    fn item(&self, key: &str) -> Option<&Spanned<DeValue<'a>>> {
        debug_assert!(KEYS.contains(&key), "{key} is not in KEYS");
        let (section, name) = key.split_once('.')?;
        let table = self.root.iter().find(|(k, _)| k.get_ref() == section)?.1.get_ref().as_table()?;
        table.iter().find(|(k, _)| k.get_ref() == name).map(|(_, v)| v)
    }

    fn refuse_unknown(&mut self) {
        let sections = || KEYS.iter().filter_map(|k| k.split_once('.')).map(|(s, _)| s);
        let mut found = Vec::new();
        for (section, value) in self.root.iter() {
            let name = section.get_ref().as_ref();
            if !sections().any(|s| s == name) {
                found.push((section.span(), name.to_owned(), unknown("section", name, sections())));
                continue;
            }
            let Some(table) = value.get_ref().as_table() else {
                let fault =
                    Fault::new("it is a section", format!("write [{name}] on a line, its keys below"));
                found.push((section.span(), name.to_owned(), fault));
                continue;
            };
            let keys =
                || KEYS.iter().filter_map(|k| k.split_once('.')).filter(|(s, _)| *s == name).map(|(_, k)| k);
            for (key, _) in table.iter() {
                let key_name = key.get_ref().as_ref();
                if !keys().any(|k| k == key_name) {
                    let full = format!("{name}.{key_name}");
                    found.push((key.span(), full, unknown("key", key_name, keys())));
                }
            }
        }
        for (span, key, fault) in found {
            let line = Some(line_of(self.source, span.start));
            self.problems.push(Problem { line, key, value: None, rule: fault.rule, fix: fault.fix });
        }
    }

    /// Shows a value as it is written, on one line and not too long; PEM text could be a key and is not shown.
    fn shown(&self, span: Range<usize>) -> String {
        let text = self.source.get(span).unwrap_or_default();
        if text.contains("-----BEGIN") {
            return "(PEM text, not shown)".to_owned();
        }
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.chars().count() <= LONGEST_SHOWN {
            return line;
        }
        line.chars().take(LONGEST_SHOWN - 1).chain(['…']).collect()
    }
}

fn as_text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Fault> {
    value.as_str().ok_or_else(|| {
        Fault::new(
            format!("it is text, and this is {}", article(value.type_str())),
            "put it in double quotes",
        )
    })
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

fn unknown<'k>(what: &str, name: &str, known: impl Iterator<Item = &'k str> + Clone) -> Fault {
    let fix = match nearest(name, known.clone()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => {
            let mut all: Vec<&str> = known.collect();
            all.dedup();
            format!("remove it; known here: {}", all.join(", "))
        }
    };
    Fault::new(format!("there is no such {what}"), fix)
}

fn line_of(source: &str, at: usize) -> usize {
    source.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}

/// Longest value that a report repeats, in characters.
const LONGEST_SHOWN: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../etc/config.toml");

    /// The shipped file with every key that it comments out.
    fn uncommented() -> String {
        let is_key = |line: &str| {
            let name = line.split(" = ").next().unwrap_or_default();
            line.contains(" = ") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        };
        let lines = SHIPPED.lines().map(|line| line.strip_prefix("# ").filter(|l| is_key(l)).unwrap_or(line));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_shipped_file_shows_every_key_there_is() {
        let text = uncommented();
        let raw = Raw::parse(&text);
        assert_eq!(raw.problems, []);
        let missing: Vec<_> = KEYS.iter().filter(|key| !raw.has(key)).collect();
        assert!(missing.is_empty(), "not in etc/config.toml: {missing:?}");
    }

    #[test]
    fn the_shipped_file_shows_the_defaults() {
        use super::super::{Facts, Purpose, sections};
        let facts = Facts {
            identity_present: true,
            certificate_lifetime: None,
            credentials_directory: None,
            purpose: Purpose::Check,
        };
        let read = |text: &str| {
            let text = text.replace("xxxxxxxx-ats", "abc-ats").replace("serial-file", "#serial-file");
            let mut raw = Raw::parse(&text);
            let config = sections::read(&mut raw, &facts, &mut Vec::new());
            // The root certificate is not installed where the tests run.
            raw.problems.retain(|p| p.key != "aws.root-ca");
            assert_eq!(raw.problems, []);
            config.expect("no problem, so a configuration")
        };
        let (mut shown, default) = (read(&uncommented()), read(SHIPPED));
        assert_ne!(shown.device, default.device, "the device's keys are examples");
        shown.device = default.device.clone();
        assert_eq!(shown, default);
    }

    #[test]
    fn a_key_by_mistake_in_the_file_is_not_repeated() {
        let mut raw = Raw::parse("[claim]\nprivate-key = \"-----BEGIN EC PRIVATE KEY-----secret\"");
        raw.text("claim.private-key", |_| Err::<(), _>(Fault::new("r", "f")));
        assert!(!raw.problems[0].to_string().contains("secret"), "{}", raw.problems[0]);
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let text = format!("[device]\nserial = \"{}\"", "é".repeat(300));
        let mut raw = Raw::parse(&text);
        raw.text("device.serial", |_| Err::<(), _>(Fault::new("r", "f")));
        let shown = raw.problems[0].value.clone().unwrap();
        assert_eq!(shown.chars().count(), LONGEST_SHOWN);
        assert!(shown.ends_with('…'));
    }
}
