//! AWS that throttles, refuses, is slow or silent; programs that hang, end or cannot start.

use std::time::Duration;

use certrot_twin::{Effect, Fault, Status};
use serde_json::json;

use crate::lab::{Folder, calls, commit, event, hook, invoked, logs, programs, programs_with, retire};
use crate::support::Lab;

fn claim(lab: &Lab, serial: &str) -> bool {
    let mut claim = lab.connect(&lab.claim(), "claim-lab").unwrap();
    let fresh = claim.create_from_csr().unwrap();
    claim.register("certrot-claim", &fresh.token, serial).is_ok()
}

fn refuse(status_code: u16, error_code: &str) -> Effect {
    Effect::Refuse { status_code, error_code: error_code.to_owned() }
}

#[test]
fn a_hook_backs_off_while_aws_is_busy_for_a_moment() {
    let lab = programs();
    for effect in [
        Effect::Throttle,
        refuse(500, "InternalFailureException"),
        refuse(503, "ServiceUnavailableException"),
    ] {
        lab.twin.fault(Fault::once("api:DescribeThing", effect));
    }
    assert!(claim(&lab, "SN-1"));
}

#[test]
fn a_hook_that_aws_keeps_waiting_denies_by_itself_before_its_time_is_over() {
    for effect in [Effect::Throttle, Effect::Delay { ms: 60_000 }, Effect::Drop] {
        let lab = programs_with(|o| o.hook_limit = Duration::from_secs(30));
        lab.twin.fault(Fault::once("api:DescribeThing", effect.clone()).forever());
        let since = lab.twin.event_count();
        assert!(!claim(&lab, "SN-1"), "{effect:?}");
        let ran = invoked(&lab, since);
        assert!(ran.len() == 1 && ran[0].2.is_none(), "it answered: {ran:?}");
        assert!(logs(&lab).contains("AWS did not answer"), "{effect:?}");
        lab.twin.clear_faults();
        assert!(claim(&lab, "SN-1"), "and nothing of it is remembered");
    }
}

#[test]
fn a_hook_without_its_permissions_denies_at_each_of_its_calls() {
    for operation in ["DescribeThing", "ListThingPrincipals", "DescribeCertificate"] {
        let lab = programs();
        let dead = lab.twin.issue("SN-1").unwrap().id;
        lab.twin.detach_thing("SN-1", &dead).unwrap();
        let other = lab.twin.issue("SN-2").unwrap().id;
        assert!(!other.is_empty());
        let serial = if operation == "DescribeCertificate" { "SN-2" } else { "SN-1" };
        lab.twin
            .fault(Fault::once(&format!("api:{operation}"), refuse(403, "AccessDeniedException")).forever());
        assert!(!claim(&lab, serial), "{operation}");
        assert!(logs(&lab).contains("AccessDeniedException"), "{operation}");
    }
}

#[test]
fn a_program_that_never_answers_is_killed_and_counts_as_a_denial() {
    let folder = Folder::new();
    let lab = programs_with(|o| {
        o.functions = Some(folder.path().into());
        o.hook_limit = Duration::from_secs(1);
    });
    folder.put("certrot-claim-hook", "#!/bin/sh\nexec sleep 60\n", &json!({ "timeout": 30 }));
    let since = lab.twin.event_count();
    assert!(!claim(&lab, "SN-1"));
    let ran = invoked(&lab, since);
    assert_eq!(ran[0].2.as_deref(), Some("not answered within 1s"));
    // In process the same silence has the same end.
    let decided = Lab::with(|o| o.hook_limit = Duration::from_millis(100));
    decided.twin.fault(Fault::once("hook", Effect::Ignore));
    assert!(!claim(&decided, "SN-1"));
    assert!(claim(&decided, "SN-1"));
}

#[test]
fn a_program_that_ends_or_is_not_set_up_denies_and_the_next_one_starts_afresh() {
    let folder = Folder::new();
    let lab = programs_with(|o| o.functions = Some(folder.path().into()));
    assert!(!claim(&lab, "SN-1"), "there is no such function");
    let root = folder.put("certrot-claim-hook", "#!/bin/sh\nexit 3\n", &json!({ "timeout": 20 }));
    assert!(!claim(&lab, "SN-1"));
    std::fs::remove_dir_all(&root).unwrap();
    folder.put("certrot-claim-hook", &hook(), &json!({ "timeout": 20 }));
    assert!(!claim(&lab, "SN-1"), "without CERTROT_HOOK it does not start");
    std::fs::remove_dir_all(&root).unwrap();
    folder.put(
        "certrot-claim-hook",
        &hook(),
        &json!({ "timeout": 20, "environment": { "CERTROT_HOOK": "rotate" } }),
    );
    assert!(!claim(&lab, "SN-1"), "the rotation's hook lets no claim in");
    std::fs::remove_dir_all(&root).unwrap();
    folder.put(
        "certrot-claim-hook",
        &hook(),
        &json!({ "timeout": 20, "environment": { "CERTROT_HOOK": "claim" } }),
    );
    assert!(claim(&lab, "SN-1"));
}

