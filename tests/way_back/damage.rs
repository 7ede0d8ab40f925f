//! Rule 21: a damaged store is healed by a generation that connects, never by one that only looks whole; otherwise it
//! is reported with the fix. Nothing is deleted on doubt.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::Device;
use crate::tools::{alert, mark, refuse, two_alive, wait_alert, wait_in_use, wait_no_alert, write};

/// Two generations alive, the second in use; the daemon is down, the store is hurt, the daemon starts again and no new
/// certificate is to be had for a while.
fn hurt(by: impl Fn(&Device)) -> Device {
    let mut device = two_alive(Device::new().rate(30));
    device.twin().fault(refuse("create-from-csr", 429).forever());
    assert!(device.terminate().success());
    by(&device);
    device.start();
    device
}

/// The end of each: the next rotation goes through, and one certificate is left.
fn goes_on(device: Device) {
    device.twin().clear_faults();
    device.wait_steady(3);
    assert_eq!(device.active().len(), 1, "{}", device.story());
    device.finish();
}

fn file(device: &Device, generation: u32, name: &str) -> PathBuf {
    device.generation_dir(generation).join(name)
}

#[test]
fn a_missing_key_in_use_is_healed_by_the_older_generation() {
    let device = hurt(|d| fs::remove_file(file(d, 2, "device.key.pem")).unwrap());
    let back = wait_in_use(&device, 1);
    assert_eq!(device.current_generation(), Some(1));
    assert_eq!(mark(&back, 2), Some("refused"), "{back:#}");
    let told = wait_alert(&device, "store-damaged");
    assert!(alert(&told, "store-damaged").unwrap()["remedy"].as_str().is_some_and(|r| !r.is_empty()));
    assert!(file(&device, 2, "device.cert.pem").exists(), "nothing is deleted on doubt");
    device.expect_errors(&["store-damaged", "fallen-back"]);
    goes_on(device);
}

#[test]
fn a_key_of_another_certificate_in_use_is_healed_by_the_older_generation() {
    let device =
        hurt(|d| write(&file(d, 2, "device.key.pem"), &fs::read(file(d, 1, "device.key.pem")).unwrap()));
    wait_in_use(&device, 1);
    wait_alert(&device, "store-damaged");
    device.expect_errors(&["store-damaged", "fallen-back"]);
    goes_on(device);
}

#[test]
fn empty_files_in_use_are_healed_by_the_older_generation() {
    let device = hurt(|d| {
        for name in ["device.key.pem", "device.cert.pem", "state.json"] {
            write(&file(d, 2, name), b"");
        }
    });
    wait_in_use(&device, 1);
    assert!(file(&device, 2, "device.key.pem").exists(), "nothing is deleted on doubt");
    device.expect_errors(&["store-damaged", "fallen-back"]);
    goes_on(device);
}

#[test]
fn a_dangling_current_is_healed_by_the_newest_generation_that_connects() {
    let device = hurt(|d| {
        fs::remove_file(d.store().join("current")).unwrap();
        symlink("generations/0009", d.store().join("current")).unwrap();
    });
    wait_in_use(&device, 2);
    assert_eq!(device.current_generation(), Some(2));
    wait_no_alert(&device, "store-damaged");
    device.allow_errors(&["store-damaged"]);
    one_left(device);
}

#[test]
fn a_current_that_is_a_file_is_healed_and_the_file_is_kept() {
    let device = hurt(|d| {
        fs::remove_file(d.store().join("current")).unwrap();
        write(&d.store().join("current"), b"who put me here?");
    });
    wait_in_use(&device, 2);
    assert_eq!(device.current_generation(), Some(2));
    let kept =
        names(&device.store()).into_iter().find(|n| n.starts_with("current.")).expect("the file, aside");
    assert_eq!(fs::read(device.store().join(kept)).unwrap(), b"who put me here?");
    device.allow_errors(&["store-damaged"]);
    one_left(device);
}

