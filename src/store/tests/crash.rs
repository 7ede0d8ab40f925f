//! The power is cut at every step of every change, and every step is refused: old or new is there, never a mixture.

use nix::errno::Errno;

use super::*;
use crate::rotation::identity::{Current, Mark};

type Change = fn(&Store) -> Result<()>;

/// Every change that the store can make, on a store with 1 retired, 2 in use, 3 proved and 4 issued.
const CHANGES: [(&str, Change); 15] = [
    ("add", |s| s.add(new(0)).map(drop)),
    ("registering", |s| s.record(Record::Registering(4))),
    ("rejected", |s| s.record(Record::Rejected(4))),
    ("registered", |s| s.record(Record::Registered(4))),
    ("proved", |s| s.record(Record::Proved(4))),
    ("marked", |s| s.record(Record::Marked(3, Mark::Refused))),
    ("pending", |s| s.record(Record::Pending(3, 1_800_000_000))),
    ("committing", |s| s.record(Record::Committing(ISSUED + 99))),
    ("settled", |s| s.record(Record::Settled(3))),
    ("worked", |s| s.record(Record::Worked(ISSUED + 77, true))),
    ("switch", |s| s.switch(3)),
    ("switch back", |s| s.switch(1)),
    ("remove", |s| s.remove(1)),
    ("serial", |s| s.set_serial("SN-2", "SN-2")),
    ("history", |s| s.append_history(entry(9))),
];

fn prepared() -> (TempDir, PathBuf) {
    let (above, dir) = fresh();
    let store = open(&dir);
    in_use(&store, 0);
    in_use(&store, 1);
    store.record(Record::Settled(2)).unwrap();
    proved(&store, 2);
    store.add(new(3)).unwrap();
    store.record(Record::Registering(4)).unwrap();
    (above, dir)
}

/// What a change may leave: the disk without numbers that a repeat may spend, 4's state, the serial, the history.
type Picture = (Disk, State, Option<String>, usize);

fn picture(store: &Store) -> Picture {
    let mut disk = disk(store);
    if let Some(last) = disk.slots.get_mut(4) {
        last.generation = 5;
    }
    (disk, store.state(4).unwrap(), store.device().unwrap().serial, store.history().unwrap().len())
}

fn current_is_whole(store: &Store, at: &str) {
    let Current::Names(n) = disk(store).current else { panic!("{at}: current is lost") };
    store.pair(n).unwrap_or_else(|e| panic!("{at}: {e}"));
    assert!(disk(store).current().is_some(), "{at}");
}

/// Runs each change, failing from the k-th step on, for every k; `restart` opens the store anew before looking.
fn fails_at_every_step(errno: Errno, restart: bool) {
    for (name, change) in CHANGES {
        let (_above, dir) = prepared();
        let store = open(&dir);
        let old = picture(&store);
        change(&store).unwrap();
        let new = picture(&store);
        assert_ne!(old, new, "{name} changes nothing, so it shows nothing");
        let mut cuts = 0;
        loop {
            let at = format!("{name}, cut after {cuts} steps");
            let (_above, dir) = prepared();
            let mut store = open(&dir);
            power::cut_after(cuts, errno);
            let result = change(&store);
            let was_cut = power::restore();
            if restart {
                drop(store);
                store = open(&dir);
            }
            let now = picture(&store);
            assert!(now == old || now == new, "{at}: {now:?}");
            assert!(result.is_err() || now == new, "{at}: Ok, and not done");
            current_is_whole(&store, &at);
            let left = findings(&store);
            assert!(left.iter().all(|f| !f.is_damage()), "{at}: {left:?}");
            change(&store).unwrap_or_else(|e| panic!("{at}: the repeat fails: {e}"));
            let again = picture(&store);
            // What counts or adds does so again when its failure came after the fact; all else lands where it should.
            if !["add", "history", "registering"].contains(&name) || now == old {
                assert_eq!(again, new, "{at}: the repeat");
            }
            drop(store);
            let names =
                std::fs::read_dir(&dir).unwrap().chain(std::fs::read_dir(dir.join("generations")).unwrap());
            let swept = open(&dir);
            let names: Vec<_> = names.map(|n| n.unwrap().file_name().into_string().unwrap()).collect();
            assert!(
                !restart || names.iter().all(|n| !n.starts_with(".tmp") && !n.starts_with("trash")),
                "{names:?}"
            );
            drop(swept);
            if !was_cut {
                break;
            }
            cuts += 1;
        }
        assert!(cuts >= 3, "{name}: {cuts} steps are too few to be durable");
    }
}

#[test]
fn a_power_cut_at_any_step_leaves_old_or_new_and_a_whole_current() {
    fails_at_every_step(Errno::EIO, true);
}

#[test]
fn a_full_disk_at_any_step_leaves_old_or_new_and_the_running_store_goes_on() {
    fails_at_every_step(Errno::ENOSPC, false);
}

