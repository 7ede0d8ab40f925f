//! What befalls boxes: signals, no memory, reboots and power cuts at each stage of a rotation, a wrong clock.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::Duration;

use certrot_twin::Effect;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Step;
use crate::lab::{Lab, SERIAL};

/// The steps.
pub const STEPS: &[Step] = &[
    ("a daemon that hangs is found by the watchdog and started again", hangs),
    ("killed in the middle of a rotation, it finishes it", killed),
    ("out of memory, it is started again", out_of_memory),
    ("an abort leaves no core, and its memory is nobody's", no_core),
    ("reboots at each stage of a rotation", rebooted),
    ("power cuts at each stage of a rotation", powerless),
    ("name resolution that lies costs attempts and no identity", lied_to),
    ("with a wrong clock at boot it waits, and goes on when the clock is right", wrong_clock),
];

/// Starts again at once, so that the tests need not wait ten seconds each time.
const SOON: &str = "[Service]\nRestartSec=200ms\n";

fn pid(lab: &Lab) -> Pid {
    Pid::from_raw(lab.container.main_pid("certrotd"))
}

fn restarts(lab: &Lab) -> u32 {
    lab.container.sh("systemctl show -P NRestarts certrotd").trim().parse().expect("a number")
}

/// Waits until it was started again, and is steady.
fn comes_back(lab: &mut Lab, before: u32, generation: u64) {
    lab.container.until(&format!(
        "test $(systemctl show -P NRestarts certrotd) -gt {before} && systemctl is-active certrotd"
    ));
    lab.steady(generation);
}

fn hangs(lab: &mut Lab) {
    let generation = lab.generation();
    lab.drop_in("certrotd.service", "soon", SOON);
    lab.drop_in("certrotd.service", "watchdog", "[Service]\nWatchdogSec=2\nTimeoutAbortSec=2\n");
    lab.container.sh("systemctl restart certrotd");
    lab.steady(generation);
    let before = restarts(lab);
    kill(pid(lab), Signal::SIGSTOP).expect("stopped");
    comes_back(lab, before, generation);
    lab.container.sh("journalctl -u certrotd --no-pager | grep -q 'Watchdog timeout'");
    lab.undo_drop_in("certrotd.service", "watchdog");
    lab.container.sh("systemctl restart certrotd");
    lab.steady(generation);
}

fn killed(lab: &mut Lab) {
    let generation = lab.generation();
    let before = restarts(lab);
    lab.rotate_until("register", Effect::Ignore);
    kill(pid(lab), Signal::SIGKILL).expect("killed");
    lab.twin.clear_faults();
    comes_back(lab, before, generation + 1);
}

/// The kernel's own killer: the daemon in a memory group of this machine that has no room for a rotation.
fn out_of_memory(lab: &mut Lab) {
    let before = restarts(lab);
    let group = MemoryGroup::new();
    let pid = pid(lab);
    group.squeeze(pid);
    lab.container.ran("certrotctl rotate-now");
    let killed = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        kill(pid, None).is_err()
    });
    assert!(killed, "it was not killed: {}", group.told());
    lab.container.until(&format!("test $(systemctl show -P NRestarts certrotd) -gt {before}"));
    let how = lab.container.sh("journalctl -u certrotd --no-pager | grep 'Main process exited' | tail -n 1");
    assert!(how.contains("status=9/KILL"), "{how}");
    goes_on(lab, "an end for want of memory");
}

fn no_core(lab: &mut Lab) {
    let generation = lab.generation();
    let before = restarts(lab);
    let it = &lab.container;
    it.sh("grep -q 'Max core file size  *0  *0 ' /proc/$(systemctl show -P MainPID certrotd)/limits");
    // Not dumpable: not even its own user may look (prctl(2)).
    it.sh("! runuser -u certrotd -- cat /proc/$(systemctl show -P MainPID certrotd)/environ 2>/dev/null");
    it.sh("! runuser -u certrotd -- head -c 1 /proc/$(systemctl show -P MainPID certrotd)/mem 2>/dev/null");
    kill(pid(lab), Signal::SIGABRT).expect("aborted");
    comes_back(lab, before, generation);
    let it = &lab.container;
    it.sh("test -z \"$(find / -xdev -name 'core*' -type f -newer /etc/certrotd/config.toml -not -path '/proc/*' -not -path '/sys/*' | head -3)\"");
    it.sh("journalctl -u certrotd --no-pager | grep 'Main process exited' | tail -n 1 | grep -q 'code=killed, status=6/ABRT'");
}

/// Where a rotation is held: what hangs, and whether `current` has moved by then.
const STAGES: [(&str, bool); 5] = [
    ("create-from-csr", false),
    ("register", false),
    ("connect", false),
    ("subscribe", false),
    ("commit", true),
];

fn rebooted(lab: &mut Lab) {
    for (on, _) in STAGES {
        let generation = lab.generation();
        lab.rotate_until(on, Effect::Delay { ms: 1_000 });
        lab.container.sh("sleep 0.2");
        lab.container.reboot();
        lab.twin.clear_faults();
        goes_on(lab, on);
        assert!(lab.generation() <= generation + 1, "{on}: one new certificate is enough");
    }
}

