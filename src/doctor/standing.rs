//! What the status says, as steps of a report: who the device is, the rotation to come, what is to be retired, hooks,
//! alerts. Pure.

use super::step::Step;
use crate::control::wire::{CheckStep, Level, Status};

/// Who this device is.
pub fn serial(status: &Status) -> CheckStep {
    let step = Step::begin("serial");
    match (&status.serial, &status.thing_name) {
        (Some(serial), Some(thing)) if serial == thing => {
            step.ok(format!("{serial}, which is the thing's name too"))
        }
        (Some(serial), Some(thing)) => step.ok(format!("{serial}; thing {thing}")),
        _ => step.fail(
            "serial-missing",
            "no serial is known, neither from the configuration nor from an operator",
            "certrotctl provision SERIAL, or [device] serial in the configuration",
        ),
    }
}

/// The rotation to come, and how the last one ended.
pub fn rotation(status: &Status) -> CheckStep {
    let step = Step::begin("rotation");
    let rotation = &status.rotation;
    let last = rotation.last_result.as_ref().filter(|last| !last.ok);
    let failed = last.map(|last| {
        let at = last.step.as_deref().unwrap_or("its beginning");
        let why = last.text.as_deref().unwrap_or("no reason was given");
        format!("the last one failed at {at}: {why}")
    });
    let fix = "the steps above say which of its parts fails and who can clear it";
    match (&rotation.due_at, failed) {
        _ if !rotation.enabled => step.warn(
            "rotation-off",
            "the daemon does not rotate by itself: it was switched off by PATCH /v1/rotation",
            "certrotctl reload puts the configuration in force again",
        ),
        (_, Some(words)) if rotation.overdue_seconds > A_DAY => {
            let words = format!("overdue by {} h; {words}", rotation.overdue_seconds / 3600);
            step.fail("rotation-overdue", words, fix)
        }
        (_, Some(words)) => {
            let words = format!("{words}; {} failures in a row, tried again by itself", rotation.failures);
            step.warn("rotation-failed", words, fix)
        }
        (Some(due), None) if rotation.overdue_seconds > A_DAY => {
            let words = format!("due since {due}, and not begun: {}", status.why);
            step.warn("rotation-overdue", words, fix)
        }
        (Some(due), None) => {
            let rule = rotation.rule.as_deref().unwrap_or("rule");
            step.ok(format!("due at {due} by {rule}"))
        }
        (None, None) => step.skip("there is nothing to rotate yet"),
    }
}

/// What of the old certificates is still to be retired.
pub fn retire(status: &Status) -> CheckStep {
    let step = Step::begin("retire");
    let retire = &status.retire;
    let piled = status.alerts.iter().find(|alert| alert.code == "certificates-pile-up");
    if let Some(alert) = piled {
        return step.fail(&alert.code, alert.text.clone(), alert.remedy.clone().unwrap_or_default());
    }
    if !retire.pending {
        return match (retire.mode.as_str(), &status.certificate) {
            ("none", _) => step.ok("mode none: old certificates are the operator's (certrot-fleet retire)"),
            (_, None) => step.skip("there is no certificate yet"),
            _ => step.ok("the cloud has retired what is older than the certificate in use"),
        };
    }
    if retire.attempts == 0 {
        return step.ok("the commit of the certificate in use is on its way");
    }
    let said = retire.text.as_deref().unwrap_or("no answer");
    let words = format!("{} commits were sent and none accepted: {said}", retire.attempts);
    let fix = "the cloud's operator: the retire Lambda and its topic rule: certrot-fleet status; it is asked again by itself";
    step.warn("retire-pending", words, fix)
}

/// What the hooks said after the last switch.
pub fn hooks(status: &Status) -> CheckStep {
    let step = Step::begin("hooks");
    let hooks = &status.hooks;
    let failed: Vec<String> = hooks
        .results
        .iter()
        .filter(|hook| hook.failed())
        .map(|hook| format!("{}: {}", hook.name, hook.text.as_deref().unwrap_or("failed")))
        .collect();
    let pending = hooks.results.iter().filter(|hook| hook.pending).count();
    let in_use = status.certificate.as_ref().map(|certificate| certificate.id.as_str());
    match (hooks.generation, failed.is_empty()) {
        (None, _) => step.skip("none has run on this machine"),
        (Some(n), true) if hooks.certificate_id.is_some() && hooks.certificate_id.as_deref() != in_use => step.warn(
            "hooks-behind",
            format!("they ran for generation {n}, and not for the certificate in use"),
            "systemctl start certrotd-rotated runs them; systemctl status certrotd-rotated.path says why it did not",
        ),
        (Some(n), true) if pending > 0 => step.ok(format!("{} of {} are still to run for generation {n}", pending, hooks.results.len())),
        (Some(n), true) => step.ok(format!("{} ran for generation {n}", hooks.results.len())),
        (Some(n), false) => step.warn(
            "hook-failed",
            format!("for generation {n}, {}", failed.join("; ")),
            "see the hook's own output in the journal; its service may still use the certificate before",
        ),
    }
}

