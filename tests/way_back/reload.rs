//! Reload, by signal and by order: a good configuration is in force at once, a bad one is refused and the old one
//! stays. A claim key that was taken away after provisioning is a warning.

use std::fs;
use std::net::TcpListener;

use certrot_twin::{Effect, Event, Fault};
use serde_json::Value;

use crate::support::Device;
use crate::tools::{let_in, provisioned, rotate, words, write};

fn debug_lines(device: &Device) -> usize {
    device.log().lines("DEBUG").len()
}

#[test]
fn a_good_configuration_is_in_force_after_sighup() {
    let mut device = provisioned(Device::new());
    assert!(debug_lines(&device) > 0);
    device.edit_config("[log]\nlevel = \"info\"\n[rotation]\nmax-age = \"20d\"\nsplay = \"0s\"");
    let before = device.status()["rotation"]["dueAt"].clone();
    device.signal("HUP");
    device.wait_for("a due time by the new max-age", |s| s["rotation"]["dueAt"] != before);
    let lines = debug_lines(&device);
    rotate(&device, 2);
    device.wait_steady(2);
    assert_eq!(debug_lines(&device), lines, "the level of the log changed");
    device.finish();
}

#[test]
fn a_good_configuration_is_in_force_after_certrotctl_reload_which_names_what_waits_for_a_restart() {
    let mut device = provisioned(Device::new().toml("[log]\nlevel = \"info\""));
    assert_eq!(debug_lines(&device), 0);
    device.edit_config("[log]\nlevel = \"debug\"\n[device]\nserial = \"SN-0009\"");
    let done = device.ctl(&["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}", words(&done));
    assert!(
        words(&done).contains("device.serial"),
        "it says what changes with the next restart: {}",
        words(&done)
    );
    rotate(&device, 2);
    device.wait_steady(2);
    assert!(debug_lines(&device) > 0);
    assert_eq!(device.status()["thingName"], "SN-0001", "a serial never changes under a running identity");
    device.edit_config("[device]\nserial = \"SN-0001\"");
    device.finish();
}

#[test]
fn a_bad_configuration_is_refused_whoever_asks_and_the_old_one_stays() {
    let mut device = provisioned(Device::new());
    let good = fs::read(device.config_path()).unwrap();
    let due = device.status()["rotation"]["dueAt"].clone();
    for bad in ["[rotation]\nmax-age = \"soon\"\nmaxage = \"3d\"\n", "not even = toml ["] {
        write(&device.config_path(), bad.as_bytes());
        let refused = device.ctl(&["reload"]);
        assert_eq!(refused.status.code(), Some(78), "{}", words(&refused));
        assert!(words(&refused).contains("old one stays"), "{}", words(&refused));
        let warned = device.log().find("WARN", &["old one stays"]).len();
        device.signal("HUP");
        device.wait_until("a warning", || device.log().find("WARN", &["old one stays"]).len() > warned);
    }
    let status = device.wait_steady(1);
    assert_eq!(status["rotation"]["dueAt"], due);
    assert!(device.is_running());
    write(&device.config_path(), &good);
    assert_eq!(device.ctl(&["reload"]).status.code(), Some(0));
    device.finish();
}

#[test]
fn a_claim_key_that_was_taken_away_after_provisioning_is_a_warning() {
    let mut device = provisioned(Device::new());
    assert!(device.terminate().success());
    fs::remove_file(device.twin().claim_key()).unwrap();
    device.start();
    device.wait_steady(1);
    assert!(!device.log().find("WARN", &["claim.private-key"]).is_empty(), "{}", device.log());
    rotate(&device, 2);
    device.wait_steady(2);
    device.finish();
}

/// What the status says of changes that do not act yet, as `key acts`.
fn waiting(status: &Value) -> Vec<String> {
    let all = status["configuration"]["waiting"].as_array().cloned().unwrap_or_default();
    all.iter()
        .map(|c| format!("{} {}", c["key"].as_str().unwrap_or("?"), c["acts"].as_str().unwrap_or("?")))
        .collect()
}

fn reload(device: &Device) -> String {
    let done = device.ctl(&["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}", words(&done));
    words(&done)
}

#[test]
fn a_changed_port_acts_by_a_new_connection_and_a_wrong_one_loses_nothing_and_is_healed_by_the_next_reload() {
    let mut device = provisioned(Device::new().rate(10));
    let (port, id) = (device.twin().port(), device.certificate_id());
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    device.edit_config(&format!("[aws]\nport = {nobody}"));
    let told = reload(&device);
    assert!(told.contains("aws.port by a new connection"), "{told}");
    let said = device.log().find("INFO", &["configuration read again", "aws.port"]).len();
    assert_eq!(said, 1, "{}", device.log());
    let status = device.wait_for("no session, and why", |s| {
        s["connected"] == false && s["connection"]["cause"] == "tcp-refused" && s["state"] == "waiting"
    });
    assert_eq!(waiting(&status), ["aws.port reconnect"]);
    assert!(words(&device.ctl(&["status"])).contains("aws.port by a new connection"));
    device.wait_for("the backoff goes on", |s| s["connection"]["failures"].as_u64() >= Some(3));
    // A reload that changes nothing heals nothing, and is in no hurry.
    assert!(reload(&device).contains("nothing has changed"));
    assert_eq!(waiting(&device.status()), ["aws.port reconnect"], "it still waits");
    device.edit_config(&format!("[aws]\nport = {port}"));
    reload(&device);
    let status = device.wait_steady(1);
    assert!(waiting(&status).is_empty(), "{status:#}");
    assert_eq!(status["certificate"]["id"], id.as_str());
    assert_eq!((device.minted(), device.active().len()), (1, 1), "{}", device.story());
    device.finish();
}

#[test]
fn a_reload_that_changes_nothing_of_the_connection_leaves_the_session_alone() {
    let mut device = provisioned(Device::new());
    let since = device.twin().event_count();
    assert!(reload(&device).contains("nothing has changed"));
    device.edit_config("[rotation]\nsplay = \"1h\"\n[identity]\nkey-type = \"ecdsa-p384\"");
    let told = reload(&device);
    assert!(told.contains("rotation.splay in force now"), "{told}");
    assert!(told.contains("identity.key-type with the next rotation"), "{told}");
    assert_eq!(waiting(&device.status()), ["identity.key-type rotation"]);
    std::thread::sleep(crate::support::MOMENT);
    assert_eq!(let_in(&device, since, "SN-0001"), 0, "{}", device.story());
    rotate(&device, 2);
    let status = device.wait_steady(2);
    assert!(waiting(&status).is_empty(), "{status:#}");
    assert_eq!(status["certificate"]["keyType"], "ecdsa-p384");
    device.finish();
}

#[test]
fn reloads_that_reconnect_are_no_contest_and_an_operators_offline_stays() {
    let mut device = provisioned(Device::new().rate(10));
    for (n, seconds) in [61, 62, 63, 64, 65, 66].into_iter().enumerate() {
        let since = device.twin().event_count();
        device.edit_config(&format!("[session]\nkeep-alive = \"{seconds}s\""));
        assert!(reload(&device).contains("session.keep-alive by a new connection"));
        device.wait_event(since, "a new connection", |e| matches!(e, Event::Connect { refused: None, .. }));
        let status = device.wait_steady(1);
        assert!(crate::tools::alert(&status, "contested").is_none(), "after {n}: {status:#}");
    }
    assert_eq!(device.ctl(&["disconnect"]).status.code(), Some(0));
    device.wait_for("offline", |s| s["state"] == "disconnected" && s["connected"] == false);
    let since = device.twin().event_count();
    device.edit_config("[session]\nkeep-alive = \"70s\"");
    reload(&device);
    std::thread::sleep(crate::support::MOMENT);
    assert_eq!(device.status()["state"], "disconnected");
    assert_eq!(let_in(&device, since, "SN-0001"), 0, "{}", device.story());
    assert_eq!(device.ctl(&["connect"]).status.code(), Some(0));
    device.wait_steady(1);
    device.finish();
}

#[test]
fn a_reload_that_reconnects_waits_for_the_step_in_hand() {
    let mut device = provisioned(Device::new());
    device.twin().fault(Fault::once("register", Effect::DelayAnswer { ms: 1_500 }));
    let since = device.twin().event_count();
    assert_eq!(device.ctl(&["rotate-now"]).status.code(), Some(0));
    device.wait_fault(since);
    device.edit_config("[session]\nkeep-alive = \"90s\"");
    reload(&device);
    device.wait_steady(2);
    let connects = |e: &Event| matches!(e, Event::Connect { refused: None, .. });
    device.wait_until("two connections: the take-over and the new one", || {
        device.twin().events_since(since).iter().filter(|l| connects(&l.event)).count() == 2
    });
    device.wait_steady(2);
    assert_eq!((device.minted(), device.active().len()), (2, 1), "{}", device.story());
    device.finish();
}

#[test]
fn a_retire_mode_that_a_reload_turns_to_the_commit_topic_retires_what_is_older_rule_10() {
    let mut device = provisioned(Device::new().toml("[retire]\nmode = \"none\""));
    rotate(&device, 2);
    device.wait_steady(2);
    assert_eq!(device.active().len(), 2, "nobody retires anything: {}", device.story());
    assert!(device.twin().count(|e| matches!(e, Event::Commit { .. })) == 0, "{}", device.story());
    device.edit_config("[retire]\nmode = \"commit-topic\"");
    assert!(reload(&device).contains("retire in force now"));
    device.wait_until("one alive", || device.active().len() == 1);
    let status = device.wait_steady(2);
    assert_eq!(device.active()[0].id, status["certificate"]["id"].as_str().unwrap());
    assert_eq!(status["retire"]["mode"], "commit-topic");
    device.finish();
}

#[test]
fn a_template_that_is_not_allowed_fails_the_rotation_alone_and_is_healed_by_the_next_reload() {
    let mut device = provisioned(Device::new().rate(10).toml("[rotation]\nsplay = \"0s\""));
    let (id, since) = (device.certificate_id(), device.twin().event_count());
    device.edit_config("[rotation]\ntemplate = \"certrot-elsewhere\"");
    assert!(reload(&device).contains("rotation.template with the next rotation"));
    assert_eq!(waiting(&device.status()), ["rotation.template rotation"]);
    assert_eq!(let_in(&device, since, "SN-0001"), 0, "the session is left alone: {}", device.story());
    let done = device.ctl(&["rotate-now", "--wait"]);
    assert_eq!(done.status.code(), Some(75), "{}", words(&done));
    assert!(words(&done).contains("certrot-elsewhere"), "{}", words(&done));
    let asked = |e: &Event| matches!(e, Event::Publish { topic, .. } if topic.contains("certrot-elsewhere"));
    assert_eq!(device.twin().count(asked), 0, "not asked before its answers are heard: {}", device.story());
    assert_eq!(device.status()["certificate"]["id"], id.as_str());

    // Nor does it cost the session after a restart: only whoever asks has to hear the answers.
    assert!(device.terminate().success());
    device.start();
    device.wait_for("the session, template or no template", |s| s["connected"] == true);
    assert_eq!(device.status()["certificate"]["id"], id.as_str());

    device.edit_config("[rotation]\ntemplate = \"certrot-rotate\"");
    reload(&device);
    device.wait_steady(2);
    assert_eq!((device.minted(), device.active().len()), (2, 1), "{}", device.story());
    device.finish();
}
