//! What is wrong with a configuration, in words that let a person put it right: line, key, value, rule and fix.
//!
//! A `Fault` is what a value's own parser says; the reader adds where it stands and makes a `Problem` of it; all
//! problems of a file leave in one `Report`. Nothing here decides what is wrong, and no text of a key file comes
//! this far.

use std::fmt;
use std::path::PathBuf;

/// Why a value is refused, and what to write instead; it does not know where the value stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}; {fix}")]
pub struct Fault {
    /// The rule that the value breaks.
    pub rule: String,
    /// What clears it.
    pub fix: String,
}

impl Fault {
    /// Makes a fault of its two sentences.
    pub fn new(rule: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { rule: rule.into(), fix: fix.into() }
    }
}

/// One thing that is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1, where the value stands; `None` where nothing stands there.
    pub line: Option<usize>,
    /// The key with its section, as `aws.endpoint`; empty for what concerns the whole file.
    pub key: String,
    /// The value as it is written in the file; `None` where there is none.
    pub value: Option<String>,
    /// The rule that is broken.
    pub rule: String,
    /// What clears it.
    pub fix: String,
}

impl Problem {
    /// Makes a problem that concerns the whole file.
    pub(super) fn of_file(fault: Fault) -> Self {
        Self { line: None, key: String::new(), value: None, rule: fault.rule, fix: fault.fix }
    }
}

impl fmt::Display for Problem {
    /// Writes three lines: where and what, the rule, the fix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}")?,
            None => write!(f, "in the file")?,
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, "\n  rule: {}\n  fix:  {}", self.rule, self.fix)
    }
}

/// Everything that is wrong with one file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub file: PathBuf,
    /// What keeps the daemon from starting; never empty.
    pub problems: Vec<Problem>,
    /// What should be seen to, and would not have kept it from starting.
    pub warnings: Vec<Problem>,
}

impl Report {
    /// Puts problems and warnings into the order of the file.
    pub(super) fn new(file: PathBuf, mut problems: Vec<Problem>, mut warnings: Vec<Problem>) -> Self {
        sort(&mut problems);
        sort(&mut warnings);
        Self { file, problems, warnings }
    }
}

impl std::error::Error for Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), count(self.problems.len(), "problem"))?;
        if !self.warnings.is_empty() {
            write!(f, ", {}", count(self.warnings.len(), "warning"))?;
        }
        for problem in &self.problems {
            write!(f, "\n\n{problem}")?;
        }
        for warning in &self.warnings {
            write!(f, "\n\nwarning, {warning}")?;
        }
        writeln!(f)
    }
}

/// Orders by line, what has none last; equal lines keep the order in which they were found.
pub(super) fn sort(problems: &mut [Problem]) {
    problems.sort_by_key(|p| p.line.unwrap_or(usize::MAX));
}

fn count(n: usize, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") }
}

/// Finds the known word that a mistyped one probably meant: its beginning or its continuation by at least three
/// letters, or at most two letters away and a third of its length.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let reach = (word.chars().count() / 3).clamp(1, 2);
    let word = word.to_ascii_lowercase().replace('_', "-");
    let grown = |k: &str| word.len().min(k.len()) >= 3 && (word.starts_with(k) || k.starts_with(&word));
    known
        .into_iter()
        .map(|k| (if grown(k) { 1 } else { distance(&word, k) }, k))
        .filter(|(d, _)| *d <= reach)
        .min()
        .map(|(_, k)| k)
}

/// Counts the insertions, deletions, changes and swaps of neighbours between two words (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_finds_the_known_one_and_a_foreign_one_finds_none() {
        let known = ["max-age", "renew-before", "splay"];
        assert_eq!(nearest("max_age", known), Some("max-age"));
        assert_eq!(nearest("maxage", known), Some("max-age"));
        assert_eq!(nearest("slpay", known), Some("splay"));
        assert_eq!(nearest("renew-befor", known), Some("renew-before"));
        assert_eq!(nearest("renew", known), Some("renew-before"));
        assert_eq!(nearest("warning", ["error", "warn"]), Some("warn"));
        assert_eq!(nearest("password", known), None);
    }

    #[test]
    fn a_problem_without_a_line_comes_last() {
        let at = |line| Problem { line, ..Problem::of_file(Fault::new("r", "f")) };
        let mut all = vec![at(None), at(Some(9)), at(Some(2))];
        sort(&mut all);
        assert_eq!(all.iter().map(|p| p.line).collect::<Vec<_>>(), [Some(2), Some(9), None]);
    }
}
