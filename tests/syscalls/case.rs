//! One case: a device, a call of its daemon, and what happens there; then what must be true.

use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::thread::sleep;
use std::time::{Duration, Instant};

use certrot_twin::Event;
use serde_json::json;

use crate::disk::{Disk, Lost};
use crate::support::matrix::{End, Scene};
use crate::support::{Device, PATIENCE, nothing_to_do};
use crate::trace::{Calls, Point, strace};

/// What happens at the call.
#[derive(Clone, Copy, Debug)]
pub enum Injection {
    /// SIGKILL instead of the call.
    Kill,
    /// The power goes instead of the call, and so much of what was not synced goes with it.
    Cut(Lost),
    /// This error instead of the call.
    Error(&'static str),
}

impl Injection {
    /// A disk that forgets, in its two ways.
    pub const CUTS: [Injection; 2] = [Injection::Cut(Lost::Everything), Injection::Cut(Lost::Bytes)];

    /// The errors of a disk, of a limit and of a right.
    pub const ERRORS: [Injection; 5] = [
        Injection::Error("ENOSPC"),
        Injection::Error("EIO"),
        Injection::Error("EROFS"),
        Injection::Error("EMFILE"),
        Injection::Error("EACCES"),
    ];
}

/// One case of the matrix.
#[derive(Clone, Debug)]
pub struct Case {
    /// What the daemon does.
    pub scene: Scene,
    /// What happens.
    pub injection: Injection,
    /// Where.
    pub point: Point,
}

impl Case {
    /// Runs it; panics where a promise is broken.
    pub fn run(&self) -> End {
        let mut device = prepared(self.scene);
        let trace = device.dir().join("strace.txt");
        let what = match self.injection {
            Injection::Kill | Injection::Cut(_) => "signal=SIGKILL".to_owned(),
            Injection::Error(error) => format!("error={error}"),
        };
        let injection = format!("{}:{what}:when={}", self.point.call, self.point.nth);
        let mut disk = Disk::read(&device.store());
        device.launch_under(strace(&trace, Some(injection)));
        drive(self.scene, &mut device, &trace);
        device.current_is_whole();
        let killed = stopped(&mut device);
        let traced = fs::read_to_string(&trace).unwrap_or_default();
        let met = match self.injection {
            Injection::Kill | Injection::Cut(_) => killed.is_some_and(|status| status.signal() == Some(9)),
            Injection::Error(_) => traced.contains("(INJECTED)"),
        };
        device.current_is_whole();
        if let Injection::Cut(lost) = self.injection {
            disk.replay(&traced);
            let real = Disk::read(&device.store()).after(Lost::Nothing);
            assert_eq!(disk.after(Lost::Nothing), real, "the model is not what the disk is\n{traced}");
            disk.lay(lost);
            device.current_is_whole();
        }
        if matches!(self.injection, Injection::Error(_)) {
            // Libraries take some errors that no kernel gives there for their end; a manager starts the daemon again.
            // Never our own code: its paths are relative.
            device.allow_panics_of(&["/registry/", "/rustc/"]);
        }
        recovers(device);
        if met { End::Injected } else { End::NotMet }
    }
}

/// Ends it as a manager does: again where the signal was lost (an error in the signal handler's own call).
fn stopped(device: &mut Device) -> Option<ExitStatus> {
    let mut told = 0;
    while device.is_running() {
        if told % 50 == 0 {
            device.signal("TERM");
        }
        assert!(told < 500, "it does not end\n{}", device.log());
        told += 1;
        sleep(LOOK);
    }
    device.ended()
}

/// The calls of a whole run in which nothing happens.
pub fn calls(scene: Scene) -> Calls {
    let mut device = prepared(scene);
    let trace = device.dir().join("strace.txt");
    device.launch_under(strace(&trace, None));
    drive(scene, &mut device, &trace);
    assert_eq!(device.current_generation(), Some(scene.generation()), "{}", device.log());
    assert!(device.terminate().success(), "{}", device.log());
    let calls =
        Calls::parse(&fs::read_to_string(&trace).expect("strace(1) is needed: apt-get install strace"));
    assert!(calls.seen() > 100, "{calls:?}");
    recovers(device);
    calls
}

fn prepared(scene: Scene) -> Device {
    let builder = Device::new().rate(RATE).toml("[rotation]\nsplay = \"0s\"\n").allow_errors(&[""]);
    // A panic of the runtime is told in one line: paths of a backtrace look like keys.
    let builder = builder.env("RUST_BACKTRACE", "0");
    match scene {
        Scene::First => builder.prepare(),
        Scene::Rotation => {
            let mut device = builder.start();
            device.wait_steady(1);
            assert!(device.terminate().success(), "{}", device.log());
            device
        }
    }
}

/// Goes on until the scene is over, or the daemon has ended. Asks the daemon as little as can be: each question is calls.
fn drive(scene: Scene, device: &mut Device, trace: &Path) {
    let since = device.twin().event_count();
    let mut ordered = matches!(scene, Scene::First);
    let end = Instant::now() + PATIENCE;
    while device.is_running() && !over(scene, device) && Instant::now() < end {
        let connected = |e: &Event| matches!(e, Event::Subscribe { .. });
        if !ordered && device.twin().events_since(since).iter().any(|l| connected(&l.event)) {
            ordered = device.request("POST", "/v1/rotate", Some(&json!({}))).is_ok();
        }
        // An error may have ended the order, which is one attempt. Asking changes no count any more.
        let injected = || fs::read_to_string(trace).is_ok_and(|text| text.contains("(INJECTED)"));
        if ordered && injected() && device.try_status().is_some_and(|s| nothing_to_do(&s)) {
            return;
        }
        sleep(LOOK);
    }
}

fn over(scene: Scene, device: &Device) -> bool {
    let settled = device.retire_json().is_some_and(|r| r["settled"] == scene.generation());
    settled && device.current_generation() == Some(scene.generation())
}

/// Started again, as a manager would.
fn recovers(mut device: Device) {
    device.start();
    device.recovers();
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.injection {
            Injection::Kill => "KILL",
            Injection::Cut(Lost::Everything) => "FORGET",
            Injection::Cut(Lost::Bytes) => "NAMES",
            Injection::Cut(Lost::Nothing) => "KEEP",
            Injection::Error(error) => error,
        };
        write!(f, "{}/{what}/{}", self.scene, self.point)
    }
}

/// Fifteen minutes in five seconds.
const RATE: u32 = 180;
/// How often the scene is looked at.
const LOOK: Duration = Duration::from_millis(20);
