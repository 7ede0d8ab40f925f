//! What happens to the fleet: the six stories, each from a fleet that is in use to one that is quiet again.
//!
//! The configuration is the daemon's own, parsed by it from the few lines that every device has; `--set` adds lines.

use std::path::Path;

use certrotd::config::{Config, Facts, Purpose};
use certrotd::rotation::schedule::spread_of;
use certrotd::rotation::{CloudOrder, Input, Policy, Wall};
use certrotd::{policy, world::Who};

use super::device::Device;
use super::fleet::{EPOCH, Fleet, RETIRED, Seen, thing_name, wall_of};
use super::handler::EVENT_AGE;
use super::meter::Tally;
use super::wheel::{Kind, Ms};

/// A story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A year, certificates of every age.
    Year,
    /// The whole cloud is away for six hours.
    Outage,
    /// A tenth of the fleet, 100,000 at most, loses power and comes back within ten seconds.
    PowerCut,
    /// A hundredth, 10,000 at most, comes back after two years; half of its certificates have ended.
    Site,
    /// All are ordered to rotate, at once.
    Forced,
    /// All are ordered to rotate, spread by `within`.
    Within(Wall),
    /// Devices without an identity are switched on within a minute.
    First,
    /// Every certificate was issued on one day.
    OneDay,
}

/// A story about so many devices.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The story.
    pub scenario: Scenario,
    /// How many devices.
    pub devices: u32,
    /// Lines of configuration beside the defaults.
    pub set: String,
    /// Quotas, as a multiple of AWS's defaults.
    pub factor: f64,
    /// How long a device waits for the answer to a commit.
    pub patience: Ms,
    /// How long a commit may wait for the retire handler before Lambda drops it.
    pub event_age: Ms,
    /// The dice.
    pub seed: u64,
}

impl Plan {
    /// A story as it is with every default.
    pub fn new(scenario: Scenario, devices: u32) -> Self {
        Plan {
            scenario,
            devices,
            set: String::new(),
            factor: 1.0,
            patience: RETIRED,
            event_age: EVENT_AGE,
            seed: 1,
        }
    }
}

/// What became of it.
pub struct Story {
    /// Each quota's tally.
    pub tallies: Vec<Tally>,
    /// Seconds measured.
    pub seconds: u64,
    /// Seconds of a bin of the tallies.
    pub bin_seconds: u64,
    /// The fleet at its end.
    pub fleet: Fleet,
    /// Devices without a working identity at the end.
    pub lost: usize,
    /// Devices with more than one ACTIVE certificate at the end.
    pub doubled: usize,
    /// Devices that had not come to rest at the end, for another reason.
    pub restless: usize,
    /// How long it took from the end of the story until every device had been seen at rest.
    pub settled: Ms,
}

/// The configuration is not one.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not one:\n{0}")]
pub struct NotAConfiguration(String);

impl Plan {
    /// Lives through the story.
    pub fn run(&self) -> Result<Story, NotAConfiguration> {
        let policy = policy_of(&self.set)?;
        let devices = (0..self.devices).map(|n| self.device(n, &policy)).collect();
        let mut fleet = Fleet::new(devices, self.factor, self.seed);
        fleet.patience = self.patience;
        fleet.handler.event_age = self.event_age;
        let end = self.prepare(&mut fleet);
        let begins = if self.scenario == Scenario::First { 0 } else { WARM };
        fleet.run(begins);
        fleet.seen = Seen::default();
        fleet.devices.iter_mut().for_each(|d| d.retries = 0);
        let seconds = (end - begins) / 1000;
        fleet.quotas.meter.begin(begins, seconds / COLUMNS);
        fleet.run(end);
        let bin_seconds = fleet.quotas.meter.bin_seconds();
        let tallies = fleet.quotas.meter.end(end);
        let (restless, settled) = settle(&mut fleet);
        let lost = restless.iter().filter(|n| !has_identity(&fleet, **n)).count();
        let doubled = restless.iter().filter(|n| fleet.devices[**n].thing.active() > 1).count();
        let restless = restless.len() - lost - doubled.min(restless.len() - lost);
        Ok(Story { tallies, seconds, bin_seconds, fleet, lost, doubled, restless, settled })
    }

    fn device(&self, n: u32, policy: &Policy) -> Device {
        let policy = Policy { spread: spread_of(&thing_name(n)), ..policy.clone() };
        let mut rng = fastrand::Rng::with_seed(self.seed ^ (u64::from(n) << 20));
        let life = policy.max_age.unwrap_or(90 * DAY);
        match self.scenario {
            Scenario::First => Device::fresh(policy),
            Scenario::OneDay => Device::in_use(policy, n, EPOCH + 2 * DAY - life + rng.i64(0..DAY), None),
            Scenario::Site if n < self.some(SITE, 100) => {
                let born = EPOCH - 2 * YEAR + rng.i64(0..30 * DAY);
                let mut device = Device::in_use(policy, n, born, n.is_multiple_of(2).then_some(YEAR));
                if let Some(disk) = &mut device.kept {
                    disk.worked_at = Some(EPOCH - 2 * YEAR + 30 * DAY);
                    disk.saved_at = disk.worked_at;
                }
                device
            }
            _ => Device::in_use(policy, n, EPOCH - rng.i64(0..life - 3 * DAY), None),
        }
    }

