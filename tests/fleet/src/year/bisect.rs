//! The largest fleet that a configuration carries: as many devices as can have been issued certificates on one day.
//!
//! A fleet is worst off when all of it was issued certificates on one day: all of it is due on one day and its splay.
//! Carried means that every rotation came within an hour of its time, and that every old certificate was dead within
//! an hour of the switch.

use super::scenario::{NotAConfiguration, Plan, Scenario, Story};

/// Finds it, to two per cent, below `most`; each try is told to `tell`.
pub fn largest(plan: &Plan, most: u32, mut tell: impl FnMut(u32, &Story)) -> Result<u32, NotAConfiguration> {
    let mut tried = |devices: u32| -> Result<bool, NotAConfiguration> {
        let story = Plan { devices, scenario: Scenario::OneDay, ..plan.clone() }.run()?;
        tell(devices, &story);
        Ok(carries(&story))
    };
    let (mut carried, mut too_many) = (0, most);
    if tried(most)? {
        return Ok(most);
    }
    while too_many - carried > (too_many / 50).max(1) {
        let middle = carried + (too_many - carried) / 2;
        if tried(middle)? {
            carried = middle;
        } else {
            too_many = middle;
        }
    }
    Ok(carried)
}

/// Says whether a fleet was carried.
pub fn carries(story: &Story) -> bool {
    story.latest() <= HOUR && story.longest_both() <= HOUR && story.lost == 0 && story.doubled == 0
}

const HOUR: u32 = 3_600;
