//! A report of a check: each step, and under a step that is not well, why and what clears it.
//!
//! Neighbours that were skipped for one reason are one line. The last line is the verdict, and names what failed.

use crate::control::wire::{CheckReport, CheckResult, CheckStep};
use crate::ctl::words::{Paint, Tone, clean, span};

/// The report with its verdict in the last line.
pub fn check(report: &CheckReport, paint: Paint) -> String {
    let width = report.steps.iter().map(|step| clean(&step.name).chars().count()).max().unwrap_or(0).min(40);
    let mut text = String::new();
    if report.age_seconds > 0 {
        let age = i64::try_from(report.age_seconds).unwrap_or(i64::MAX);
        text += &format!("report of {} ago: a new one is made at most once a minute\n", span(age));
    }
    let mut left = report.steps.as_slice();
    while let Some((step, rest)) = left.split_first() {
        let alike = |other: &&CheckStep| {
            step.result == CheckResult::Skipped
                && other.result == CheckResult::Skipped
                && other.detail == step.detail
        };
        let more = rest.iter().take_while(alike).count();
        match rest.get(more.wrapping_sub(1)) {
            Some(last) if more > 0 => text += &several(step, last, more + 1, width, paint),
            _ => text += &one(step, width, paint),
        }
        left = rest.get(more..).unwrap_or_default();
    }
    text + &verdict(report) + "\n"
}

fn one(step: &CheckStep, width: usize, paint: Paint) -> String {
    let millis = step.millis.filter(|ms| *ms > 0).map(|ms| format!("{ms} ms")).unwrap_or_default();
    let mut text = line(step.result, &clean(&step.name), &millis, &clean(&step.detail), width, paint);
    if matches!(step.result, CheckResult::Warn | CheckResult::Fail) {
        let statement = step.statement.as_ref().map(ToString::to_string);
        for (label, words) in [("cause", &step.cause), ("fix", &step.remedy), ("allow", &statement)] {
            if let Some(words) = words.as_ref().filter(|words| !words.is_empty()) {
                text += &format!("      {label:<5}  {}\n", clean(words));
            }
        }
    }
    text
}

fn several(first: &CheckStep, last: &CheckStep, count: usize, width: usize, paint: Paint) -> String {
    let words = format!("{count} steps, to {}: {}", clean(&last.name), clean(&first.detail));
    line(first.result, &clean(&first.name), "", &words, width, paint)
}

fn line(result: CheckResult, name: &str, millis: &str, words: &str, width: usize, paint: Paint) -> String {
    let (tone, word) = match result {
        CheckResult::Ok => (Tone::Good, "ok"),
        CheckResult::Warn => (Tone::Warn, "warn"),
        CheckResult::Fail => (Tone::Bad, "FAIL"),
        CheckResult::Skipped => (Tone::Dim, "skip"),
    };
    let word = paint.tone(tone, &format!("{word:<4}"));
    format!("{word}  {name:<width$}  {millis:>8}  {words}").trim_end().to_owned() + "\n"
}

fn verdict(report: &CheckReport) -> String {
    let of = |result| report.steps.iter().filter(move |step| step.result == result);
    let names: Vec<String> = of(CheckResult::Fail).map(|step| clean(&step.name)).collect();
    match (names.len(), of(CheckResult::Warn).count()) {
        (0, 0) => "everything that was tried works".to_owned(),
        (0, 1) => "everything that was tried works; 1 warning".to_owned(),
        (0, n) => format!("everything that was tried works; {n} warnings"),
        (1, _) => format!("1 step failed: {}", names.join(", ")),
        (n, _) => format!("{n} steps failed, the first is where to begin: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, result: CheckResult, detail: &str, millis: Option<u64>) -> CheckStep {
        CheckStep { name: name.into(), result, detail: detail.into(), millis, ..CheckStep::default() }
    }

    fn report(steps: Vec<CheckStep>) -> CheckReport {
        CheckReport { steps, ..CheckReport::default() }
    }

    #[test]
    fn a_report_names_each_step_and_the_cause_and_fix_of_what_is_wrong() {
        let mut report = report(vec![
            step("dns", CheckResult::Ok, "3 addresses", Some(4)),
            step("server", CheckResult::Fail, "the server's certificate is not signed by root-ca", Some(31)),
            step("publish", CheckResult::Skipped, "not connected", None),
            step("provisioning", CheckResult::Skipped, "not connected", None),
            step("commit", CheckResult::Skipped, "not connected", None),
            step("journal", CheckResult::Skipped, "no systemd", Some(0)),
        ]);
        report.steps[1].cause = Some("untrusted-server".into());
        report.steps[1].remedy = Some("put the right root into aws.root-ca".into());
        report.steps[1].statement = Some(serde_json::json!({"Effect": "Allow"}));
        let expected = "\
ok    dns               4 ms  3 addresses
FAIL  server           31 ms  the server's certificate is not signed by root-ca
      cause  untrusted-server
      fix    put the right root into aws.root-ca
      allow  {\"Effect\":\"Allow\"}
skip  publish                 3 steps, to commit: not connected
skip  journal                 no systemd
1 step failed: server
";
        assert_eq!(check(&report, Paint(false)), expected);
    }

    #[test]
    fn a_report_without_faults_says_so_and_an_old_one_its_age() {
        let mut report = report(vec![step("dns", CheckResult::Ok, "", None)]);
        assert_eq!(check(&report, Paint(false)), "ok    dns\neverything that was tried works\n");
        report.age_seconds = 42;
        let text = check(&report, Paint(false));
        assert!(text.starts_with("report of 42 s ago: "), "{text}");
    }

    #[test]
    fn the_last_line_names_what_failed() {
        let failed = |name| step(name, CheckResult::Fail, "", None);
        let text = check(&report(vec![failed("dns"), failed("connect")]), Paint(false));
        assert!(text.ends_with("2 steps failed, the first is where to begin: dns, connect\n"), "{text}");
    }
}