#[test]
fn a_retire_handler_backs_off_while_aws_throttles_each_of_its_calls() {
    let lab = programs();
    let old = lab.twin.issue("SN-1").unwrap().id;
    lab.twin.clock().advance(Duration::from_secs(1));
    let new = lab.twin.issue("SN-1").unwrap().id;
    for operation in [
        "DescribeThing",
        "ListThingPrincipals",
        "DescribeCertificate",
        "ListPrincipalThings",
        "UpdateCertificate",
        "UpdateThing",
        "Publish",
        "ListAttachedPolicies",
        "DetachPolicy",
        "DetachThingPrincipal",
        "DeleteCertificate",
    ] {
        lab.twin.fault(Fault::once(&format!("api:{operation}"), Effect::Throttle));
    }
    let since = lab.twin.event_count();
    assert_eq!(commit(&lab, &event("SN-1", &new)).unwrap()["accepted"], true);
    assert!(lab.twin.certificate(&old).is_none());
    let throttled = calls(&lab, since).iter().filter(|(_, e)| e.is_some()).count();
    assert_eq!(throttled, 11, "each call was throttled once");
}

#[test]
fn a_retire_handler_whose_time_runs_out_tells_the_device_to_come_again() {
    let folder = Folder::new();
    let lab = Lab::with(|o| o.functions = Some(folder.path().into()));
    folder.put(
        "certrot-retire",
        &retire(),
        &json!({ "timeout": 6, "environment": { "CERTROT_THING_TYPE": "certrot" } }),
    );
    let old = lab.twin.issue("SN-1").unwrap().id;
    lab.twin.clock().advance(Duration::from_secs(1));
    let new = lab.twin.issue("SN-1").unwrap().id;
    lab.twin.fault(Fault::once("api:UpdateCertificate", Effect::Throttle).forever());
    assert_eq!(commit(&lab, &event("SN-1", &new)).unwrap()["accepted"], false);
    assert_eq!(lab.twin.certificate(&old).unwrap().status, Status::Active);
    lab.twin.clear_faults();
    assert_eq!(commit(&lab, &event("SN-1", &new)).unwrap()["accepted"], true);
    assert!(lab.twin.certificate(&old).is_none());
}

#[test]
fn a_retire_handler_that_cannot_tell_the_device_fails_so_that_lambda_tries_again() {
    let lab = programs();
    let old = lab.twin.issue("SN-1").unwrap().id;
    lab.twin.clock().advance(Duration::from_secs(1));
    let new = lab.twin.issue("SN-1").unwrap().id;
    lab.twin.fault(Fault::once("api:Publish", refuse(403, "ForbiddenException")));
    let failed = commit(&lab, &event("SN-1", &new)).unwrap_err().to_string();
    assert!(failed.contains("could not be told"), "{failed}");
    assert!(lab.twin.certificate(&old).is_none(), "what is dead is dead");
    assert_eq!(commit(&lab, &event("SN-1", &new)).unwrap()["accepted"], true);
}

#[test]
fn a_missing_permission_at_any_call_never_touches_the_newest_certificate() {
    for operation in [
        "DescribeThing",
        "ListThingPrincipals",
        "DescribeCertificate",
        "ListPrincipalThings",
        "UpdateCertificate",
        "UpdateThing",
        "ListAttachedPolicies",
        "DetachPolicy",
        "DetachThingPrincipal",
        "DeleteCertificate",
    ] {
        let lab = programs();
        let old = lab.twin.issue("SN-1").unwrap().id;
        lab.twin.clock().advance(Duration::from_secs(1));
        let new = lab.twin.issue("SN-1").unwrap().id;
        lab.twin
            .fault(Fault::once(&format!("api:{operation}"), refuse(403, "AccessDeniedException")).forever());
        let accepted = commit(&lab, &event("SN-1", &new)).unwrap()["accepted"] == true;
        let dead = lab.twin.certificate(&old).is_none_or(|c| c.status == Status::Revoked);
        assert_eq!(accepted, dead, "{operation}: accepted exactly when the old one is dead");
        let kept = lab.twin.certificate(&new).unwrap();
        assert!(kept.status == Status::Active && kept.things.contains_key("SN-1"), "{operation}");
    }
}

#[test]
fn a_program_finds_its_endpoint_by_name() {
    let folder = Folder::new();
    let lab = Lab::with(|o| {
        o.functions = Some(folder.path().into());
        o.hook_limit = Duration::from_secs(20);
    });
    let url = format!("http://localhost:{}", lab.twin.api_port());
    let environment = json!({ "CERTROT_HOOK": "claim", "AWS_ENDPOINT_URL": url });
    folder.put("certrot-claim-hook", &hook(), &json!({ "timeout": 20, "environment": environment }));
    assert!(claim(&lab, "SN-1"));
}
