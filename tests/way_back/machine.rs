//! `machine-change`: the store was written on another machine. It is reported, held, or made a new identity;
//! `certrotctl adopt` settles it.

use std::fs;

use certrot_twin::{Effect, Event, Fault};

use crate::support::Device;
use crate::tools::{
    alert, id_of, let_in, provisioned, reclaim, refuse, wait_alert, wait_no_alert, words, write,
};

/// A provisioned device whose store says that it was written elsewhere; the daemon has not been started again.
fn moved(setting: &str) -> Device {
    let mut device =
        provisioned(Device::new().rate(30).toml(&format!("[identity]\nmachine-change = \"{setting}\"")));
    assert!(device.terminate().success());
    moves(&device);
    device
}

/// Makes the store say that it was written elsewhere.
fn moves(device: &Device) {
    let path = device.store().join("device.json");
    let mut book: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut changed = false;
    for key in ["machineIdHash", "boardIdHash"] {
        if let Some(hash) = book.get_mut(key) {
            *hash = "ab".repeat(32).into();
            changed = true;
        }
    }
    assert!(changed, "this machine has no id at all (/etc/machine-id): the test cannot tell machines apart");
    write(&path, book.to_string().as_bytes());
}

#[test]
fn report_says_so_and_goes_on_until_it_is_adopted() {
    let mut device = moved("report");
    device.start();
    device.wait_steady(1);
    let told = wait_alert(&device, "machine-changed");
    assert!(
        alert(&told, "machine-changed").unwrap()["remedy"].as_str().unwrap().contains("certrotctl adopt")
    );
    adopted(device);
}

#[test]
fn hold_does_not_use_the_identity_until_it_is_adopted() {
    let mut device = moved("hold");
    let since = device.twin().event_count();
    device.start();
    let held = device.wait_for("held", |s| s["state"] == "held");
    assert_eq!(held["connected"], false);
    assert!(held["why"].as_str().unwrap().contains("certrotctl adopt"), "{held:#}");
    let refused = device.ctl(&["rotate-now"]);
    assert_eq!(refused.status.code(), Some(75), "{}", words(&refused));
    assert_eq!(let_in(&device, since, "SN-0001"), 0, "{}", device.story());
    adopted(device);
}

/// Adopts, and a restart has nothing to say.
fn adopted(mut device: Device) {
    let done = device.ctl(&["adopt"]);
    assert_eq!(done.status.code(), Some(0), "{}", words(&done));
    wait_no_alert(&device, "machine-changed");
    device.wait_steady(1);
    assert!(device.terminate().success());
    let before = device.log().find("ERROR", &["machine-changed"]).len();
    device.start();
    device.wait_steady(1);
    assert_eq!(device.log().find("ERROR", &["machine-changed"]).len(), before);
    assert_eq!(device.minted(), 1);
    device.expect_errors(&["machine-changed"]);
    device.finish();
}

#[test]
fn provision_makes_a_new_identity_by_the_claim() {
    let mut device = moved("provision");
    let old = device.active()[0].id.clone();
    let since = device.twin().event_count();
    reclaim(&device);
    device.start();
    let new = device.wait_steady(2);
    assert_ne!(new["certificate"]["id"], old.as_str());
    let with_old = device
        .twin()
        .events_since(since)
        .into_iter()
        .any(|l| matches!(l.event, certrot_twin::Event::Connect { principal, .. } if principal == old));
    assert!(!with_old, "the copied identity is not used\n{}", device.story());
    assert!(device.terminate().success());
    device.start();
    device.wait_steady(2);
    assert_eq!(device.minted(), 2, "once\n{}", device.story());
    device.finish();
}

/// What the machine that was copied had in hand, and with which successor.
#[test]
fn provision_leaves_a_half_done_pair_that_was_copied_alone() {
    type Breaks = fn(&Device);
    let half_done: [(&str, Breaks); 2] = [
        ("issued", |device| device.twin().fault(refuse("register", 403).forever())),
        ("registered", |device| {
            let late = Effect::SeenLate { ms: 86_400_000 };
            device.twin().fault(Fault::once("register", late));
        }),
    ];
    for (stage, trouble) in half_done {
        let mut device =
            provisioned(Device::new().rate(30).toml("[identity]\nmachine-change = \"provision\""));
        trouble(&device);
        let done = device.ctl(&["rotate-now", "--wait"]);
        assert_eq!(done.status.code(), Some(75), "{stage}: {}", words(&done));
        let copied = device.wait_for(stage, |s| s["generations"][1]["stage"] == stage);
        let ids = [1, 2].map(|n| id_of(&copied, n));
        assert!(device.terminate().success());
        moves(&device);
        device.twin().clear_faults();
        reclaim(&device);
        let since = device.twin().event_count();
        device.start();
        let new = device.wait_steady(3);
        assert!(!ids.contains(&new["certificate"]["id"].as_str().expect("one").to_owned()), "{stage}");
        for logged in device.twin().events_since(since) {
            let used = match &logged.event {
                Event::Tls { principal, .. } | Event::Connect { principal, .. } => ids.contains(principal),
                Event::Registered { certificate_id, .. } => ids.contains(certificate_id),
                _ => false,
            };
            assert!(!used, "{stage}: what was copied is used\n{}", device.story());
        }
        assert_eq!(device.minted(), 3, "{stage}: {}", device.story());
        device.finish();
    }
}
