//! The plain course: layout, modes, records, numbers, the switch, removal, the books.

use super::*;
use crate::rotation::identity::{Asked, Current, Mark, Stage};

#[test]
fn a_new_generation_has_the_layout_and_the_modes_of_the_contract() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    assert_eq!(in_use(&store, 0), 1);
    store.set_serial("SN-0001", "SN-0001").unwrap();
    for private in ["", "generations", "generations/0001"] {
        assert_eq!(mode(&dir.join(private)), 0o700, "{private}");
    }
    let files = ["device.cert.pem", "device.key.pem", "state.json"].map(|f| format!("generations/0001/{f}"));
    for file in files.iter().map(String::as_str).chain(["device.json", "retire.json", "lock"]) {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
    assert_eq!(std::fs::read_link(dir.join("current")).unwrap(), Path::new("generations/0001"));
    assert_eq!(std::fs::read_to_string(dir.join("current/device.key.pem")).unwrap(), pem(0).1);
    assert_eq!(findings(&store), []);
}

#[test]
fn an_empty_store_is_a_fresh_device() {
    let (_above, dir) = fresh();
    assert!(!Store::peek(&dir));
    let disk = disk(&open(&dir));
    assert_eq!(
        (disk.current, disk.slots.len(), disk.pending, disk.saved_at),
        (Current::Absent, 0, None, None)
    );
    assert!(!disk.serial_known && !disk.foreign);
    assert!(!Store::peek(&dir));
}

#[test]
fn peek_sees_an_identity_once_a_generation_is_proved_and_needs_no_lock() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    let number = store.add(new(0)).unwrap();
    assert!(!Store::peek(&dir));
    store.record(Record::Proved(number)).unwrap();
    assert!(Store::peek(&dir));
}

#[test]
fn rule_1_a_request_without_an_answer_counts_as_alive_for_ever() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    let n = store.add(new(0)).unwrap();
    let asked = || disk(&store).slot(n).unwrap().asked;
    assert_eq!(asked(), Asked::Never);
    store.record(Record::Registering(n)).unwrap();
    assert_eq!(asked(), Asked::Unanswered);
    store.record(Record::Rejected(n)).unwrap();
    assert_eq!(asked(), Asked::Rejected);
    store.record(Record::Rejected(n)).unwrap();
    assert_eq!(asked(), Asked::Rejected);
    // Sent twice, answered once: the other may have landed.
    store.record(Record::Registering(n)).unwrap();
    store.record(Record::Registering(n)).unwrap();
    // A record that is repeated because its sync failed must not answer for the lost one.
    store.record(Record::Rejected(n)).unwrap();
    store.record(Record::Rejected(n)).unwrap();
    assert_eq!(asked(), Asked::Unanswered);
    store.record(Record::Registering(n)).unwrap();
    store.record(Record::Rejected(n)).unwrap();
    assert_eq!(asked(), Asked::Unanswered);
}

#[test]
fn rule_1_a_request_that_a_restart_left_without_an_answer_is_lost_once_another_is_sent() {
    let (_above, dir) = fresh();
    let n = open(&dir).add(new(0)).unwrap();
    open(&dir).record(Record::Registering(n)).unwrap();
    let store = open(&dir);
    store.record(Record::Registering(n)).unwrap();
    store.record(Record::Rejected(n)).unwrap();
    assert_eq!(disk(&store).slot(n).unwrap().asked, Asked::Unanswered);
    assert_eq!(store.state(n).unwrap().requests, Requests::Lost);
}

#[test]
fn the_token_is_kept_until_registered_and_then_gone_from_the_file() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    let n = store.add(new(0)).unwrap();
    let file = dir.join("generations/0001/state.json");
    assert_eq!(store.state(n).unwrap().token.unwrap().reveal(), TOKEN);
    assert_eq!(disk(&store).slot(n).unwrap().token_ends, Some(ISSUED + 3600));
    // A second name on the old file, to look at its bytes after it was replaced.
    let old = dir.join("generations/0001/.tmp-old");
    std::fs::rename(&file, &old).unwrap();
    std::fs::copy(&old, &file).unwrap();
    let open_old = std::fs::File::open(&file).unwrap();
    store.record(Record::Registered(n)).unwrap();
    let state = store.state(n).unwrap();
    assert_eq!((state.stage, state.token, state.token_ends), (Stage::Registered, None, None));
    assert!(!std::fs::read_to_string(&file).unwrap().contains(TOKEN));
    let replaced = std::io::read_to_string(open_old).unwrap();
    assert!(!replaced.contains(TOKEN) && !replaced.is_empty(), "the replaced file still held the token");
}

#[test]
fn nothing_secret_is_in_debug_output() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    let new = new(0);
    let shown = format!("{new:?}");
    let n = store.add(new).unwrap();
    let shown = format!("{shown} {:?} {:?} {store:?}", store.state(n).unwrap(), store.pair(n).unwrap());
    assert!(!shown.contains(TOKEN) && !shown.contains("PRIVATE KEY"), "{shown}");
}

