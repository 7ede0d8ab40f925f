//! Damaged stores (rule 21): told, judged by the safe side, never deleted, never fatal.

use super::*;
use crate::rotation::identity::{Asked, Current, Stage};

/// A store with 1 proved and 2 in use.
fn two() -> (TempDir, PathBuf, Store) {
    let (above, dir) = fresh();
    let store = open(&dir);
    in_use(&store, 0);
    in_use(&store, 1);
    (above, dir, store)
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|n| n.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Asserts that only generation 2 is not whole, and that `inspect` told so by exactly this finding.
fn broken(store: &Store, is: impl Fn(&Finding) -> bool) {
    let (disk, findings) = store.inspect(false).unwrap();
    assert_eq!(disk.current, Current::Names(2));
    assert_eq!(disk.current(), None);
    assert_eq!(disk.slots.iter().map(|s| s.is_whole()).collect::<Vec<_>>(), [true, false]);
    assert!(matches!(store.pair(2), Err(StoreError::NotWhole { generation: 2, .. })));
    assert_eq!(findings.iter().filter(|f| is(f)).count(), 1, "{findings:?}");
    assert_eq!(findings.iter().filter(|f| f.is_damage()).count(), 1, "{findings:?}");
}

#[test]
fn a_missing_key_or_certificate_breaks_its_pair_only() {
    for file in ["device.key.pem", "device.cert.pem"] {
        let (_above, dir, store) = two();
        let path = dir.join("generations/0002").join(file);
        std::fs::remove_file(&path).unwrap();
        broken(&store, |f| *f == Finding::Missing { path: path.clone() });
    }
}

#[test]
fn an_empty_key_or_certificate_breaks_its_pair_only() {
    for file in ["device.key.pem", "device.cert.pem"] {
        let (_above, dir, store) = two();
        let path = dir.join("generations/0002").join(file);
        scribble(&path, b"");
        broken(&store, |f| *f == Finding::Empty { path: path.clone() });
    }
}

#[test]
fn garbage_half_files_and_huge_files_break_their_pair_only() {
    for bytes in [&b"\xff\xfe"[..], b"-----BEGIN CERTIFICATE-----\nAAAA", &[b'x'; 100_000], b"words"] {
        for file in ["device.key.pem", "device.cert.pem"] {
            let (_above, dir, store) = two();
            scribble(&dir.join("generations/0002").join(file), bytes);
            broken(&store, |f| matches!(f, Finding::Garbage { .. }));
        }
    }
}

#[test]
fn a_key_of_another_certificate_breaks_the_pair() {
    let (_above, dir, store) = two();
    scribble(&dir.join("generations/0002/device.key.pem"), pem(0).1.as_bytes());
    broken(&store, |f| *f == Finding::Mismatch { path: dir.join("generations/0002") });
}

#[test]
fn storage_that_cannot_give_a_file_back_breaks_what_it_holds_and_not_the_store() {
    let (_above, _dir, store) = two();
    power::break_file(Some("device.key.pem"));
    let (disk, findings) = store.inspect(false).unwrap();
    power::break_file(None);
    assert!(disk.slots.iter().all(|s| !s.is_whole()));
    assert_eq!(findings.iter().filter(|f| matches!(f, Finding::Unreadable { .. })).count(), 2);
    assert!(self::disk(&store).slots.iter().all(|s| s.is_whole()));
}

#[test]
fn a_current_that_leads_nowhere_is_astray_and_is_healed_by_the_switch() {
    let targets =
        ["generations/0009", "generations/2", "/etc", "generations/../generations/0002", "generations/0002/"];
    for target in targets {
        let (_above, dir, store) = two();
        std::fs::remove_file(dir.join("current")).unwrap();
        symlink(target, dir.join("current")).unwrap();
        let (disk, findings) = store.inspect(false).unwrap();
        assert_eq!((disk.current, disk.slots.len()), (Current::Astray, 2), "{target}");
        let how = if target.ends_with('9') { Astray::Dangling } else { Astray::Elsewhere };
        assert!(
            findings.contains(&Finding::CurrentAstray { path: dir.join("current"), how }),
            "{findings:?}"
        );
        store.switch(1).unwrap();
        assert_eq!(self::disk(&store).current, Current::Names(1));
        assert_eq!(self::findings(&store), []);
    }
}

#[test]
fn a_current_that_is_a_file_or_a_directory_is_moved_aside_by_the_switch_and_kept() {
    for directory in [true, false] {
        let (_above, dir, store) = two();
        let current = dir.join("current");
        std::fs::remove_file(&current).unwrap();
        if directory {
            std::fs::create_dir(&current).unwrap();
            scribble(&current.join("precious"), b"x");
        } else {
            scribble(&current, b"precious");
        }
        let (disk, findings) = store.inspect(false).unwrap();
        assert_eq!(disk.current, Current::Astray);
        assert_eq!(findings, [Finding::CurrentAstray { path: current.clone(), how: Astray::NotALink }]);
        store.switch(2).unwrap();
        assert_eq!(self::disk(&store).current, Current::Names(2));
        let kept = dir.join("current.damaged-1");
        assert!(if directory { kept.join("precious").is_file() } else { kept.is_file() });
        assert_eq!(self::findings(&store), [Finding::DamagedKept { path: kept }]);
    }
}

#[test]
fn without_a_usable_state_current_counts_as_proved_and_others_as_perhaps_alive() {
    for bytes in [None, Some(&b""[..]), Some(b"{"), Some(b"{\"stage\":\"flying\"}"), Some(b"\0\0\0\0")] {
        let (_above, dir, store) = two();
        for n in ["0001", "0002"] {
            let path = dir.join("generations").join(n).join("state.json");
            match bytes {
                None => std::fs::remove_file(path).unwrap(),
                Some(bytes) => scribble(&path, bytes),
            }
        }
        let (disk, findings) = store.inspect(false).unwrap();
        let seen: Vec<_> = disk.slots.iter().map(|s| (s.stage, s.asked, s.is_whole())).collect();
        assert_eq!(
            seen,
            [(Stage::Registered, Asked::Unanswered, true), (Stage::Proved, Asked::Unanswered, true)]
        );
        assert_eq!(findings.iter().filter(|f| matches!(f, Finding::StateAssumed { .. })).count(), 2);
        assert!(matches!(store.state(1), Err(StoreError::StateDamaged { .. })));
        // Once it has carried a session it can be switched to; the damaged file is kept.
        assert!(matches!(store.switch(1), Err(StoreError::NotProved { .. })));
        store.record(Record::Proved(1)).unwrap();
        store.switch(1).unwrap();
        assert_eq!(self::disk(&store).current().map(|s| (s.generation, s.stage)), Some((1, Stage::Proved)));
        assert_eq!(dir.join("generations/0001/state.json.damaged-1").exists(), bytes.is_some());
        assert_eq!(store.state(1).unwrap().certificate_id.len(), 64);
    }
}

#[test]
fn what_current_names_counts_as_proved_whatever_its_state_says() {
    let (_above, dir, store) = two();
    let path = dir.join("generations/0002/state.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("proved", "registered");
    scribble(&path, text.as_bytes());
    let (disk, findings) = store.inspect(false).unwrap();
    assert_eq!(disk.current().unwrap().stage, Stage::Proved);
    assert_eq!(findings, [Finding::StateBehind { path }]);
}

#[test]
fn a_certificate_that_was_exchanged_for_its_key_is_told() {
    let (_above, dir, store) = two();
    let key = rcgen::KeyPair::from_pem(&pem(1).1).unwrap();
    let other = rcgen::CertificateParams::new(["other".to_owned()]).unwrap().self_signed(&key).unwrap();
    scribble(&dir.join("generations/0002/device.cert.pem"), other.pem().as_bytes());
    let (disk, findings) = store.inspect(false).unwrap();
    assert!(disk.current().is_some());
    assert_eq!(findings, [Finding::OtherCertificate { path: dir.join("generations/0002/state.json") }]);
}

#[test]
fn damaged_books_are_moved_aside_and_start_anew() {
    for book in ["retire.json", "device.json", "history.json"] {
        for (n, bytes) in [&b""[..], b"[]", b"{\"marks\":7,\"serial\":7,\"entries\":7}", &[b' '; 100_000]]
            .iter()
            .enumerate()
        {
            let (_above, dir, store) = two();
            scribble(&dir.join(book), bytes);
            let (disk, findings) = store.inspect(false).unwrap();
            assert_eq!(disk.current, Current::Names(2), "{book} {n}");
            let kept = dir.join(format!("{book}.damaged-1"));
            assert!(
                findings.contains(&Finding::BookDamaged { path: dir.join(book), kept: Some(kept.clone()) }),
                "{book} {n}: {findings:?}"
            );
            assert_eq!(std::fs::read(&kept).unwrap(), *bytes);
            assert_eq!(self::findings(&store), [Finding::DamagedKept { path: kept }]);
            assert_eq!(store.add(new(2)).unwrap(), 3);
            store.record(Record::Pending(3, 1_800_000_000)).unwrap();
            store.set_serial("a", "b").unwrap();
            store.append_history(entry(1)).unwrap();
            assert_eq!(self::disk(&store).pending, Some(3));
        }
    }
}

#[test]
fn a_wait_for_a_generation_that_is_gone_is_told_and_dropped() {
    let (_above, dir, store) = two();
    std::fs::remove_dir_all(dir.join("generations/0001")).unwrap();
    store.record(Record::Pending(1, 1_800_000_000)).unwrap();
    let (disk, findings) = store.inspect(false).unwrap();
    assert_eq!(disk.pending, None);
    assert_eq!(findings, [Finding::PendingGone { path: dir.join("retire.json"), generation: 1 }]);
}

#[test]
fn foreign_files_are_told_and_left_alone() {
    let (_above, dir, store) = two();
    for name in
        ["notes.txt", "generations/README", "generations/7", "generations/0000", "generations/0002/x.pem"]
    {
        scribble(&dir.join(name), b"x");
    }
    let told = findings(&store);
    assert_eq!(told.iter().filter(|f| matches!(f, Finding::ForeignFile { .. })).count(), 5, "{told:?}");
    drop(store);
    let store = open(&dir);
    assert_eq!(findings(&store), told);
    assert_eq!(files(&dir.join("generations")), ["0000", "0001", "0002", "7", "README"]);
}

#[test]
fn every_finding_names_its_path_and_a_fix() {
    let (_above, dir, store) = two();
    std::fs::remove_file(dir.join("generations/0002/state.json")).unwrap();
    scribble(&dir.join("generations/0001/device.key.pem"), b"secret-bytes");
    scribble(&dir.join("device.json"), b"secret-bytes");
    scribble(&dir.join("stray"), b"secret-bytes");
    let told = findings(&store);
    assert_eq!(told.len(), 5, "{told:?}");
    for finding in told {
        let words = format!("{finding} {}", finding.fix());
        assert!(words.contains(&finding.path().display().to_string()) && !finding.fix().is_empty());
        assert!(!format!("{words} {finding:?}").contains("secret-bytes"));
    }
}
