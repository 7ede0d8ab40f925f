//! The run: first certificates, the twin started anew, every device connected, every device rotated, and the judgement.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::process::{Answer, Process};
use super::{RealError, io};

/// What is run.
pub struct Run {
    /// This program.
    pub program: PathBuf,
    /// How many devices.
    pub devices: u32,
    /// In how many processes.
    pub shards: u32,
    /// How many devices of a process are on their way at a time.
    pub lanes: u32,
    /// Where the twin's directory and the stores are made; in memory, where the disk is not to be measured.
    pub directory: PathBuf,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// First certificates, connections and rotations a second.
    pub a_second: [f64; 3],
    /// Resident bytes of the twin, empty, with the registry of all, with all connected, after all have rotated.
    pub twin: [u64; 4],
    /// Resident bytes of the devices' processes with all connected.
    pub devices: u64,
    /// Devices that did each in time: first certificate, connection, rotation.
    pub done: [u64; 3],
    /// Failed attempts in all.
    pub failures: u64,
    /// Things that hold no ACTIVE certificate, more than one, or are not connected with theirs.
    pub lost: u64,
    /// The same.
    pub doubled: u64,
    /// The same.
    pub away: u64,
    /// Things there are.
    pub things: u64,
    /// ACTIVE certificates of things.
    pub active: u64,
}

impl Run {
    /// Runs, telling each step to `tell`.
    pub fn run(&self, mut tell: impl FnMut(&str)) -> Result<Measured, RealError> {
        let place = tempfile::Builder::new()
            .prefix("certrot-scale-")
            .tempdir_in(&self.directory)
            .map_err(io("making a directory"))?;
        let (twin_dir, stores) = (place.path().join("twin"), place.path().join("stores"));
        std::fs::create_dir(&stores).map_err(io("making the stores' directory"))?;
        let mut measured = Measured::default();
        let (mut twin, port) = self.twin(&twin_dir, 0)?;
        measured.twin[0] = twin.resident();
        let mut shards = (0..self.shards)
            .map(|n| self.shard(n, &twin_dir, port, &stores))
            .collect::<Result<Vec<_>, _>>()?;
        measured.first_and_rate(0, self.all(&mut shards, "start")?, &mut tell, "first certificates");
        self.all(&mut shards, "drop")?;
        twin.say("stop")?;
        twin.hear("stopped")?;
        twin.end();
        (twin, _) = self.twin(&twin_dir, port)?;
        measured.twin[1] = twin.resident();
        measured.first_and_rate(1, self.all(&mut shards, "start")?, &mut tell, "connections");
        // What the handshakes needed is given back by then.
        std::thread::sleep(Duration::from_secs(2));
        measured.twin[2] = twin.resident();
        measured.devices = shards.iter().map(Process::resident).sum();
        measured.first_and_rate(2, self.all(&mut shards, "rotate")?, &mut tell, "rotations");
        measured.twin[3] = twin.resident();
        twin.say("count")?;
        let count = twin.hear("count")?;
        tell(&count.to_string());
        measured.lost = count.number("lost");
        measured.doubled = count.number("doubled");
        measured.away = count.number("away");
        measured.things = count.number("things");
        measured.active = count.number("active");
        Ok(measured)
    }

    fn twin(&self, dir: &Path, port: u16) -> Result<(Process, u16), RealError> {
        let arguments = ["hold", "--dir", &dir.display().to_string(), "--port", &port.to_string()];
        let mut twin = Process::start(&self.program, &arguments.map(str::to_owned))?;
        let ready = twin.hear("ready")?;
        Ok((twin, u16::try_from(ready.number("port")).unwrap_or(0)))
    }

    fn shard(&self, n: u32, twin: &Path, port: u16, stores: &Path) -> Result<Process, RealError> {
        let first = self.devices * n / self.shards;
        let count = self.devices * (n + 1) / self.shards - first;
        let arguments = [
            "shard",
            "--twin",
            &twin.display().to_string(),
            "--port",
            &port.to_string(),
            "--stores",
            &stores.display().to_string(),
            "--first",
            &first.to_string(),
            "--count",
            &count.to_string(),
        ];
        Process::start(&self.program, &arguments.map(str::to_owned))
    }

    /// Tells every shard, and waits for all; gives the seconds that it took and what they said.
    fn all(&self, shards: &mut [Process], word: &str) -> Result<(f64, Vec<Answer>), RealError> {
        let began = Instant::now();
        for shard in shards.iter_mut() {
            shard.say(&format!("{word} {}", self.lanes))?;
        }
        let answers = shards.iter_mut().map(|s| s.hear(word)).collect::<Result<Vec<_>, _>>()?;
        Ok((began.elapsed().as_secs_f64(), answers))
    }
}

impl Measured {
    fn first_and_rate(
        &mut self,
        step: usize,
        (seconds, answers): (f64, Vec<Answer>),
        tell: &mut impl FnMut(&str),
        what: &str,
    ) {
        let sum = |name: &str| answers.iter().map(|a| a.number(name)).sum::<u64>();
        // A rotation says how many it has done; a start is done by who rests.
        self.done[step] = if step == 2 { sum("done") } else { sum("resting") };
        self.failures = self.failures.max(sum("failures"));
        #[expect(clippy::cast_precision_loss, reason = "devices")]
        let rate = self.done[step] as f64 / seconds.max(0.001);
        self.a_second[step] = rate;
        tell(&format!(
            "{what}: {} in {seconds:.1} s, {rate:.0} a second, {} failed attempts",
            self.done[step],
            sum("failures")
        ));
    }

    /// Says whether every device has one ACTIVE certificate, is connected with it, and did each step in time.
    pub fn kept(&self, devices: u32) -> bool {
        let n = u64::from(devices);
        let whole = self.lost == 0 && self.doubled == 0 && self.away == 0;
        whole && self.things == n && self.active == n && self.done == [n; 3]
    }

    /// Resident bytes of the twin for each connected device, for each device in its registry; of the devices' processes.
    pub fn each(&self, devices: u32) -> [u64; 3] {
        let n = u64::from(devices.max(1));
        let [empty, known, connected, _] = self.twin;
        [connected.saturating_sub(known) / n, known.saturating_sub(empty) / n, self.devices / n]
    }
}
