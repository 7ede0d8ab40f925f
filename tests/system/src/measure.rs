//! What is measured, not asserted in passing: the idle daemon's wake-ups and memory, and the table of the score.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::lab::Lab;
use crate::story;

/// Over so many minutes of idleness: voluntary context switches beside keep-alive, and resident memory.
pub fn idle(mut lab: Lab, minutes: u64, keep_alive: &str) -> Result<(), String> {
    story::begin(&mut lab)?;
    lab.edit(&format!("s|^# keep-alive = .*|keep-alive = \"{keep_alive}\"|"));
    lab.container.sh("grep -q '^keep-alive' /etc/certrotd/config.toml; systemctl restart certrotd");
    let release = lab.release;
    lab.rotate();
    let generation = lab.generation();
    lab.steady(generation);
    sleep(Duration::from_secs(30));
    let pid = lab.container.main_pid("certrotd");
    let before = switches(pid)?;
    let mut largest = 0;
    for _ in 0..minutes {
        sleep(Duration::from_secs(60));
        largest = largest.max(resident(pid)?);
    }
    let woke = switches(pid)?.saturating_sub(before);
    println!(
        "{release}: {woke} voluntary context switches in {minutes} min ({:.2} a minute, keep-alive of {keep_alive} included); \
         resident at most {:.2} MB",
        woke as f64 / minutes as f64,
        largest as f64 / 1000.0
    );
    Ok(())
}

/// Of every thread of a process.
fn switches(pid: i32) -> Result<u64, String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|e| e.to_string())?;
    let mut sum = 0;
    for task in tasks.flatten() {
        let status = fs::read_to_string(task.path().join("status")).map_err(|e| e.to_string())?;
        sum += field(&status, "voluntary_ctxt_switches:")?;
    }
    Ok(sum)
}

/// In kB.
fn resident(pid: i32) -> Result<u64, String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| e.to_string())?;
    field(&status, "VmRSS:")
}

fn field(status: &str, name: &str) -> Result<u64, String> {
    let line = status.lines().find_map(|l| l.strip_prefix(name)).ok_or(format!("no {name}"))?;
    line.split_whitespace().next().and_then(|n| n.parse().ok()).ok_or(format!("{name}{line}"))
}

/// The table of `systemd-analyze security`, with what it finds fault with first.
pub fn score(mut lab: Lab) -> Result<(), String> {
    story::begin(&mut lab)?;
    let table = lab
        .container
        .sh("systemctl --version | head -1; systemd-analyze security --no-pager certrotd.service");
    println!("{table}");
    Ok(())
}
