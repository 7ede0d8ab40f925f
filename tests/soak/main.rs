//! Days of rotations in a short while: messages flow, faults, kills and restarts come at random, and nothing grows.
//!
//! `CERTROT_ROTATIONS` says how many rotations (60), `CERTROT_SEED` which dice. First without a restart, so that one process
//! has to stay flat; then with kills, restarts and clouds that come and go.

#[path = "../support/mod.rs"]
mod support;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use certrot_twin::{Effect, Fault};
use serde_json::json;

use support::matrix::tell;
use support::{Device, nothing_to_do};

#[test]
fn rotations_with_traffic_faults_and_restarts_leave_memory_descriptors_disk_and_certificates_flat() {
    let rotations: u32 = env::var("CERTROT_ROTATIONS").map_or(60, |n| n.parse().expect("a number"));
    let seed: u64 = env::var("CERTROT_SEED").map_or(1, |n| n.parse().expect("a number"));
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut device = Device::new()
        .rate(60)
        .toml("[rotation]\nsplay = \"0s\"\n[messages]\npublish = [\"device/SN-0001/app/#\"]")
        .allow_errors(&[""])
        .start();
    device.wait_steady(1);

    // One process: what it holds after a tenth is what it may hold at the end.
    let half = rotations / 2;
    let mut generation = rounds(&mut device, &mut dice, 1, 1 + half / 10, &[]);
    let before = Held::by(&device);
    generation = rounds(&mut device, &mut dice, generation, 1 + half, &[]);
    let after = Held::by(&device);
    tell(&format!("{generation} generations, one process: {before:?}, at the end {after:?}"));
    assert_eq!(after.descriptors, before.descriptors, "descriptors");
    assert_eq!(after.files, before.files, "files of the store");
    assert!(after.resident_kib < before.resident_kib + GROWTH_KIB, "memory: {before:?}, {after:?}");

    // The same with everything that ends a process or a cloud.
    let ends = [End::Kill, End::Terminate, End::Cloud, End::Cut];
    generation = rounds(&mut device, &mut dice, generation, 1 + rotations, &ends);
    let restarted = Held::by(&device);
    tell(&format!("{generation} generations, with restarts: {restarted:?}"));
    assert_eq!(restarted.files, before.files, "files of the store");
    let active: Vec<String> = device.active().into_iter().map(|c| c.id).collect();
    assert_eq!(active, [device.certificate_id()]);
    device.finish();
}

/// Rotates until that generation is in use; what goes wrong on the way is thrown by dice.
fn rounds(device: &mut Device, dice: &mut Dice, from: u32, to: u32, ends: &[End]) -> u32 {
    let mut generation = from;
    let mut rounds = 0;
    let published = AtomicU64::new(0);
    while generation < to {
        rounds += 1;
        assert!(rounds < 20 * (to - from), "it rotates no more: generation {generation}\n{}", device.log());
        if let Some(fault) = dice.fault() {
            device.twin().fault(fault);
        }
        let over = AtomicBool::new(false);
        scope(|scope| {
            let one: &Device = device;
            let _ordered = one.request("POST", "/v1/rotate", Some(&json!({})));
            let (socket, over, published) = (one.socket(), &over, &published);
            let flow = scope.spawn(move || talk(&socket, over, published));
            sleep(Duration::from_millis(dice.below(40)));
            if ends.is_empty() {
                one.wait_for("the rotation is over", nothing_to_do);
            }
            over.store(true, Ordering::Relaxed);
            flow.join().unwrap();
        });
        if !ends.is_empty() {
            match ends[usize::try_from(dice.below(4)).unwrap()] {
                End::Kill => {
                    device.kill9();
                    device.current_is_whole();
                    device.start();
                }
                End::Terminate => {
                    assert!(device.terminate().success(), "{}", device.log());
                    device.start();
                }
                End::Cloud if dice.below(4) == 0 => {
                    device.stop_twin();
                    sleep(Duration::from_millis(dice.below(200)));
                    device.start_twin();
                }
                End::Cut if dice.below(6) == 0 => device.twin().kick(device.thing()),
                End::Cloud | End::Cut => {}
            }
        }
        let status = device.wait_for("an identity in use and nothing to do", nothing_to_do);
        device.twin().clear_faults();
        generation = u32::try_from(status["certificate"]["generation"].as_u64().unwrap()).unwrap();
        assert_eq!(device.active().len(), 1, "{}", device.story());
    }
    tell(&format!(
        "  {rounds} orders to generation {generation}, {} messages acknowledged meanwhile",
        published.into_inner()
    ));
    generation
}

/// An application's messages.
fn talk(socket: &Path, over: &AtomicBool, published: &AtomicU64) {
    let body = json!({"topic": "device/SN-0001/app/soak", "payload": "x".repeat(200), "timeoutSeconds": 5});
    while !over.load(Ordering::Relaxed) {
        if support::request(socket, "POST", "/v1/publish", Some(&body)).is_ok_and(|(status, _)| status == 200)
        {
            published.fetch_add(1, Ordering::Relaxed);
        }
        sleep(Duration::from_millis(10));
    }
}

/// What ends a process, a cloud or a connection.
#[derive(Clone, Copy, Debug)]
enum End {
    Kill,
    Terminate,
    Cloud,
    Cut,
}

/// What the daemon holds when nothing is to do.
#[derive(Clone, Copy, Debug)]
struct Held {
    resident_kib: u64,
    descriptors: usize,
    files: usize,
}

impl Held {
    fn by(device: &Device) -> Held {
        sleep(Duration::from_secs(1));
        let process = PathBuf::from(format!("/proc/{}", device.pid()));
        let status = fs::read_to_string(process.join("status")).unwrap();
        let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        Held {
            resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
            descriptors: fs::read_dir(process.join("fd")).unwrap().count(),
            files: files(&device.store()),
        }
    }
}

fn files(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|e| if e.file_type().unwrap().is_dir() { 1 + files(&e.path()) } else { 1 }).sum()
}

/// Marsaglia's xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// Nothing goes wrong in half of all rounds.
    fn fault(&mut self) -> Option<Fault> {
        if self.below(2) == 0 {
            return None;
        }
        let on = ["create-from-csr", "register", "commit", "connect", "subscribe"];
        let on = on[usize::try_from(self.below(5)).unwrap()];
        let refuse = Effect::Refuse { status_code: 500, error_code: "InternalError".to_owned() };
        let requests =
            [refuse, Effect::Throttle, Effect::Ignore, Effect::Drop, Effect::Twice, Effect::CloseUnanswered];
        let effect = match on {
            "connect" | "subscribe" => Effect::CloseBefore,
            _ => requests[usize::try_from(self.below(6)).unwrap()].clone(),
        };
        Some(Fault::once(on, effect))
    }
}

/// The resident memory of a debug build, KiB: an allocator's noise, not a leak of 2,000 rotations.
const GROWTH_KIB: u64 = 1_024;