    /// Puts what will happen into the queue; gives the end.
    fn prepare(&self, fleet: &mut Fleet) -> Ms {
        let begins = WARM + HOUR;
        let site = if self.scenario == Scenario::Site { self.some(SITE, 100) } else { 0 };
        for n in 0..self.devices {
            let (from, window) = match self.scenario {
                Scenario::First => (0, MINUTE),
                _ if n < site => (begins, MINUTE),
                _ => (0, WARM - HOUR),
            };
            let at = fleet.within(from, window);
            fleet.at(at, n, Kind::PowerOn);
        }
        match self.scenario {
            Scenario::Year => WARM + 365 * 24 * HOUR,
            Scenario::OneDay => 6 * 24 * HOUR,
            Scenario::First => self.paced(24 * HOUR),
            Scenario::Site => begins + 36 * HOUR,
            Scenario::Outage => {
                fleet.outage = Some((begins, begins + 6 * HOUR));
                fleet.at(begins, 0, Kind::Weather);
                begins + 24 * HOUR
            }
            Scenario::PowerCut => {
                (fleet.dark, fleet.boot) = (2 * HOUR, 10_000);
                for n in 0..self.some(CUT, 10) {
                    fleet.at(begins, n, Kind::PowerOff);
                }
                begins + 6 * HOUR
            }
            Scenario::Forced | Scenario::Within(_) => {
                let within = if let Scenario::Within(within) = self.scenario { within } else { 0 };
                let order =
                    CloudOrder { certificate: None, issued_before: Some(wall_of(begins) - OLDER), within };
                fleet.order = Some((begins, order));
                for n in 0..self.devices {
                    let at = fleet.within(begins, MINUTE);
                    fleet.at(at, n, Kind::Deliver);
                }
                let spread = Ms::try_from(within).unwrap_or(0) * 1000;
                begins + self.paced(24 * HOUR).max(spread + 24 * HOUR)
            }
        }
    }

    /// A part of the fleet, and no more than so many.
    fn some(&self, most: u32, part: u32) -> u32 {
        (self.devices / part).max(1).min(most)
    }

    /// Twice the time that the scarcest quota needs for all, and some more.
    fn paced(&self, more: Ms) -> Ms {
        let rotations_a_second = SCARCEST * self.factor;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "devices and a positive rate"
        )]
        let needed = (f64::from(self.devices) / rotations_a_second * 1000.0) as Ms;
        2 * needed + more
    }
}

/// Goes on without schedule or order until every device has been seen at rest once, at most for three days.
fn settle(fleet: &mut Fleet) -> (Vec<usize>, Ms) {
    let from = fleet.now;
    fleet.order = None;
    for d in 0..u32::try_from(fleet.devices.len()).unwrap_or(0) {
        let policy = Policy { enabled: false, ..fleet.devices[d as usize].machine.policy().clone() };
        if fleet.devices[d as usize].on {
            fleet.step(d, Input::Reload(policy));
        }
    }
    let mut open: Vec<usize> = (0..fleet.devices.len()).collect();
    loop {
        open.retain(|n| !at_rest(fleet, *n));
        if open.is_empty() || fleet.now >= from + 72 * HOUR {
            return (open, fleet.now - from);
        }
        fleet.run(fleet.now + HOUR / 2);
    }
}

fn at_rest(fleet: &Fleet, n: usize) -> bool {
    let device = &fleet.devices[n];
    let pending = device.machine.disk().is_none_or(|d| d.pending.is_some());
    device.works() && device.thing.active() == 1 && !pending
}

fn has_identity(fleet: &Fleet, n: usize) -> bool {
    fleet.devices[n].works()
}

/// What the daemon decides by, from its own configuration.
pub fn policy_of(set: &str) -> Result<Policy, NotAConfiguration> {
    // The configuration is judged with its files.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/"));
    let root = root.join("certs/AmazonRootCA1.pem");
    let text = format!(
        "{set}\n[device]\nserial = \"SN-0000000\"\n[aws]\nendpoint = \"{ENDPOINT}\"\nroot-ca = \"{}\"\n",
        root.display()
    );
    let facts = Facts {
        identity_present: true,
        certificate_lifetime: None,
        credentials_directory: None,
        purpose: Purpose::Check,
    };
    let (config, _) = Config::parse(&text, Path::new("config.toml"), &facts)
        .map_err(|report| NotAConfiguration(report.to_string()))?;
    let who = Who { serial: thing_name(0), thing: thing_name(0) };
    Ok(policy::of(&config, Some(&who)))
}

/// Nobody's: the configuration wants one.
const ENDPOINT: &str = "a1b2c3d4e5f6g7-ats.iot.eu-west-1.amazonaws.com";
const MINUTE: Ms = 60_000;
const HOUR: Ms = 60 * MINUTE;
const DAY: Wall = 86_400;
const YEAR: Wall = 365 * DAY;
/// Every device comes up in this time, and nothing is measured in it.
pub const WARM: Ms = 13 * HOUR;
/// AWS's certificates begin before they are issued: an order for those older than its own time would act twice on what
/// is issued in the next minutes. Seconds.
const OLDER: Wall = 300;
/// A regional power cut.
const CUT: u32 = 100_000;
/// A site that was off for two years.
const SITE: u32 = 10_000;
/// A rotation's retirement reads four certificates at ten a second.
pub const SCARCEST: f64 = 2.5;
/// Columns of a picture.
const COLUMNS: u64 = 360;
