//! Who may: one process at a time, our own user, private modes, and no link followed.

use super::*;
use crate::rotation::identity::Current;

#[test]
fn a_second_opener_is_refused_and_told_the_holder() {
    let (_above, dir) = fresh();
    let first = open(&dir);
    let refused = Store::open(&dir, HERE).unwrap_err();
    let us = std::process::id();
    assert!(matches!(refused, StoreError::Busy { pid: Some(pid), .. } if pid == us), "{refused}");
    assert!(refused.to_string().contains(&us.to_string()) && refused.remedy().contains(&us.to_string()));
    drop(first);
    open(&dir);
}

#[test]
fn a_second_opener_sweeps_nothing() {
    let (_above, dir) = fresh();
    let _first = open(&dir);
    scribble(&dir.join(".tmp-retire.json"), b"half");
    assert!(Store::open(&dir, HERE).is_err());
    assert!(dir.join(".tmp-retire.json").exists());
}

#[test]
fn leftovers_are_swept_at_start_with_their_keys_overwritten() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    in_use(&store, 0);
    drop(store);
    for half in ["trash-7", "generations/.tmp-0008"] {
        std::fs::create_dir(dir.join(half)).unwrap();
        scribble(&dir.join(half).join("device.key.pem"), b"half a key");
    }
    std::fs::create_dir(dir.join("trash-7/deeper")).unwrap();
    scribble(&dir.join("trash-7/deeper/file"), b"x");
    scribble(&dir.join(".tmp-retire.json"), b"half");
    scribble(&dir.join("generations/0001/.tmp-state.json"), b"half");
    let key = std::fs::File::open(dir.join("trash-7/device.key.pem")).unwrap();
    let (store, told) = Store::open(&dir, HERE).unwrap();
    assert_eq!(told.iter().filter(|f| matches!(f, Finding::Swept { .. })).count(), 4, "{told:?}");
    assert_eq!(std::io::read_to_string(key).unwrap(), "\0".repeat(10));
    assert_eq!(findings(&store), []);
    assert!(["trash-7", "generations/.tmp-0008", ".tmp-retire.json"].iter().all(|n| !dir.join(n).exists()));
    assert_eq!(disk(&store).current, Current::Names(1));
}

#[test]
fn modes_that_are_too_open_are_set_right_and_told() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    in_use(&store, 0);
    drop(store);
    let files = ["generations/0001/device.key.pem", "retire.json", "generations/0001/state.json"]
        .map(|f| dir.join(f));
    let dirs = [dir.clone(), dir.join("generations"), dir.join("generations/0001")];
    files.iter().for_each(|f| set_mode(f, 0o644));
    dirs.iter().for_each(|d| set_mode(d, 0o755));
    let (store, told) = Store::open(&dir, HERE).unwrap();
    assert_eq!(told.len(), 6, "{told:?}");
    for (path, was) in files.iter().map(|f| (f, 0o644)).chain(dirs.iter().map(|d| (d, 0o755))) {
        assert!(told.contains(&Finding::ModeSet { path: path.clone(), was }), "{told:?}");
    }
    assert!(files.iter().all(|f| mode(f) == 0o600) && dirs.iter().all(|d| mode(d) == 0o700));
    drop(store);
    assert_eq!(Store::open(&dir, HERE).unwrap().1, []);
}

#[test]
fn modes_that_cannot_be_set_are_told_and_do_not_stop_the_start() {
    let (_above, dir) = fresh();
    in_use(&open(&dir), 0);
    let key = dir.join("generations/0001/device.key.pem");
    set_mode(&key, 0o640);
    power::cut_after(0, nix::errno::Errno::EROFS);
    let opened = Store::open(&dir, HERE);
    power::restore();
    assert_eq!(opened.unwrap().1, [Finding::ModeLeft { path: key, was: 0o640 }]);
}

#[test]
fn what_belongs_to_another_user_is_refused_with_the_remedy() {
    // Only root can give a file away; others have nothing to try here, and the rule is the same comparison.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    for name in ["", "generations", "generations/0001", "generations/0001/device.key.pem", "retire.json"] {
        let (_above, dir) = fresh();
        in_use(&open(&dir), 0);
        let path = if name.is_empty() { dir.clone() } else { dir.join(name) };
        std::os::unix::fs::chown(&path, Some(4711), None).unwrap();
        let refused = Store::open(&dir, HERE).unwrap_err();
        assert!(
            matches!(&refused, StoreError::ForeignOwner { path: p, owner: 4711, us: 0 } if *p == path),
            "{refused}"
        );
        assert!(refused.remedy().contains("chown"));
    }
}

#[test]
fn a_generation_that_is_a_link_is_not_entered() {
    let (above, dir) = fresh();
    let store = open(&dir);
    in_use(&store, 0);
    let elsewhere = above.path().join("elsewhere");
    std::fs::rename(dir.join("generations/0001"), &elsewhere).unwrap();
    symlink(&elsewhere, dir.join("generations/0001")).unwrap();
    let (disk, told) = store.inspect(false).unwrap();
    assert_eq!((disk.current, disk.slots.len()), (Current::Astray, 0));
    assert!(told.contains(&Finding::WrongKind { path: dir.join("generations/0001") }), "{told:?}");
    assert!(matches!(store.pair(1), Err(StoreError::NotADirectory { .. })));
    assert!(matches!(store.record(Record::Registering(1)), Err(StoreError::NotADirectory { .. })));
    assert!(matches!(store.switch(1), Err(StoreError::NotADirectory { .. })));
    // Removal takes the link; what it points to stays. The number is spent all the same.
    store.remove(1).unwrap();
    assert!(elsewhere.join("device.key.pem").metadata().unwrap().len() > 0);
    assert!(std::fs::symlink_metadata(dir.join("generations/0001")).is_err());
    assert_eq!(std::fs::read_to_string(elsewhere.join("device.key.pem")).unwrap(), pem(0).1);
    assert_eq!(store.add(new(1)).unwrap(), 2);
    drop(store);
    open(&dir);
}

