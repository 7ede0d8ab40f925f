//! What is tried, step by step, on one release: from a fresh box without a network to one that has forgotten who it was.
//!
//! Each step begins where the one before left the device: steady, and connected.

mod disasters;
mod hooks;
mod life;
mod package;
mod people;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

pub use package::install;

use crate::lab::Lab;

/// One step: a sentence, and what is done.
pub type Step = (&'static str, fn(&mut Lab));

/// Installs, boots and provisions, for what only wants a device.
pub fn begin(lab: &mut Lab) -> Result<(), String> {
    for (name, step) in life::FIRST {
        catch_unwind(AssertUnwindSafe(|| step(lab))).map_err(|_| format!("this step failed: {name}"))?;
    }
    Ok(())
}

/// Tells the whole story, the part with that word, or its beginning; how many steps there were.
pub fn tell(mut lab: Lab, only: Option<&str>, first: bool) -> Result<usize, String> {
    let release = lab.release;
    let (mut count, mut failed) = (0, Vec::new());
    let package = if lab.deb.is_some() { package::STEPS } else { &[] };
    let rest = [people::STEPS, hooks::STEPS, disasters::STEPS, life::LAST, package];
    let all = life::FIRST.iter().map(|s| (s, true)).chain(rest.into_iter().flatten().map(|s| (s, false)));
    for ((name, step), needed) in all {
        if !needed && (first || only.is_some_and(|word| !name.contains(word))) {
            continue;
        }
        let begun = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| step(&mut lab)));
        let word = if ended.is_ok() { "ok" } else { "FAILED" };
        println!("{release}: {word:6} {:5.1} s  {name}", begun.elapsed().as_secs_f64());
        if ended.is_err() {
            let said = lab.container.ran(
                "systemctl --no-pager --failed; systemctl --no-pager -n 0 status certrotd certrotd-rotated; \
                 journalctl --no-pager -n 80",
            );
            eprintln!("{}", said.1);
            failed.push(*name);
            // Without these there is no device for the others.
            if needed || catch_unwind(AssertUnwindSafe(|| lab.recover())).is_err() {
                break;
            }
            continue;
        }
        count += 1;
    }
    if failed.is_empty() {
        return Ok(count);
    }
    Err(format!(
        "{release}: {} of {} steps failed:\n  {}",
        failed.len(),
        failed.len() + count,
        failed.join("\n  ")
    ))
}
