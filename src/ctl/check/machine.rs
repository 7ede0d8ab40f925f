//! What is seen from outside the daemon: systemd's units, the journal, and which versions are there.

use std::path::Path;
use std::process::Command;

use crate::control::wire::CheckStep;
use crate::doctor::Step;

/// The steps, after the daemon's; `running` is the version of the daemon that answered.
pub fn steps(running: Option<&str>) -> Vec<CheckStep> {
    let mut steps = Vec::new();
    if Path::new("/run/systemd/system").is_dir() {
        let shown = systemctl(&["show", "certrotd.service", "--property", PROPERTIES]);
        steps.push(unit(shown.as_deref(), running.is_some()));
        steps.push(units(
            systemctl(&["list-units", "certrotd*", "--state=failed", "--plain", "--no-legend"]).as_deref(),
        ));
        steps.push(journal(Path::new("/var/log/journal").is_dir()));
    } else {
        steps.extend(
            ["unit", "units", "journal"]
                .map(|name| Step::begin(name).skip("this machine is not run by systemd")),
        );
    }
    let installed = installed();
    steps.push(versions(running, installed.as_deref()));
    steps
}

/// The service, by what `systemctl show` says of it.
fn unit(shown: Option<&str>, answers: bool) -> CheckStep {
    let step = Step::begin("unit");
    let Some(shown) = shown else { return step.skip("systemctl does not answer") };
    let of = |key: &str| {
        shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
    };
    let (active, enabled) = (of("ActiveState"), of("UnitFileState"));
    let words = format!("certrotd.service is {active} ({}), {enabled}", of("SubState"));
    match active {
        _ if of("LoadState") == "not-found" => step.warn(
            "unit-missing",
            "there is no certrotd.service: nothing starts the daemon with the machine",
            "install the package, or systemd/certrotd.service of the source",
        ),
        "failed" if of("ExecMainStatus") == "78" => step.fail(
            "configuration",
            format!("{words}: it ended with 78, the configuration, and is not started again"),
            "correct the file (certrotd --check-config), then systemctl restart certrotd",
        ),
        "failed" => step.fail(
            "unit-failed",
            format!("{words}: {} {}", of("Result"), of("ExecMainStatus")),
            "journalctl -u certrotd -n 50 says why; then systemctl restart certrotd",
        ),
        "active" | "reloading" => {
            let restarts: u64 = of("NRestarts").parse().unwrap_or(0);
            if enabled == "disabled" {
                let fix = "systemctl enable certrotd";
                return step.warn("unit-disabled", format!("{words}: not started with the machine"), fix);
            }
            if restarts > 0 {
                let words = format!("{words}; started again {restarts} times by systemd");
                return step.warn("unit-restarts", words, "journalctl -u certrotd says why it ended");
            }
            step.ok(words)
        }
        _ if answers => step.warn(
            "unit-inactive",
            format!("{words}: the certrotd that answers was started by hand"),
            "end it, then systemctl start certrotd",
        ),
        _ => step.fail("unit-inactive", words, "systemctl start certrotd"),
    }
}

/// Whatever else of ours systemd has given up.
fn units(failed: Option<&str>) -> CheckStep {
    let step = Step::begin("units");
    let Some(failed) = failed else { return step.skip("systemctl does not answer") };
    let names: Vec<&str> = failed
        .lines()
        .filter_map(|line| line.trim_start_matches(['●', ' ']).split_whitespace().next())
        .filter(|name| *name != "certrotd.service")
        .collect();
    match names.first() {
        None => step.ok("none of certrotd's other units has failed"),
        Some(first) => step.warn(
            "unit-failed",
            format!("failed: {}", names.join(", ")),
            format!("journalctl -u {first} says why; then systemctl reset-failed {first}"),
        ),
    }
}

fn journal(persistent: bool) -> CheckStep {
    let step = Step::begin("journal");
    if persistent {
        return step.ok("kept on disk: journalctl -u certrotd");
    }
    step.warn(
        "journal-volatile",
        "kept in memory: what happened before a restart of the machine is gone",
        "mkdir -p /var/log/journal && systemctl restart systemd-journald",
    )
}

