//! What the kernel says of a process and of this machine (proc(5)); no host names, no paths.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::report::Column;

/// One look at a process.
#[derive(Clone, Debug)]
pub struct Reading {
    resident: f64,
    peak: f64,
    anonymous: f64,
    proportional: f64,
    voluntary: f64,
    processor: f64,
    threads: f64,
}

impl Reading {
    /// Looks at the process with this id.
    pub fn of(pid: u32) -> io::Result<Self> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        let (status, rollup) = (read("status")?, read("smaps_rollup")?);
        let (mut voluntary, mut processor) = (0.0, 0.0);
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            // A thread that has ended since it was listed has nothing more to tell.
            let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
            voluntary += field(&status, "voluntary_ctxt_switches:");
            // Nanoseconds on a processor (Documentation/scheduler/sched-stats.rst).
            let Ok(schedule) = fs::read_to_string(task.join("schedstat")) else { continue };
            processor += schedule.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0) / 1e9;
        }
        Ok(Self {
            resident: bytes(&status, "VmRSS:"),
            peak: bytes(&status, "VmHWM:"),
            anonymous: bytes(&status, "RssAnon:"),
            proportional: bytes(&rollup, "Pss:"),
            voluntary,
            processor,
            threads: field(&status, "Threads:"),
        })
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> f64 {
        self.resident
    }

    /// Proportional memory in bytes: what it shares is divided among those who share it.
    pub fn proportional(&self) -> f64 {
        self.proportional
    }

    /// Puts this look, and what changed since an earlier one, into a column.
    pub fn fill(&self, before: &Self, between: Duration, column: &mut Column) {
        column.put("idle: resident (VmRSS), bytes", self.resident);
        column.put("idle: peak (VmHWM), bytes", self.peak);
        column.put("idle: anonymous (RssAnon), bytes", self.anonymous);
        column.put("idle: proportional (Pss), bytes", self.proportional);
        column.put("idle: threads", self.threads);
        let minutes = between.as_secs_f64() / 60.0;
        if minutes > 0.0 {
            column.put("idle: wake-ups a minute", (self.voluntary - before.voluntary) / minutes);
            column.put("idle: processor, ms a minute", (self.processor - before.processor) * 1e3 / minutes);
        }
    }
}

/// Processor time of a process in seconds, its ended threads included (clock_getcpuclockid(3)).
pub fn processor(pid: u32) -> io::Result<f64> {
    let pid = i32::try_from(pid).map(Pid::from_raw).map_err(io::Error::other)?;
    let time = clock_gettime(ClockId::pid_cpu_clock_id(pid)?)?;
    Ok(Duration::from(time).as_secs_f64())
}

/// Processor time of a process and of its children that have ended, in seconds: to the hundredth, as stat has it.
pub fn processor_with_children(pid: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may hold anything: state is field 3, utime to cstime are 14 to 17 (proc(5)).
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').skip(11).take(4);
    Ok(fields.filter_map(|f| f.parse::<f64>().ok()).sum::<f64>() / 100.0)
}

/// Bytes that a process has sent towards the disk.
pub fn written(pid: u32) -> io::Result<f64> {
    Ok(field(&fs::read_to_string(format!("/proc/{pid}/io"))?, "write_bytes:"))
}

/// The files under a directory, in bytes; what is not there has none.
pub fn disk(path: &Path) -> f64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0.0 };
    if !meta.is_dir() {
        return meta.len() as f64;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| disk(&entry.path())).sum()
}

/// The machine in one line: processor, how many, kernel.
pub fn machine() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model =
        info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "machine: {cores} processors, {}, Linux {}, {}",
        model.unwrap_or("model unknown"),
        kernel.trim(),
        std::env::consts::ARCH
    )
}

/// A line of kilobytes (KiB), in bytes.
fn bytes(text: &str, name: &str) -> f64 {
    field(text, name) * 1024.0
}

fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "VmHWM:\t  20 kB\nVmRSS:\t    12 kB\nnonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t7\n";
        assert_eq!(bytes(text, "VmRSS:"), 12_288.0);
        assert_eq!(field(text, "voluntary_ctxt_switches:"), 7.0);
    }

    #[test]
    fn this_process_has_memory() {
        let reading = Reading::of(std::process::id()).unwrap();
        assert!(reading.resident > 0.0 && reading.peak >= reading.resident && reading.threads >= 1.0);
    }
}