#[test]
fn a_pair_that_does_not_match_is_not_taken() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    let mut bad = new(0);
    bad.pair.key = Zeroizing::new(pem(1).1.clone());
    assert!(matches!(store.add(bad), Err(StoreError::BadPair(_))));
    assert_eq!(disk(&store).slots, []);
}

#[test]
fn a_number_is_never_used_twice_even_after_removal_and_loss_of_the_book() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    assert_eq!(store.add(new(0)).unwrap(), 1);
    assert_eq!(store.add(new(1)).unwrap(), 2);
    store.remove(2).unwrap();
    assert_eq!(store.add(new(1)).unwrap(), 3);
    store.remove(3).unwrap();
    store.remove(1).unwrap();
    store.append_history(entry(3)).unwrap();
    std::fs::remove_file(dir.join("retire.json")).unwrap();
    assert_eq!(store.add(new(1)).unwrap(), 4);
}

#[test]
fn only_a_whole_and_proved_generation_becomes_current() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    let n = store.add(new(0)).unwrap();
    assert!(matches!(store.switch(9), Err(StoreError::NoSuchGeneration { generation: 9 })));
    assert!(matches!(store.switch(n), Err(StoreError::NotProved { .. })));
    store.record(Record::Proved(n)).unwrap();
    scribble(&dir.join("generations/0001/device.key.pem"), pem(1).1.as_bytes());
    assert!(matches!(store.switch(n), Err(StoreError::NotWhole { .. })));
    assert_eq!(disk(&store).current, Current::Absent);
    scribble(&dir.join("generations/0001/device.key.pem"), pem(0).1.as_bytes());
    store.switch(n).unwrap();
    store.switch(n).unwrap();
    assert_eq!(disk(&store).current, Current::Names(n));
}

#[test]
fn the_generation_in_use_is_neither_written_nor_removed() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    let n = in_use(&store, 0);
    let file = dir.join("generations/0001/state.json");
    let before = std::fs::read(&file).unwrap();
    assert!(matches!(store.remove(n), Err(StoreError::InUse { .. })));
    assert!(matches!(store.record(Record::Registering(n)), Err(StoreError::InUse { .. })));
    store.record(Record::Proved(n)).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn settled_marks_the_older_ones_retired_and_ends_the_wait_for_its_own_commit_only() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    let (a, b) = (in_use(&store, 0), in_use(&store, 1));
    let c = proved(&store, 2);
    assert_eq!(disk(&store).pending, Some(b));
    store.record(Record::Settled(a)).unwrap();
    assert_eq!(disk(&store).pending, Some(b));
    store.record(Record::Committing(ISSUED + 50)).unwrap();
    store.record(Record::Settled(b)).unwrap();
    let disk = disk(&store);
    assert_eq!((disk.pending, disk.committed_at), (None, Some(ISSUED + 50)));
    let marks: Vec<_> = disk.slots.iter().map(|s| (s.generation, s.mark)).collect();
    assert_eq!(marks, [(a, Mark::Retired), (b, Mark::Clear), (c, Mark::Clear)]);
}

#[test]
fn rule_19_marks_outlive_a_restart_and_go_with_their_generation() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    let (a, b) = (in_use(&store, 0), proved(&store, 1));
    store.record(Record::Marked(b, Mark::Refused)).unwrap();
    store.record(Record::Marked(77, Mark::Refused)).unwrap();
    drop(store);
    let store = open(&dir);
    assert_eq!(disk(&store).slot(b).unwrap().mark, Mark::Refused);
    store.record(Record::Marked(b, Mark::Clear)).unwrap();
    assert_eq!(disk(&store).slot(b).unwrap().mark, Mark::Clear);
    store.record(Record::Marked(b, Mark::Retired)).unwrap();
    store.record(Record::Pending(b, 1_800_000_000)).unwrap();
    store.remove(b).unwrap();
    store.remove(b).unwrap();
    let book = std::fs::read_to_string(dir.join("retire.json")).unwrap();
    assert!(!book.contains("retired") && !book.contains("77") && !book.contains("pending"), "{book}");
    assert_eq!(disk(&store).slots.len(), 1);
    assert_eq!(disk(&store).current, Current::Names(a));
}

#[test]
fn the_key_of_a_removed_generation_is_overwritten_before_it_is_unlinked() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    let n = proved(&store, 0);
    let key = std::fs::File::open(dir.join("generations/0001/device.key.pem")).unwrap();
    store.remove(n).unwrap();
    let left = std::io::read_to_string(key).unwrap();
    assert!(left.bytes().all(|b| b == 0) && !left.is_empty());
    assert_eq!(std::fs::read_dir(dir.join("generations")).unwrap().count(), 0);
    assert!(!dir.join("trash-1").exists());
}

