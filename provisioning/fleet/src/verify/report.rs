//! What `verify` found: a line for each thing that was tried, what was expected, what was seen, and the verdict.

use std::process::ExitCode;

use serde::Serialize;

use crate::error::LATER;
use crate::plan::count;
use crate::tell::Tell;
use crate::verify::wire::Tried;

/// What a line comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As promised.
    Ok,
    /// Against a promise: somebody can be somebody else, or an honest device is kept out.
    Broken,
    /// A fact that no source settles, and it is as was assumed.
    Assumed,
    /// A fact that no source settles, and it is not as was assumed; the programs are meant to be right either way.
    Differs,
    /// A promise that could not be tried.
    Untried,
    /// Left out, with a reason.
    NotChecked,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Broken => "BROKEN",
            Verdict::Assumed => "assumed",
            Verdict::Differs => "DIFFERS",
            Verdict::Untried => "untried",
            Verdict::NotChecked => "left out",
        }
    }

    fn style(self) -> anstyle::Style {
        let colour = |c: anstyle::AnsiColor| c.on_default();
        match self {
            Verdict::Ok => colour(anstyle::AnsiColor::Green),
            Verdict::Broken => colour(anstyle::AnsiColor::Red).bold(),
            Verdict::Assumed => colour(anstyle::AnsiColor::Cyan),
            Verdict::Differs | Verdict::Untried => colour(anstyle::AnsiColor::Yellow).bold(),
            Verdict::NotChecked => anstyle::Style::new().dimmed(),
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The verdict.
    pub verdict: Verdict,
    /// What was tried.
    pub what: String,
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The fleet.
    pub fleet: String,
    /// Its account.
    pub account: String,
    /// Its region.
    pub region: String,
    /// Where devices connect to.
    pub endpoint: String,
    /// The throw-away thing.
    pub thing: String,
    /// The lines, in the order in which they were tried.
    pub rows: Vec<Row>,
    /// What could not be taken away, and why.
    pub left: Vec<String>,
    /// What goes by itself.
    pub notes: Vec<String>,
    /// Why it ended before its end.
    pub stopped: Option<String>,
    /// How long it took.
    pub seconds: f32,
}

impl Report {
    /// How many lines have a verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|r| r.verdict == verdict).count()
    }

    /// 1 for a broken promise, 75 for one that could not be tried or a trace that is left, 2 for a fact that differs.
    pub fn code(&self) -> ExitCode {
        let some = |verdict| self.count(verdict) > 0;
        if some(Verdict::Broken) {
            ExitCode::from(BROKEN)
        } else if some(Verdict::Untried) || !self.left.is_empty() {
            ExitCode::from(LATER)
        } else if some(Verdict::Differs) {
            ExitCode::from(DIFFERS)
        } else {
            ExitCode::SUCCESS
        }
    }

    /// Adds a line, and tells it.
    pub fn row(&mut self, tell: &Tell, row: Row) {
        if self.rows.is_empty() {
            tell.line(&line("", "what was tried", "expected", "seen"));
        }
        let style = row.verdict.style();
        let word = format!("{style}{:<8}{style:#}", row.verdict.word());
        tell.line(&line(&word, &row.what, &row.expected, &row.seen));
        self.rows.push(row);
    }

    /// Tells what it comes to.
    pub fn tell(&self, tell: &Tell) {
        for note in &self.notes {
            tell.warn(note);
        }
        for left in &self.left {
            tell.warn(&format!("left behind: {left}"));
        }
        let of = |verdict| self.count(verdict);
        tell.line(&format!(
            "{} in {:.1} s: {} as promised, {} broken, {} untried; facts: {} as assumed, {} that differ, {} left out; {}",
            count(self.rows.len(), "line"),
            self.seconds,
            of(Verdict::Ok),
            of(Verdict::Broken),
            of(Verdict::Untried),
            of(Verdict::Assumed),
            of(Verdict::Differs),
            of(Verdict::NotChecked),
            if self.left.is_empty() { "nothing of it is left in the account" } else { "NOT ALL IS GONE" },
        ));
    }
}

/// A line for something that must be refused.
pub fn refused(what: impl Into<String>, tried: Tried) -> Row {
    let (verdict, seen) = match tried {
        Tried::Refused(how) => (Verdict::Ok, how),
        Tried::Through(how) => (Verdict::Broken, how),
        Tried::Unclear(how) => (Verdict::Untried, how),
    };
    Row { verdict, what: what.into(), expected: "refused".to_owned(), seen }
}

/// A line for a promise.
pub fn promise(
    what: impl Into<String>,
    expected: impl Into<String>,
    kept: bool,
    seen: impl Into<String>,
) -> Row {
    let verdict = if kept { Verdict::Ok } else { Verdict::Broken };
    Row { verdict, what: what.into(), expected: expected.into(), seen: seen.into() }
}

/// A line for a fact that no source settles.
pub fn fact(what: &str, assumed: &str, as_assumed: bool, seen: impl Into<String>) -> Row {
    let verdict = if as_assumed { Verdict::Assumed } else { Verdict::Differs };
    Row { verdict, what: what.to_owned(), expected: assumed.to_owned(), seen: seen.into() }
}

/// A line for what is left out.
pub fn left_out(what: &str, why: impl Into<String>) -> Row {
    Row { verdict: Verdict::NotChecked, what: what.to_owned(), expected: "-".to_owned(), seen: why.into() }
}

fn line(word: &str, what: &str, expected: &str, seen: &str) -> String {
    let word = if word.is_empty() { format!("{:<8}", "") } else { word.to_owned() };
    format!("{word} {what:<WHAT$} {expected:<EXPECTED$} {seen}").trim_end().to_owned()
}

const WHAT: usize = 66;
const EXPECTED: usize = 24;

/// A promise is broken.
pub const BROKEN: u8 = 1;

/// A fact is not as was assumed.
pub const DIFFERS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdicts: &[Verdict]) -> Report {
        let rows = verdicts.iter().map(|v| Row {
            verdict: *v,
            what: String::new(),
            expected: String::new(),
            seen: String::new(),
        });
        Report { rows: rows.collect(), ..Report::default() }
    }

    #[test]
    fn a_broken_promise_outweighs_everything_and_a_fact_that_differs_has_a_code_of_its_own() {
        let code = |verdicts: &[Verdict]| format!("{:?}", report(verdicts).code());
        let is = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(&[Verdict::Ok, Verdict::Assumed, Verdict::NotChecked]), is(0));
        assert_eq!(code(&[Verdict::Ok, Verdict::Differs]), is(DIFFERS));
        assert_eq!(code(&[Verdict::Untried, Verdict::Differs]), is(LATER));
        assert_eq!(code(&[Verdict::Untried, Verdict::Differs, Verdict::Broken]), is(BROKEN));
        let left = Report { left: vec!["thing x".to_owned()], ..report(&[Verdict::Ok]) };
        assert_eq!(format!("{:?}", left.code()), is(LATER));
    }

    #[test]
    fn what_must_be_refused_and_is_let_through_is_broken_and_what_is_not_clear_is_untried() {
        assert_eq!(refused("x", Tried::Through(String::new())).verdict, Verdict::Broken);
        assert_eq!(refused("x", Tried::Unclear(String::new())).verdict, Verdict::Untried);
        assert_eq!(refused("x", Tried::Refused(String::new())).verdict, Verdict::Ok);
    }
}