#[test]
fn a_current_that_points_out_of_the_store_is_not_followed() {
    let device = hurt(|d| {
        let outside = d.dir().join("outside");
        fs::create_dir(&outside).unwrap();
        for name in ["device.key.pem", "device.cert.pem", "state.json"] {
            fs::copy(file(d, 2, name), outside.join(name)).unwrap();
        }
        fs::remove_file(d.store().join("current")).unwrap();
        symlink(&outside, d.store().join("current")).unwrap();
    });
    wait_in_use(&device, 2);
    assert_eq!(device.current_generation(), Some(2));
    assert_eq!(names(&device.dir().join("outside")).len(), 3, "what is outside is nobody's to touch");
    device.allow_errors(&["store-damaged"]);
    one_left(device);
}

#[test]
fn a_whole_looking_generation_that_the_cloud_does_not_know_never_heals_anything() {
    // A pair of ours from another cloud, say: key and certificate match, and nobody lets it in.
    let device = hurt(|d| {
        let id = id_of_disk(d, 1);
        d.twin().delete_certificate(&id);
        fs::remove_file(file(d, 2, "device.key.pem")).unwrap();
    });
    wait_alert(&device, "certificate-refused");
    assert_eq!(device.current_generation(), Some(2), "a refusal moves nothing");
    assert!(alert(&device.status(), "store-damaged").is_some());
    device.expect_errors(&["store-damaged", "certificate-refused"]);
    // The operator restores the key from a backup of the disk; in this test, from nowhere: the claim is the way in.
    device.twin().clear_faults();
    crate::tools::reclaim(&device);
    let done = device.ctl(&["provision", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}", crate::tools::words(&done));
    device.wait_steady(3);
    device.finish();
}

#[test]
fn foreign_files_are_left_alone_and_nothing_stops_for_them() {
    let device = hurt(|d| {
        for dir in [d.store(), d.store().join("generations"), d.generation_dir(2)] {
            write(&dir.join("notes.txt"), b"mine");
        }
        fs::create_dir(d.store().join("generations/spare")).unwrap();
        fs::set_permissions(d.store().join("generations/spare"), fs::Permissions::from_mode(0o700)).unwrap();
    });
    wait_in_use(&device, 2);
    assert!(alert(&device.status(), "store-damaged").is_none(), "{:#}", device.status());
    let checks = crate::tools::words(&device.ctl(&["check"]));
    assert!(checks.contains("notes.txt"), "check names it: {checks}");
    for dir in [device.store(), device.store().join("generations"), device.generation_dir(2)] {
        assert_eq!(fs::read(dir.join("notes.txt")).unwrap(), b"mine");
    }
    one_left(device);
}

#[test]
fn damaged_books_are_kept_aside_and_the_session_goes_on() {
    let device = hurt(|d| {
        for name in ["retire.json", "device.json", "history.json"] {
            write(&d.store().join(name), b"{\"half\":");
        }
    });
    wait_in_use(&device, 2);
    let aside = names(&device.store());
    for name in ["retire.json", "device.json", "history.json"] {
        assert!(
            aside.iter().any(|n| n.starts_with(&format!("{name}.")) && n.contains("damaged")),
            "{aside:?}"
        );
    }
    // Which commit is pending is lost with retire.json: the generation in use commits anew (rule 10).
    device.expect_errors(&["store-damaged"]);
    one_left(device);
}

#[test]
fn a_damaged_state_json_of_the_generation_in_use_does_not_keep_its_predecessor_alive_rule_10() {
    let device = hurt(|d| write(&d.generation_dir(2).join("state.json"), b"{\"half\":"));
    wait_in_use(&device, 2);
    device.allow_errors(&["store-damaged"]);
    one_left(device);
}

/// The commit of the generation in use is still pending: it goes through once the cloud takes it.
fn one_left(device: Device) {
    device.twin().clear_faults();
    device.wait_steady(2);
    assert_eq!(device.active().len(), 1, "{}", device.story());
    device.finish();
}

fn id_of_disk(device: &Device, generation: u32) -> String {
    let state = device.state_json(generation).unwrap();
    state["certificateId"].as_str().unwrap().to_owned()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