#[test]
fn a_generation_that_did_not_fit_leaves_no_key_behind_in_the_running_store() {
    let mut refused = 0;
    for step in 0..30 {
        let (_above, dir) = prepared();
        let store = open(&dir);
        power::fail_once_after(step, Errno::ENOSPC);
        let added = store.add(new(0));
        power::restore();
        refused += u32::from(added.is_err());
        let names = std::fs::read_dir(dir.join("generations")).unwrap();
        let half = names.filter(|n| n.as_ref().unwrap().file_name().to_string_lossy().starts_with(".tmp"));
        assert_eq!(half.count(), 0, "refused at step {step}");
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn refusals_of_the_system_name_path_and_remedy() {
    let (_above, dir) = prepared();
    let store = open(&dir);
    let why = [
        (Errno::ENOSPC, "free space"),
        (Errno::EROFS, "read-only"),
        (Errno::EIO, "fsck"),
        (Errno::EACCES, "own"),
    ];
    for (errno, remedy) in why {
        power::cut_after(0, errno);
        let refused = store.record(Record::Worked(1, true)).unwrap_err();
        power::restore();
        assert!(refused.to_string().contains("device.json"), "{refused}");
        assert!(refused.remedy().contains(remedy), "{errno}: {}", refused.remedy());
        assert!(std::error::Error::source(&refused).is_some());
    }
}

#[test]
fn a_generation_is_synced_before_it_gets_its_name_and_its_parent_after() {
    let (_above, dir) = prepared();
    let store = open(&dir);
    power::trace();
    store.add(new(0)).unwrap();
    let trace = power::trace();
    let from = trace.iter().position(|s| s == "mkdir .tmp-0005").unwrap();
    assert_eq!(
        trace[from..],
        [
            "mkdir .tmp-0005",
            "create device.key.pem",
            "write device.key.pem",
            "fsync device.key.pem",
            "create device.cert.pem",
            "write device.cert.pem",
            "fsync device.cert.pem",
            "create state.json",
            "write state.json",
            "fsync state.json",
            "fsync-dir .tmp-0005",
            "rename 0005",
            "fsync-dir generations",
        ]
    );
    // The number is spent, durably, before that.
    let spent = trace.iter().position(|s| s == "rename retire.json").unwrap();
    assert!(spent < from && trace[spent + 1] == "fsync-dir store");
}

#[test]
fn the_switch_is_one_rename_and_a_sync() {
    let (_above, dir) = prepared();
    let store = open(&dir);
    power::trace();
    store.switch(3).unwrap();
    assert_eq!(power::trace(), ["symlink .tmp-current", "rename current", "fsync-dir store"]);
}

#[test]
fn a_book_is_replaced_whole() {
    let (_above, dir) = prepared();
    let store = open(&dir);
    power::trace();
    store.record(Record::Committing(1)).unwrap();
    let new = "retire.json";
    let steps = [format!("create .tmp-{new}"), format!("write .tmp-{new}"), format!("fsync .tmp-{new}")];
    let rest = [format!("rename {new}"), "fsync-dir store".to_owned()];
    assert_eq!(power::trace(), [&steps[..], &rest[..]].concat());
}

#[test]
fn what_could_not_be_synced_is_synced_by_the_repeat_and_by_inspect() {
    let (_above, dir) = prepared();
    let store = open(&dir);
    // The rename passes, the sync of the directory does not.
    power::cut_after(2, Errno::EIO);
    assert!(store.switch(3).is_err());
    power::restore();
    power::trace();
    store.switch(3).unwrap();
    assert_eq!(power::trace(), ["fsync-dir store"]);
    store.inspect(false).unwrap();
    assert_eq!(power::trace(), ["fsync-dir store", "fsync-dir generations"]);
}

#[test]
fn a_cut_in_the_first_start_leaves_a_store_that_opens() {
    for cuts in 0..6 {
        let (_above, dir) = fresh();
        power::cut_after(cuts, Errno::EIO);
        let first = Store::open(&dir, HERE);
        let was_cut = power::restore();
        assert_eq!(first.is_err(), was_cut, "{cuts}");
        drop(first);
        assert_eq!(disk(&open(&dir)).current, Current::Absent);
    }
}

#[test]
fn a_temporary_file_has_a_name_of_its_own_and_goes_by_itself_when_the_write_fails() {
    let (_above, dir) = prepared();
    // A power cut has left one, and somebody a trap under the name that is easy to guess.
    scribble(&dir.join(".tmp-device.json-abcdef"), b"half");
    let store = open(&dir);
    let left = || {
        let names = std::fs::read_dir(&dir).unwrap().map(|n| n.unwrap().file_name().into_string().unwrap());
        names.filter(|n| n.starts_with(".tmp-")).collect::<Vec<_>>()
    };
    assert!(left().is_empty(), "swept at start: {:?}", left());
    symlink(dir.join("retire.json"), dir.join(".tmp-device.json")).unwrap();
    let retire = std::fs::read(dir.join("retire.json")).unwrap();
    store.record(Record::Worked(1, true)).unwrap();
    assert_eq!(std::fs::read(dir.join("retire.json")).unwrap(), retire, "nothing is written through a link");
    assert_eq!(left(), [".tmp-device.json"], "what is not ours to name is left until the next start");
    assert_eq!(mode(&dir.join("device.json")), 0o600);
    // Whatever fails, the running store is left as it was.
    for step in 0..4 {
        power::fail_once_after(step, Errno::ENOSPC);
        assert!(store.record(Record::Worked(2, true)).is_err(), "step {step}");
        power::restore();
        assert_eq!(left(), [".tmp-device.json"], "refused at step {step}");
    }
    drop(store);
    open(&dir);
    assert!(left().is_empty());
}