fn powerless(lab: &mut Lab) {
    for (on, switched) in STAGES {
        let generation = lab.generation();
        lab.rotate_until(on, Effect::Ignore);
        lab.container.cut();
        lab.twin.clear_faults();
        let current = std::fs::read_link(lab.container.at("/var/lib/certrotd/current")).expect("current");
        let moved = current.ends_with(format!("{:04}", generation + 1));
        assert_eq!(moved, switched, "{on}: {}", current.display());
        lab.container.boot();
        goes_on(lab, on);
        assert!(lab.generation() <= generation + 1, "{on}: one new certificate is enough");
    }
}

/// Steady again, with one certificate alive.
fn goes_on(lab: &mut Lab, after: &str) {
    let status = lab.wait(&format!("steady after {after}"), |s| {
        s["state"] == "steady" && s["connected"] == true && s["retire"]["pending"] == false
    });
    lab.steady(status["certificate"]["generation"].as_u64().unwrap_or_default());
}

fn lied_to(lab: &mut Lab) {
    let generation = lab.generation();
    let answers = |lab: &Lab, addresses: &[&str]| {
        let lines: String = addresses.iter().map(|a| format!("{a} localhost\n")).collect();
        lab.container.write("/etc/hosts", &lines);
    };
    // A stranger, who takes what comes and says nothing that he could say only as the cloud.
    let stranger = TcpListener::bind(("127.0.0.9", lab.twin.port())).expect("an address");
    std::thread::spawn(move || {
        for mut caller in stranger.incoming().flatten() {
            let _answered = caller.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        }
    });
    for (address, cause) in [("127.0.0.9", "tls-fault"), ("127.0.0.8", "tcp-refused")] {
        answers(lab, &[address]);
        lab.twin.kick(SERIAL);
        lab.container.ran("certrotctl connect");
        let status = lab.wait(cause, |s| s["connection"]["cause"] == cause);
        assert_eq!(status["connected"], false, "{status:#}");
    }
    // A right answer among wrong ones is found.
    answers(lab, &["127.0.0.8", "127.0.0.1"]);
    lab.container.ran("certrotctl connect");
    lab.steady(generation);
    answers(lab, &["127.0.0.1"]);
}

fn wrong_clock(lab: &mut Lab) {
    let generation = lab.generation();
    let library = faketime();
    std::fs::copy(&library, lab.container.at("/usr/lib/libfaketime.so")).expect("libfaketime");
    lab.container.write("/etc/faketime", "-9000d\n");
    lab.drop_in(
        "certrotd.service",
        "clock",
        "[Service]\nEnvironment=LD_PRELOAD=/usr/lib/libfaketime.so FAKETIME_TIMESTAMP_FILE=/etc/faketime FAKETIME_NO_CACHE=1 \
         FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1\n",
    );
    // Applications that wait for the identity wait with it.
    lab.container.reboot_to_the_middle();
    let status = lab.wait("its doubt", |s| s["state"] == "awaiting-clock");
    assert_eq!(
        (&status["clock"]["trusted"], &status["connected"]),
        (&false.into(), &false.into()),
        "{status:#}"
    );
    lab.container.write("/etc/faketime", "+0\n");
    // Connected, but not steady for a quarter of an hour: the clock has just stepped (rule 27).
    lab.wait("trust", |s| s["clock"]["trusted"] == true && s["connected"] == true);
    lab.undo_drop_in("certrotd.service", "clock");
    lab.undo_drop_in("certrotd.service", "soon");
    lab.container.sh("systemctl restart certrotd");
    lab.steady(generation);
}

/// Out of its package, which need not be installed.
fn faketime() -> std::path::PathBuf {
    let dir = crate::base::cache().join("faketime");
    let find = |dir: &std::path::Path| {
        crate::container::command(
            std::process::Command::new("find").arg(dir).args(["-name", "libfaketime.so.1"]),
        )
        .ok()
        .and_then(|found| found.lines().next().map(std::path::PathBuf::from))
    };
    find(&dir).unwrap_or_else(|| panic!("libfaketime is unpacked by tests/run into {}", dir.display()))
}

/// A memory group of the kernel of this machine, by whichever version it has.
struct MemoryGroup {
    dir: std::path::PathBuf,
    limit: &'static str,
}

impl MemoryGroup {
    fn new() -> MemoryGroup {
        let name = format!("certrot-system-{}", std::process::id());
        let (root, limit) = if std::path::Path::new("/sys/fs/cgroup/memory").is_dir() {
            ("/sys/fs/cgroup/memory", V1)
        } else {
            ("/sys/fs/cgroup", "memory.max")
        };
        let dir = std::path::Path::new(root).join(name);
        std::fs::create_dir(&dir).expect("a memory group");
        MemoryGroup { dir, limit }
    }

    /// Puts a process in and leaves it next to nothing beside what is counted as its own there.
    fn squeeze(&self, pid: Pid) {
        let file = |name: &str| self.dir.join(name);
        put(&file("cgroup.procs"), &pid.to_string());
        let used = if self.limit == V1 { "memory.usage_in_bytes" } else { "memory.current" };
        let used: u64 = read(&file(used)).trim().parse().expect("bytes");
        put(&file(self.limit), &(used + SPARE).to_string());
    }

    fn told(&self) -> String {
        format!("{}: limit {}", self.dir.display(), read(&self.dir.join(self.limit)))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.dir);
    }
}

fn read(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Where the limit of the first version's groups is.
const V1: &str = "memory.limit_in_bytes";
/// Less than a rotation needs, bytes.
const SPARE: u64 = 64 << 10;

fn put(path: &std::path::Path, text: &str) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file.write_all(text.as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