/// Everything that the daemon itself calls for a person for.
pub fn alerts(status: &Status) -> CheckStep {
    let step = Step::begin("alerts");
    let errors = || status.alerts.iter().filter(|alert| alert.level == Level::Error);
    let Some(first) = errors().next() else { return step.ok("the daemon calls for nobody") };
    let words: Vec<String> = errors().map(|alert| format!("{}: {}", alert.code, alert.text)).collect();
    step.fail(&first.code, words.join("; "), first.remedy.clone().unwrap_or_default())
}

const A_DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::{Alert, CheckResult, HookResult, LastResult, Time};

    #[test]
    fn an_overdue_rotation_that_fails_is_a_failure_and_one_that_is_not_overdue_is_a_warning() {
        let mut status = Status::default();
        status.rotation.enabled = true;
        status.rotation.due_at = Some(Time::from_seconds(0));
        assert_eq!(rotation(&status).result, CheckResult::Ok);
        status.rotation.last_result =
            Some(LastResult { step: Some("register".to_owned()), ..LastResult::default() });
        assert_eq!(rotation(&status).result, CheckResult::Warn);
        status.rotation.overdue_seconds = A_DAY + 3600;
        let step = rotation(&status);
        assert_eq!((step.result, step.cause.as_deref()), (CheckResult::Fail, Some("rotation-overdue")));
        assert!(
            step.detail.contains("overdue by 25 h") && step.detail.contains("register"),
            "{}",
            step.detail
        );
        status.rotation.enabled = false;
        assert_eq!(rotation(&status).cause.as_deref(), Some("rotation-off"));
    }

    #[test]
    fn certificates_that_pile_up_are_worse_than_a_commit_that_waits() {
        let mut status = Status::default();
        status.retire.pending = true;
        assert_eq!(retire(&status).result, CheckResult::Ok);
        status.retire.attempts = 2;
        assert_eq!(retire(&status).result, CheckResult::Warn);
        let piled =
            Alert { code: "certificates-pile-up".to_owned(), level: Level::Error, ..Alert::default() };
        status.alerts.push(piled);
        assert_eq!(retire(&status).result, CheckResult::Fail);
        assert_eq!(alerts(&status).result, CheckResult::Fail);
    }

    #[test]
    fn a_hook_that_failed_is_named_with_its_words() {
        let mut status = Status::default();
        assert_eq!(hooks(&status).result, CheckResult::Skipped);
        status.hooks.generation = Some(2);
        status.hooks.results =
            vec![HookResult { name: "10-mqtt".to_owned(), ok: true, ..HookResult::default() }];
        assert_eq!(hooks(&status).result, CheckResult::Ok);
        let text = Some("ended with 3".to_owned());
        status.hooks.results.push(HookResult { name: "20-web".to_owned(), text, ..HookResult::default() });
        let step = hooks(&status);
        assert_eq!(step.result, CheckResult::Warn);
        assert!(
            step.detail.contains("20-web: ended with 3") && !step.detail.contains("10-mqtt"),
            "{}",
            step.detail
        );
        // One whose turn has not come has not failed.
        status.hooks.results[1] =
            HookResult { name: "20-web".to_owned(), pending: true, ..HookResult::default() };
        assert_eq!(hooks(&status).result, CheckResult::Ok);
        assert_eq!(hooks(&status).detail, "1 of 2 are still to run for generation 2");
        // They are still to run for the certificate in use.
        status.hooks.results.pop();
        status.hooks.certificate_id = Some("old".to_owned());
        assert_eq!(hooks(&status).cause.as_deref(), Some("hooks-behind"));
    }

    #[test]
    fn a_device_without_a_serial_is_told_how_it_gets_one() {
        let step = serial(&Status::default());
        assert_eq!(step.result, CheckResult::Fail);
        assert!(step.remedy.unwrap_or_default().contains("certrotctl provision"));
    }
}
