//! strace(1): what it is told, and what it has seen.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

/// The n-th time that one thread makes a call.
#[derive(Clone, Debug)]
pub struct Point {
    /// The system call.
    pub call: String,
    /// From 1.
    pub nth: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.call, self.nth)
    }
}

/// How often each thread of a run made each call.
#[derive(Debug, Default)]
pub struct Calls(BTreeMap<String, BTreeMap<u32, usize>>);

impl Calls {
    /// Counts the lines of a trace.
    pub fn parse(text: &str) -> Calls {
        let mut calls = Calls::default();
        for line in text.lines() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let Ok(thread) = thread.parse() else { continue };
            // "resumed" lines, signals and ends begin with a mark.
            let name: String =
                rest.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                *calls.0.entry(name).or_default().entry(thread).or_default() += 1;
            }
        }
        calls
    }

    /// Each point that strace can name: it counts for each thread, so the busiest thread's number is the last.
    pub fn points(&self) -> impl Iterator<Item = Point> {
        self.0.iter().flat_map(|(call, threads)| {
            (1..=threads.values().copied().max().unwrap_or(0))
                .map(move |nth| Point { call: call.clone(), nth })
        })
    }

    /// All calls of all threads.
    pub fn seen(&self) -> usize {
        self.0.values().flat_map(BTreeMap::values).sum()
    }

    /// Different calls.
    pub fn kinds(&self) -> usize {
        self.0.len()
    }
}

/// strace as a grandchild: the process that is started is the traced program itself, so its end is its own.
pub fn strace(file: &Path, injection: Option<String>) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-D", "-f", "-qq", "-y", "-x", "-s", "70000", "-e", "trace=%file,%desc,%network", "-o"])
        .arg(file);
    if let Some(injection) = injection {
        command.arg("-e").arg(format!("inject={injection}"));
    }
    command
}
