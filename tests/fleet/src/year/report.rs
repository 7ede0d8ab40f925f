//! The table of a story.

use std::fmt::Write;

use super::quota::Api;
use super::scenario::{Plan, Scenario, Story};

impl Scenario {
    /// Its name, as a file's and on the command line.
    pub fn name(self) -> String {
        match self {
            Scenario::Year => "year".into(),
            Scenario::Outage => "outage".into(),
            Scenario::PowerCut => "power-cut".into(),
            Scenario::Site => "site".into(),
            Scenario::Forced => "forced".into(),
            Scenario::Within(_) => "forced-within".into(),
            Scenario::First => "first".into(),
            Scenario::OneDay => "one-day".into(),
        }
    }

    /// What happens in it, in a line.
    pub fn tells(self) -> String {
        match self {
            Scenario::Year => "a year, certificates of every age".into(),
            Scenario::Outage => "the whole cloud is away for six hours".into(),
            Scenario::PowerCut => {
                "a tenth (at most 100,000) loses power for two hours and is back within 10 s".into()
            }
            Scenario::Site => {
                "a hundredth (at most 10,000) comes back after two years, half of it expired".into()
            }
            Scenario::Forced => "all ordered to rotate, without `within`".into(),
            Scenario::Within(s) => format!("all ordered to rotate, `within` {} h", s / 3_600),
            Scenario::First => "first certificates by the claim, all switched on within a minute".into(),
            Scenario::OneDay => "every certificate issued on one day, due 90 days later".into(),
        }
    }
}

impl Story {
    /// The story as text: what was asked a second of each quota, and what became of the devices.
    pub fn tell(&self, plan: &Plan) -> String {
        let mut text = format!("{} devices: {}\n", plan.devices, plan.scenario.tells());
        let _ = writeln!(
            text,
            "  {:<26}{:>8}{:>10}{:>8}{:>10}{:>13}{:>13}{:>14}",
            "a second", "quota", "median", "p99", "peak", "in all", "throttled", "seconds over"
        );
        for api in Api::ALL {
            let tally = &self.tallies[api as usize];
            if tally.asked > 0 {
                let _ = writeln!(
                    text,
                    "  {:<26}{:>8}{:>10}{:>8}{:>10}{:>13}{:>13}{:>14}",
                    api.name(),
                    self.fleet.quotas.rate(api),
                    tally.permille(500, self.seconds),
                    tally.permille(990, self.seconds),
                    tally.peak(),
                    tally.asked,
                    tally.throttled,
                    tally.seconds_over,
                );
            }
        }
        let seen = &self.fleet.seen;
        line(&mut text, "rotations, seconds after due, order or power", &seen.late);
        line(&mut text, "first certificates, seconds after power", &seen.first);
        line(&mut text, "old certificate alive after the switch, seconds", &seen.both);
        let retries: Vec<u32> = self.fleet.devices.iter().map(|d| d.retries).collect();
        line(&mut text, "attempts that failed, each device", &retries);
        let handler = &self.fleet.handler;
        let _ = writeln!(
            text,
            "  commits accepted {}, rejected {:?}, dropped unseen {}, most waiting {}; connects with what is dead or not seen yet {}; sessions lost to a throttled subscription {}",
            handler.accepted,
            handler.rejected,
            handler.dropped,
            handler.longest,
            seen.dead_connects,
            seen.unfit
        );
        let _ = writeln!(
            text,
            "  at the end ({} min later): without identity {}, two ACTIVE {}, restless {}",
            self.settled / 60_000,
            self.lost,
            self.doubled,
            self.restless
        );
        text
    }

    /// The latest rotation, in seconds after it could and should have happened.
    pub fn latest(&self) -> u32 {
        self.fleet.seen.late.iter().copied().max().unwrap_or(0)
    }

    /// The longest that an old certificate outlived its successor's switch, in seconds.
    pub fn longest_both(&self) -> u32 {
        self.fleet.seen.both.iter().copied().max().unwrap_or(0)
    }
}

fn line(text: &mut String, what: &str, values: &[u32]) {
    if values.is_empty() {
        return;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = |permille: usize| sorted[(sorted.len() * permille / 1000).min(sorted.len() - 1)];
    let _ = writeln!(
        text,
        "  {what}: {} of them, median {}, p99 {}, latest {}",
        sorted.len(),
        at(500),
        at(990),
        at(1000)
    );
}
