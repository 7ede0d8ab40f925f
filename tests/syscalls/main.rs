//! Killed and refused at every system call: whatever happens inside the daemon's process, the device comes back.
//!
//! ```text
//! a whole run under strace ─▶ its calls, counted (trace) ─▶ a case for each ─▶ injected ─▶ started again ─▶ judged (case)
//! ```
//! On each commit a tenth of the kills and cuts runs and a fiftieth of the errors (one of the five at a tenth of the calls),
//! others each day; all of them with `CERTROT_SYSCALLS=all`. A case that failed is run alone by `CERTROT_SYSCALLS=CASE`, as
//! its line has it.

#![allow(clippy::disallowed_methods, reason = "a test's file need not survive anything")]

#[path = "../support/mod.rs"]
mod support;

mod case;
mod certmonger;
mod disk;
mod trace;

use std::sync::Mutex;

use case::{Case, Injection};
use certmonger::Found;
use support::matrix::{self, Choice, Scene, several_at_once, tell};
use trace::Point;

#[test]
fn killed_at_each_call_of_a_first_provisioning() {
    calls(Scene::First, &[Injection::Kill]);
}

#[test]
fn killed_at_each_call_of_a_start_and_a_rotation() {
    calls(Scene::Rotation, &[Injection::Kill]);
}

#[test]
fn the_power_goes_at_each_call_of_a_first_provisioning_and_the_disk_forgets_what_was_not_synced() {
    calls(Scene::First, &Injection::CUTS);
}

#[test]
fn the_power_goes_at_each_call_of_a_start_and_a_rotation_and_the_disk_forgets_what_was_not_synced() {
    calls(Scene::Rotation, &Injection::CUTS);
}

#[test]
fn refused_at_each_call_of_a_first_provisioning() {
    calls(Scene::First, &Injection::ERRORS);
}

#[test]
fn refused_at_each_call_of_a_start_and_a_rotation() {
    calls(Scene::Rotation, &Injection::ERRORS);
}

/// Counts the calls of a scene, and runs the cases that are chosen.
fn calls(scene: Scene, injections: &[Injection]) {
    let calls = case::calls(scene);
    let all: Vec<Case> = calls
        .points()
        .flat_map(|point| {
            injections.iter().map(move |&injection| Case { scene, injection, point: point.clone() })
        })
        .collect();
    let head = format!(
        "{scene}, {}: {} calls of {} kinds seen",
        match injections {
            [Injection::Kill] => "killed",
            [Injection::Cut(_), ..] => "power cut",
            _ => "refused",
        },
        calls.seen(),
        calls.kinds(),
    );
    let shares = if matches!(injections, [Injection::Error(_), ..]) { 50 } else { 10 };
    matrix::run(&head, &all, &Choice::from_env(CHOSEN), shares, Case::run);
}

/// certmonger beside it: all of its cases, always, for they are few.
#[test]
fn certmonger_killed_at_each_call_on_its_key_and_certificate_in_a_renewal() {
    let before = certmonger::Before::make();
    let calls = before.calls();
    let all: Vec<Point> = calls.points().collect();
    let choice = Choice::from_env(CHOSEN);
    let takes =
        |n: usize, point: &Point| !choice.is_one() || choice.takes(n, 1, &format!("certmonger/KILL/{point}"));
    let chosen: Vec<&Point> = all.iter().enumerate().filter(|(n, p)| takes(*n, p)).map(|(_, p)| p).collect();
    let found: Mutex<Vec<Found>> = Mutex::default();
    several_at_once(&chosen, |point| {
        let case = before.kill_at(point);
        found.lock().unwrap().push(case);
    });
    let found = found.into_inner().unwrap();
    let count = |of: fn(&Found) -> bool| found.iter().filter(|case| of(case)).count();
    tell(&format!(
        "{}, killed: {} calls of {} kinds on key and certificate seen; of {} cases {} chosen, {} injected; key and \
         certificate no pair: {} at the cut, {} still after the next start",
        certmonger::version(),
        calls.seen(),
        calls.kinds(),
        all.len(),
        chosen.len(),
        count(|case| case.injected),
        count(|case| case.broken_at_the_cut),
        count(|case| case.broken_for_good),
    ));
    assert!(choice.is_one() || count(|case| case.injected) > 0, "nothing was injected");
}

/// The variable that chooses.
const CHOSEN: &str = "CERTROT_SYSCALLS";