#[test]
fn rule_26_the_last_time_saved_is_the_one_that_the_kernel_vouched_for_alone() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    store.add(new(3)).unwrap();
    store.record(Record::Committing(ISSUED + 20)).unwrap();
    store.record(Record::Worked(ISSUED + 10, false)).unwrap();
    let saved = |store| (disk(store).worked_at, disk(store).saved_at);
    assert_eq!(saved(&store), (Some(ISSUED + 10), None));
    store.record(Record::Worked(ISSUED + 20, true)).unwrap();
    assert_eq!(saved(&store), (Some(ISSUED + 20), Some(ISSUED + 20)));
    store.record(Record::Worked(ISSUED + 30, false)).unwrap();
    assert_eq!(saved(&store), (Some(ISSUED + 30), Some(ISSUED + 20)));
    // Back too: what was saved under a clock that was wrong does not stay.
    store.record(Record::Worked(ISSUED + 5, true)).unwrap();
    assert_eq!(saved(&store), (Some(ISSUED + 5), Some(ISSUED + 5)));
}

#[test]
fn a_store_that_moved_to_another_board_is_foreign_until_it_is_adopted() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    in_use(&store, 0);
    drop(store);
    // The disk took /etc/machine-id along; the board did not come with it.
    let there = Machine { board: Some([9; 32]), ..HERE };
    let store = Store::open(&dir, there).unwrap().0;
    assert!(disk(&store).foreign);
    store.record(Record::Worked(ISSUED, true)).unwrap();
    store.set_serial("SN-0001", "SN-0001").unwrap();
    assert!(disk(&store).foreign, "writing the book must not adopt");
    store.record(Record::Adopted).unwrap();
    assert!(!disk(&store).foreign);
    drop(store);
    assert!(disk(&open(&dir)).foreign);
}

#[test]
fn a_machine_that_hides_its_board_or_renews_its_machine_id_is_still_the_same() {
    let (_above, dir) = fresh();
    in_use(&open(&dir), 0);
    for same in
        [Machine { board: None, ..HERE }, Machine { system: Some([7; 32]), ..HERE }, Machine::default()]
    {
        assert!(!disk(&Store::open(&dir, same).unwrap().0).foreign, "{same:?}");
    }
    let other = Machine { system: Some([7; 32]), board: None };
    assert!(disk(&Store::open(&dir, other).unwrap().0).foreign);
}

#[test]
fn machine_ids_are_read_hashed_and_blank_ones_are_none() {
    let root = tempfile::tempdir().unwrap();
    assert!(Machine::read_below(root.path()).is_unknown());
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    std::fs::create_dir_all(root.path().join("sys/class/dmi/id")).unwrap();
    scribble(&root.path().join("etc/machine-id"), b"0123abcd\n");
    scribble(&root.path().join("sys/class/dmi/id/product_uuid"), b"00000000-0000-0000-0000-000000000000\n");
    let read = Machine::read_below(root.path());
    assert_eq!((read.system, read.board), (Some(crate::x509::sha256(b"certrotd machine-id 0123abcd")), None));
    scribble(&root.path().join("sys/class/dmi/id/product_uuid"), b"4C4C4544-0001\n");
    assert!(Machine::read_below(root.path()).board.is_some());
}

#[test]
fn the_serial_is_kept_and_known_from_then_on() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    assert!(store.inspect(true).unwrap().0.serial_known);
    store.set_serial("SN-7", "thing-7").unwrap();
    assert!(disk(&store).serial_known);
    drop(store);
    let device = open(&dir).device().unwrap();
    assert_eq!((device.serial.as_deref(), device.thing.as_deref()), (Some("SN-7"), Some("thing-7")));
}

#[test]
fn the_history_keeps_the_last_fifty() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    (1..=53).for_each(|n| store.append_history(entry(n)).unwrap());
    let history = store.history().unwrap();
    assert_eq!(history.len(), HISTORY_LENGTH);
    assert_eq!((history[0].clone(), history[49].clone()), (entry(4), entry(53)));
}

#[test]
fn room_is_tried_by_a_file_that_does_not_stay() {
    let (_above, dir) = fresh();
    let store = open(&dir);
    let space = store.probe_space().unwrap();
    assert!(space.free_bytes > 0 && space.is_enough());
    assert!(!Space { free_bytes: 1 << 30, free_files: Some(0) }.is_enough());
    assert!(!Space { free_bytes: 100, free_files: None }.is_enough());
    assert_eq!(findings(&store), []);
    power::cut_after(1, nix::errno::Errno::ENOSPC);
    let full = store.probe_space().unwrap_err();
    power::restore();
    assert!(full.is_full() && full.remedy().contains("free space"), "{full}: {}", full.remedy());
}
