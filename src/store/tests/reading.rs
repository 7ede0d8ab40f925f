//! What is asked of the store between two writes, and what is written where nothing has to be; most were mutants that no
//! other test saw.

use super::*;

#[test]
fn the_thing_in_use_is_the_one_that_current_was_issued_for() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    assert_eq!(store.thing_in_use(), None, "nothing is in use");
    in_use(&store, 0);
    assert_eq!(store.thing_in_use().as_deref(), Some("SN-0001"));
    let nameless = store.add(NewGeneration { thing: String::new(), ..new(1) }).unwrap();
    store.record(Record::Proved(nameless)).unwrap();
    store.switch(nameless).unwrap();
    assert_eq!(store.thing_in_use(), None, "an empty name is none");
}

#[test]
fn the_room_is_what_the_file_system_says() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    let space = store.probe_space().unwrap();
    let files = nix::sys::statvfs::statvfs(&dir).unwrap().files();
    assert_eq!(space.free_files.is_some(), files != 0, "a file system that counts no files has none free");
    assert!(space.free_bytes > 0 && space.is_enough(), "{space:?}");
}

#[test]
fn a_state_that_keeps_its_token_is_replaced_without_overwriting_the_old_one() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    let n = store.add(new(0)).unwrap();
    let old = std::fs::File::open(dir.join("generations/0001/state.json")).unwrap();
    store.record(Record::Registering(n)).unwrap();
    assert!(std::io::read_to_string(old).unwrap().contains(TOKEN), "the new one holds it just the same");
}

#[test]
fn only_a_full_disk_is_full_and_only_what_hurts_the_identity_is_damage() {
    let path = PathBuf::from("x");
    let refused = |errno| StoreError::io("write", "x", errno).is_full();
    assert!(refused(nix::errno::Errno::ENOSPC) && refused(nix::errno::Errno::EDQUOT));
    assert!(!refused(nix::errno::Errno::EACCES) && !StoreError::NoSuchGeneration { generation: 1 }.is_full());
    assert!(Finding::Empty { path: path.clone() }.is_damage());
    assert!(!Finding::Swept { path: path.clone() }.is_damage() && !Finding::ForeignFile { path }.is_damage());
}

#[test]
fn a_finding_names_its_path_and_what_a_person_can_do() {
    let path = PathBuf::from("retire.json");
    let left = Finding::ModeLeft { path: path.clone(), was: 0o644 };
    assert!(left.to_string().contains("retire.json") && left.to_string().contains("0644"), "{left}");
    assert!(left.fix().contains("writable"), "{}", left.fix());
    let swept = Finding::Swept { path };
    assert!(swept.to_string().contains("retire.json"), "{swept}");
    assert_eq!((swept.fix(), swept.path()), ("nothing to do", Path::new("retire.json")));
}

#[test]
fn the_pair_in_use_is_read_without_the_lock_and_only_where_its_files_have_one_name() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    assert!(InUse::read(&dir).unwrap().is_none());
    in_use(&store, 0);
    let found = InUse::read(&dir).unwrap().unwrap();
    assert_eq!(
        (found.generation, found.thing.as_str(), found.pair.key.as_str()),
        (1, "SN-0001", pem(0).1.as_str())
    );
    assert_eq!(found.certificate_id, crate::x509::leaf(pem(0).0.as_bytes()).unwrap().id_hex());
    for file in ["device.cert.pem", "device.key.pem"] {
        let second = dir.join("second");
        std::fs::hard_link(dir.join("current").join(file), &second).unwrap();
        let refused = InUse::read(&dir).unwrap_err();
        assert!(matches!(refused, StoreError::NotWhole { generation: 1, .. }), "{file}: {refused}");
        std::fs::remove_file(second).unwrap();
    }
    assert!(InUse::read(&dir).unwrap().is_some());
}

#[test]
fn a_lost_retire_json_leaves_the_commit_of_the_one_in_use_pending_rule_10() {
    for damage in [false, true] {
        let (_above, dir) = fresh();
        let store = open(&dir);
        let n = in_use(&store, 0);
        store.record(Record::Settled(n)).unwrap();
        assert_eq!(disk(&store).pending, None);
        if damage {
            scribble(&dir.join("retire.json"), b"garbage");
        } else {
            std::fs::remove_file(dir.join("retire.json")).unwrap();
        }
        assert_eq!(disk(&store).pending, Some(n), "a commit twice does no harm");
    }
}

#[test]
fn a_generation_that_is_being_made_is_no_foreign_file() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    in_use(&store, 0);
    std::fs::create_dir(dir.join("generations/.tmp-0008")).unwrap();
    assert_eq!(findings(&store), []);
    std::fs::create_dir(dir.join("generations/mine")).unwrap();
    assert_eq!(findings(&store), [Finding::ForeignFile { path: dir.join("generations/mine") }]);
}

#[test]
fn a_machine_is_known_by_either_of_its_ids() {
    assert_eq!(Machine::read(), Machine::read_below(Path::new("/")));
    assert!(Machine::default().is_unknown());
    for known in [Machine { board: None, ..HERE }, Machine { system: None, ..HERE }] {
        assert!(!known.is_unknown(), "{known:?}");
    }
}

#[test]
fn what_firmware_and_systemd_write_where_there_is_no_id_is_none() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    for (id, known) in [
        ("", false),
        ("\n", false),
        ("uninitialized\n", false),
        ("00000000-0000-0000", false),
        ("FFFF-ffff", false),
        ("00000000-0000-000f\n", true),
        ("4c4c4544", true),
    ] {
        scribble(&root.path().join("etc/machine-id"), id.as_bytes());
        let machine = Machine::read_below(root.path());
        assert_eq!((machine.system.is_some(), machine.board), (known, None), "{id:?}");
    }
}

#[test]
fn nothing_of_the_store_is_handed_on_to_another_program() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    in_use(&store, 0);
    let mut held = 0;
    for fd in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let ours = std::fs::read_link(fd.path()).is_ok_and(|at| at.starts_with(&dir));
        let info = std::fs::read_to_string(Path::new("/proc/self/fdinfo").join(fd.file_name()));
        let (true, Ok(info)) = (ours, info) else { continue };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let flags = i32::from_str_radix(flags, 8).unwrap();
        assert!(flags & nix::libc::O_CLOEXEC != 0, "{:?}: {flags:o}", std::fs::read_link(fd.path()));
        held += 1;
    }
    assert!(held >= 2, "the directory and its lock: {held}");
}

#[test]
fn a_name_that_only_begins_like_a_leftover_is_left_alone() {
    let (_above, dir) = fresh();
    drop(open(&dir));
    for name in ["trash-", ".tmp-"] {
        scribble(&dir.join(name), b"mine");
    }
    let (_store, told) = Store::open(&dir, HERE).unwrap();
    assert!(dir.join("trash-").exists() && dir.join(".tmp-").exists(), "{told:?}");
}

#[test]
fn what_is_secret_shows_that_it_is_there_and_nothing_of_it() {
    let pair = Pair { certificate: pem(0).0.clone(), key: Zeroizing::new(pem(0).1.clone()) };
    assert_eq!(
        (format!("{:?}", Token::new(TOKEN)), format!("{pair:?}")),
        ("Token(..)".into(), "Pair(..)".into())
    );
}