fn versions(running: Option<&str>, installed: Option<&str>) -> CheckStep {
    let step = Step::begin("versions");
    let own = env!("CARGO_PKG_VERSION");
    let words = |version: Option<&str>| version.unwrap_or("unknown").to_owned();
    let all =
        format!("certrotctl {own}, certrotd {} running, {} installed", words(running), words(installed));
    match (running, installed) {
        (Some(running), Some(installed)) if running != installed => {
            let fix = "systemctl restart certrotd: the identity and the session come back by themselves";
            step.warn("version", format!("{all}: the one that runs is not the one installed"), fix)
        }
        (Some(version), _) | (None, Some(version)) if version != own => {
            step.warn("version", all, "install certrotctl and certrotd of one version")
        }
        (Some(_), _) => step.ok(all),
        (None, Some(installed)) => step.ok(format!("certrotctl {own}, certrotd {installed} installed")),
        (None, None) => step.skip(format!("certrotctl {own}; there is no certrotd beside it")),
    }
}

/// The version of the certrotd beside this program.
fn installed() -> Option<String> {
    let beside = std::env::current_exe().ok()?.with_file_name("certrotd");
    let said = Command::new(beside).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    text.trim().strip_prefix("certrotd ").map(str::to_owned)
}

/// What systemctl prints; a manager that hangs is not waited for.
fn systemctl(words: &[&str]) -> Option<String> {
    let said =
        Command::new("timeout").args(["5", "systemctl"]).args(words).env("LC_ALL", "C").output().ok()?;
    said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
}

const PROPERTIES: &str = "LoadState,ActiveState,SubState,UnitFileState,NRestarts,Result,ExecMainStatus";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::CheckResult;

    fn shown(active: &str, enabled: &str, restarts: u32, status: u32) -> String {
        format!(
            "LoadState=loaded\nActiveState={active}\nSubState=x\nUnitFileState={enabled}\nNRestarts={restarts}\n\
             Result=exit-code\nExecMainStatus={status}\n"
        )
    }

    #[test]
    fn a_unit_is_judged_by_whether_it_runs_will_run_and_had_to_be_started_again() {
        let judged = |text: &str, answers| {
            let step = unit(Some(text), answers);
            (step.result, step.cause.unwrap_or_default())
        };
        assert_eq!(judged(&shown("active", "enabled", 0, 0), true).0, CheckResult::Ok);
        assert_eq!(judged(&shown("active", "disabled", 0, 0), true).1, "unit-disabled");
        assert_eq!(judged(&shown("active", "enabled", 3, 0), true).1, "unit-restarts");
        assert_eq!(judged(&shown("inactive", "enabled", 0, 0), true).0, CheckResult::Warn);
        assert_eq!(judged(&shown("inactive", "enabled", 0, 0), false).0, CheckResult::Fail);
        assert_eq!(judged(&shown("failed", "enabled", 0, 78), false).1, "configuration");
        assert_eq!(judged(&shown("failed", "enabled", 0, 75), false).1, "unit-failed");
        assert_eq!(judged("LoadState=not-found\nActiveState=inactive\n", false).1, "unit-missing");
        assert_eq!(unit(None, true).result, CheckResult::Skipped);
    }

    #[test]
    fn a_failed_unit_beside_the_daemon_is_named() {
        assert_eq!(units(Some("")).result, CheckResult::Ok);
        let text = "certrotd-hooks.service loaded failed failed Hooks\n";
        assert!(units(Some(text)).detail.contains("certrotd-hooks.service"));
    }

    #[test]
    fn a_daemon_that_was_not_started_again_after_an_upgrade_is_told() {
        let own = env!("CARGO_PKG_VERSION");
        assert_eq!(versions(Some(own), Some(own)).result, CheckResult::Ok);
        assert_eq!(versions(Some(own), None).result, CheckResult::Ok);
        let step = versions(Some(own), Some("99.0.0"));
        assert_eq!(step.result, CheckResult::Warn);
        assert!(step.remedy.unwrap_or_default().contains("restart"));
        assert_eq!(versions(Some("0.0.1"), Some("0.0.1")).result, CheckResult::Warn);
        assert_eq!(versions(None, None).result, CheckResult::Skipped);
    }
}
