//! A report of a check: each step, and under a step that is not well, why and what clears it.

use crate::control::wire::{CheckReport, CheckResult};
use crate::ctl::words::{Paint, Tone, clean};

/// The report with its verdict in the last line.
pub fn check(report: &CheckReport, paint: Paint) -> String {
    let width = report.steps.iter().map(|step| clean(&step.name).chars().count()).max().unwrap_or(0).min(40);
    let mut text = String::new();
    for step in &report.steps {
        let (tone, word) = match step.result {
            CheckResult::Ok => (Tone::Good, "ok"),
            CheckResult::Warn => (Tone::Warn, "warn"),
            CheckResult::Fail => (Tone::Bad, "FAIL"),
            CheckResult::Skipped => (Tone::Dim, "skip"),
        };
        let word = paint.tone(tone, &format!("{word:<4}"));
        let millis = step.millis.map(|ms| format!("{ms} ms")).unwrap_or_default();
        let line = format!("{word}  {:<width$}  {millis:>8}  {}", clean(&step.name), clean(&step.detail));
        text += line.trim_end();
        text.push('\n');
        if matches!(step.result, CheckResult::Warn | CheckResult::Fail) {
            for (label, words) in [("cause", &step.cause), ("fix", &step.remedy)] {
                if let Some(words) = words {
                    text += &format!("      {label:<5}  {}\n", clean(words));
                }
            }
        }
    }
    let count = |result| report.steps.iter().filter(|step| step.result == result).count();
    let verdict = match (count(CheckResult::Fail), count(CheckResult::Warn)) {
        (0, 0) => "everything that was tried works".to_owned(),
        (0, 1) => "everything that was tried works; 1 warning".to_owned(),
        (0, n) => format!("everything that was tried works; {n} warnings"),
        (1, _) => "1 step failed".to_owned(),
        (n, _) => format!("{n} steps failed"),
    };
    text + &verdict + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::CheckStep;

    #[test]
    fn a_report_names_each_step_and_the_cause_and_fix_of_what_is_wrong() {
        let step = |name: &str, result, detail: &str, millis| CheckStep {
            name: name.into(),
            result,
            detail: detail.into(),
            millis,
            ..CheckStep::default()
        };
        let mut report = CheckReport {
            steps: vec![
                step("dns", CheckResult::Ok, "3 addresses", Some(4)),
                step("tls", CheckResult::Fail, "the server's certificate is not signed by root-ca", Some(31)),
                step("answer topics", CheckResult::Skipped, "not connected", None),
            ],
        };
        report.steps[1].cause = Some("server-certificate".into());
        report.steps[1].remedy = Some("put the right root into aws.root-ca".into());
        let expected = "\
ok    dns                4 ms  3 addresses
FAIL  tls               31 ms  the server's certificate is not signed by root-ca
      cause  server-certificate
      fix    put the right root into aws.root-ca
skip  answer topics            not connected
1 step failed
";
        assert_eq!(check(&report, Paint(false)), expected);
    }

    #[test]
    fn a_report_without_faults_says_so() {
        let ok = CheckStep { name: "dns".into(), result: CheckResult::Ok, ..CheckStep::default() };
        let text = check(&CheckReport { steps: vec![ok] }, Paint(false));
        assert_eq!(text, "ok    dns\neverything that was tried works\n");
    }
}
