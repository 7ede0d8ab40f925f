//! The memory of the daemon after a rotation: the old key is gone from every writable mapping, but for what a library
//! keeps.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};

use crate::secret::{Secret, count};
use crate::support::Device;

/// What a library keeps of a key that is no longer used: the form, at most how often, and why it is not ours to wipe.
///
/// Empty since `certrotd` wipes each block that is freed. Without its allocator it would be ring: 2 copies of the
/// scalar in Montgomery form, in the memory of ended key pairs (one that signed the CSR, one of the session), which
/// ring does not wipe.
const KEPT: &[(&str, usize, &str)] = &[];

#[test]
fn the_old_key_leaves_the_memory_after_rotation_retirement_and_removal() {
    let device = Device::new().toml("[retire]\nkeep-generations = 1").start();
    device.wait_steady(1);
    let old = Secret::read(&device.generation_dir(1));
    let before = memory(device.pid());
    let in_use =
        |m: &[Vec<u8>], s: &Secret, form: &str| found(m, s).iter().any(|(f, n)| *f == form && *n > 0);
    assert!(
        in_use(&before, &old, "scalar in Montgomery form"),
        "the search does not find even the key in use"
    );

    for generation in 2..=3 {
        let done = device.ctl(&["rotate-now", "--wait"]);
        assert_eq!(done.status.code(), Some(0), "{}", device.log());
        device.wait_steady(generation);
        device.wait_until("the old generation is removed", || device.generations() == [generation]);
        let after = memory(device.pid());
        let left = found(&after, &old);
        eprintln!("after generation {generation}: {left:?}");
        for (form, times) in left {
            let kept = KEPT.iter().find(|(f, _, _)| *f == form).map_or(0, |(_, most, _)| *most);
            assert!(
                times <= kept,
                "the old key as {form} is {times} times in the daemon's memory, {kept} allowed"
            );
        }
        let now = Secret::read(&device.generation_dir(generation));
        assert!(in_use(&after, &now, "scalar in Montgomery form"), "the search does not find the key in use");
        eprintln!("the key in use: {:?}", found(&after, &now));
    }
    device.finish();
}

/// How often each form is there.
fn found(memory: &[Vec<u8>], secret: &Secret) -> Vec<(&'static str, usize)> {
    let times = |needle: &[u8]| memory.iter().map(|m| count(m, needle)).sum();
    secret.forms().iter().map(|(name, needle)| (*name, times(needle))).filter(|(_, n)| *n > 0).collect()
}

/// Every writable mapping of a process.
fn memory(pid: u32) -> Vec<Vec<u8>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("/proc");
    let mut file = File::open(format!("/proc/{pid}/mem")).expect("the memory of a child process can be read");
    let mut mappings = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        let Some((from, to)) = range.split_once('-') else { continue };
        let at = |text| u64::from_str_radix(text, 16).expect("an address");
        if !rights.starts_with("rw") || line.ends_with("[vvar]") {
            continue;
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(at(from))).expect("an address");
        // A mapping may be shorter than it says (beyond the end of a file): what can be read is read.
        let _ended = (&mut file).take(at(to) - at(from)).read_to_end(&mut bytes);
        mappings.push(bytes);
    }
    assert!(mappings.iter().map(Vec::len).sum::<usize>() > 100_000, "hardly any memory was read");
    mappings
}
