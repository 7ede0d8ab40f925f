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
mod choice;
mod disk;
mod trace;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;

use case::{Case, End, Injection, Scene};
use certmonger::Found;
use choice::Choice;
use trace::Point;

#[test]
fn killed_at_each_call_of_a_first_provisioning() {
    matrix(Scene::First, &[Injection::Kill]);
}

#[test]
fn killed_at_each_call_of_a_start_and_a_rotation() {
    matrix(Scene::Rotation, &[Injection::Kill]);
}

#[test]
fn the_power_goes_at_each_call_of_a_first_provisioning_and_the_disk_forgets_what_was_not_synced() {
    matrix(Scene::First, &Injection::CUTS);
}

#[test]
fn the_power_goes_at_each_call_of_a_start_and_a_rotation_and_the_disk_forgets_what_was_not_synced() {
    matrix(Scene::Rotation, &Injection::CUTS);
}

#[test]
fn refused_at_each_call_of_a_first_provisioning() {
    matrix(Scene::First, &Injection::ERRORS);
}

#[test]
fn refused_at_each_call_of_a_start_and_a_rotation() {
    matrix(Scene::Rotation, &Injection::ERRORS);
}

/// Runs the cases that are chosen, several at a time, and prints what was seen, injected and left out.
fn matrix(scene: Scene, injections: &[Injection]) {
    let calls = case::calls(scene);
    let all: Vec<Case> = calls
        .points()
        .flat_map(|point| {
            injections.iter().map(move |&injection| Case { scene, injection, point: point.clone() })
        })
        .collect();
    let choice = Choice::from_env();
    let shares = if matches!(injections, [Injection::Error(_), ..]) { 50 } else { 10 };
    let chosen: Vec<&Case> = all
        .iter()
        .enumerate()
        .filter(|(n, c)| choice.takes(*n, shares, &c.to_string()))
        .map(|(_, c)| c)
        .collect();
    let ends: Mutex<BTreeMap<End, usize>> = Mutex::default();
    let failures: Mutex<Vec<String>> = Mutex::default();
    several_at_once(&chosen, |case| match catch_unwind(AssertUnwindSafe(|| case.run())) {
        Ok(end) => *ends.lock().unwrap().entry(end).or_default() += 1,
        Err(_) => failures.lock().unwrap().push(case.to_string()),
    });
    let (ends, failures) = (ends.into_inner().unwrap(), failures.into_inner().unwrap());
    let count = |end| ends.get(&end).copied().unwrap_or(0);
    let line = format!(
        "{scene}, {}: {} calls of {} kinds seen; of {} cases {} chosen ({choice}), {} injected, {} not met again, {} failed",
        match injections {
            [Injection::Kill] => "killed",
            [Injection::Cut(_), ..] => "power cut",
            _ => "refused",
        },
        calls.seen(),
        calls.kinds(),
        all.len(),
        chosen.len(),
        count(End::Injected),
        count(End::NotMet),
        failures.len(),
    );
    tell(&line);
    assert!(failures.is_empty(), "failed: {}", failures.join(", "));
    assert!(choice.is_one() || count(End::Injected) > 0, "nothing was injected: {line}");
    assert!(count(End::NotMet) * 5 <= chosen.len(), "the runs differ too much to be counted by: {line}");
}

/// certmonger beside it: all of its cases, always, for they are few.
#[test]
fn certmonger_killed_at_each_call_on_its_key_and_certificate_in_a_renewal() {
    let before = certmonger::Before::make();
    let calls = before.calls();
    let all: Vec<Point> = calls.points().collect();
    let choice = Choice::from_env();
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

fn several_at_once<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    let todo = Mutex::new(cases.iter());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = { todo.lock().unwrap().next() } {
                    run(case);
                }
            });
        }
    });
}

/// Past the test harness, which keeps what a test that passes prints.
fn tell(line: &str) {
    let mut past = std::io::stderr();
    past.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Cases at a time: they mostly wait.
const AT_ONCE: usize = 6;
