//! A local application as the attacker: a user of `[messages]`, on the control socket, with everything open to it that a
//! configuration can open.

use certrot_twin::Event;
use serde_json::json;

use crate::daemon::{Daemon, rotations, sessions};
use crate::support::Lab;

const OPEN: &str = "[messages]\npublish = [\"#\", \"+/+/#\"]\nsubscribe = [\"#\", \"+/+/#\"]";

fn commits(lab: &Lab) -> usize {
    lab.twin.count(|e| matches!(e, Event::Commit { .. }))
}

#[test]
fn an_application_cannot_retire_rotate_or_ask_for_certificates_in_the_daemons_name() {
    let lab = Lab::new();
    let daemon = Daemon::settled(&lab, OPEN, 1);
    let (store, certificate) = (daemon.store(), daemon.certificate());
    let before = (commits(&lab), rotations(&lab), sessions(&lab));
    let minted = lab.twin.count(|e| matches!(e, Event::Minted { .. }));
    let commit = json!({ "certificateId": certificate }).to_string();
    let order = json!({ "ifCertificateId": certificate }).to_string();
    for (topic, payload) in [
        ("device/SN-V/certrot/commit", commit.as_str()),
        ("device/SN-V/certrot/commit/accepted", &commit),
        ("device/SN-V/certrot/rotate", &order),
        ("device/SN-V/certrot", &order),
        ("device/SN-V/certrot/x", &order),
        ("device//certrot/commit", &commit),
        ("$aws/certificates/create/json", "{}"),
        ("$aws/certificates/create-from-csr/json", "{}"),
        ("$aws/provisioning-templates/certrot-rotate/provision/json", "{}"),
    ] {
        let refused = daemon.ctl(&["publish", topic, payload]);
        assert_eq!(refused.status.code(), Some(77), "{topic}: {refused:?}");
    }
    for filter in ["device/SN-V/certrot/#", "+/SN-V/certrot/+", "device/+/certrot", "$aws/#", "$share/g/#"] {
        let refused = daemon.ctl(&["subscribe", filter]);
        assert_eq!(refused.status.code(), Some(77), "{filter}: {refused:?}");
    }
    assert_eq!((commits(&lab), rotations(&lab), sessions(&lab)), before);
    assert_eq!(lab.twin.count(|e| matches!(e, Event::Minted { .. })), minted);
    assert_eq!(daemon.store(), store);
    daemon.is_sound(&lab, false);
}

/// Each forbidden topic costs the session, so an application has only so many; the identity has all of them back.
#[test]
fn an_application_that_publishes_what_the_policy_forbids_is_shut_out_before_it_looks_like_a_clone() {
    let lab = Lab::new();
    let daemon = Daemon::settled(&lab, OPEN, 1);
    let before = sessions(&lab);
    let mut codes = Vec::new();
    for n in 0..12 {
        let refused = daemon.ctl(&["publish", &format!("device/SN-X/{n}"), "x", "--timeout", "30s"]);
        codes.push(refused.status.code().unwrap());
    }
    // Three are forbidden by the policy, and then the user is.
    assert_eq!(codes, [&[77; 3][..], &[75; 9]].concat());
    daemon.until("connected", |s| s["connected"] == true && sessions(&lab) >= before + 6);
    assert_eq!(sessions(&lab) - before, 6, "two sessions for each that was tried");
    let status = daemon.status();
    assert_ne!(status["state"], "contested", "{status:#}");
    let rotated = daemon.ctl(&["rotate-now", "--wait"]);
    assert!(rotated.status.success(), "{rotated:?}");
    daemon.is_sound(&lab, false);
}