#[test]
fn a_key_that_is_a_link_is_not_read() {
    let (above, dir) = fresh();
    let store = open(&dir);
    in_use(&store, 0);
    let key = dir.join("generations/0001/device.key.pem");
    let elsewhere = above.path().join("key");
    std::fs::rename(&key, &elsewhere).unwrap();
    symlink(&elsewhere, &key).unwrap();
    let (disk, told) = store.inspect(false).unwrap();
    assert_eq!(disk.current(), None);
    assert_eq!(told, [Finding::WrongKind { path: key }]);
    assert!(matches!(store.pair(1), Err(StoreError::NotWhole { .. })));
    set_mode(&elsewhere, 0o644);
    drop(store);
    open(&dir);
    assert_eq!(mode(&elsewhere), 0o644, "a mode was set through a link");
}

#[test]
fn a_pipe_in_the_place_of_a_key_does_not_hold_the_store_up() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    in_use(&store, 0);
    let key = dir.join("generations/0001/device.key.pem");
    std::fs::remove_file(&key).unwrap();
    nix::unistd::mkfifo(&key, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(findings(&store), [Finding::WrongKind { path: key }]);
    drop(store);
    open(&dir);
}

#[test]
fn books_that_are_links_are_moved_aside_and_their_targets_not_written() {
    let (above, dir) = fresh();
    let store = open(&dir);
    let n = in_use(&store, 0);
    for book in ["retire.json", "device.json", "history.json"] {
        let victim = above.path().join(book);
        scribble(&victim, b"{}");
        let _ = std::fs::remove_file(dir.join(book));
        symlink(&victim, dir.join(book)).unwrap();
    }
    store.record(Record::Pending(n, 1_800_000_000)).unwrap();
    store.set_serial("a", "b").unwrap();
    store.append_history(entry(1)).unwrap();
    for book in ["retire.json", "device.json", "history.json"] {
        assert_eq!(std::fs::read(above.path().join(book)).unwrap(), b"{}");
        assert!(std::fs::symlink_metadata(dir.join(book)).unwrap().is_file());
    }
}

#[test]
fn links_under_our_temporary_names_are_removed_and_their_targets_stay() {
    let (above, dir) = fresh();
    let store = open(&dir);
    let n = in_use(&store, 0);
    let victim = above.path().join("victim");
    scribble(&victim, b"keep");
    std::fs::create_dir(above.path().join("tree")).unwrap();
    scribble(&above.path().join("tree/keep"), b"keep");
    symlink(&victim, dir.join(".tmp-retire.json")).unwrap();
    store.record(Record::Committing(7)).unwrap();
    symlink(above.path().join("tree"), dir.join("trash-3")).unwrap();
    symlink(&victim, dir.join(".tmp-x")).unwrap();
    std::fs::hard_link(&victim, dir.join(".tmp-y")).unwrap();
    drop(store);
    let store = open(&dir);
    assert_eq!(std::fs::read(&victim).unwrap(), b"keep");
    assert!(above.path().join("tree/keep").exists());
    assert_eq!(disk(&store).current, Current::Names(n));
    assert_eq!(findings(&store), []);
}

#[test]
fn a_generations_directory_that_is_a_link_stops_the_start() {
    let (above, dir) = fresh();
    in_use(&open(&dir), 0);
    std::fs::rename(dir.join("generations"), above.path().join("moved")).unwrap();
    symlink(above.path().join("moved"), dir.join("generations")).unwrap();
    let refused = Store::open(&dir, HERE).unwrap_err();
    assert!(
        matches!(&refused, StoreError::NotADirectory { path } if path.ends_with("generations")),
        "{refused}"
    );
    assert!(!Store::peek(&dir));
}

#[test]
fn a_lock_that_is_a_link_is_not_followed() {
    let (above, dir) = fresh();
    drop(open(&dir));
    scribble(&above.path().join("victim"), b"keep");
    std::fs::remove_file(dir.join("lock")).unwrap();
    symlink(above.path().join("victim"), dir.join("lock")).unwrap();
    assert!(Store::open(&dir, HERE).is_err());
    assert_eq!(std::fs::read(above.path().join("victim")).unwrap(), b"keep");
}

#[test]
fn the_store_itself_may_be_reached_by_a_link() {
    // systemd's DynamicUser puts one at /var/lib/certrotd.
    let (above, dir) = fresh();
    drop(open(&dir));
    let link = above.path().join("link");
    symlink(&dir, &link).unwrap();
    in_use(&open(&link), 0);
    assert!(Store::peek(&link));
}

#[test]
fn a_store_whose_parent_is_missing_says_what_to_make() {
    let (above, _dir) = fresh();
    let refused = Store::open(&above.path().join("a/b"), HERE).unwrap_err();
    assert!(refused.remedy().contains("make the directory above"), "{refused}: {}", refused.remedy());
}
