//! Cases by the thousand: which of them run, several at a time, and a line that says what came of it.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;

/// What a variable of the environment says: `all`, a case by its name, or nothing: a share, another one each day
/// (`CERTROT_SEED` says which).
pub enum Choice {
    /// Every case.
    All,
    /// One case.
    One(String),
    /// One of so many shares, by this seed.
    Share(u64),
}

impl Choice {
    /// As the environment says.
    pub fn from_env(variable: &str) -> Choice {
        let seed = env::var("CERTROT_SEED").ok().and_then(|s| s.parse().ok());
        let day = || super::real_ms().unsigned_abs() / 86_400_000;
        match env::var(variable).ok().as_deref() {
            None | Some("") => Choice::Share(seed.unwrap_or_else(day)),
            Some("all") => Choice::All,
            Some(case) => Choice::One(case.to_owned()),
        }
    }

    /// Whether a case runs; `n` is its number in the whole matrix, of which one of so many `shares` runs.
    pub fn takes(&self, n: usize, shares: u64, case: &str) -> bool {
        match self {
            Choice::All => true,
            Choice::One(name) => case == name,
            // Mixed, or a share would have one error at every second call.
            Choice::Share(seed) => ((n as u64).wrapping_mul(MIX) >> 32) % shares == seed % shares,
        }
    }

    /// Whether somebody asked for one case.
    pub fn is_one(&self) -> bool {
        matches!(self, Choice::One(_))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::All => f.write_str("all"),
            Choice::One(name) => write!(f, "only {name}"),
            Choice::Share(seed) => write!(f, "CERTROT_SEED={seed}"),
        }
    }
}

/// What the daemon does meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Scene {
    /// From an empty disk to a first certificate that is committed.
    First,
    /// A rotation by order with its commit.
    Rotation,
}

impl Scene {
    /// The generation that is in use at its end.
    pub fn generation(self) -> u32 {
        match self {
            Scene::First => 1,
            Scene::Rotation => 2,
        }
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scene::First => "provisioning",
            Scene::Rotation => "rotation",
        })
    }
}

/// How a case came out, where it came out well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The place came, and what was to happen there happened.
    Injected,
    /// The place did not come as in the run that was counted.
    NotMet,
}

/// Runs the cases that are chosen, one of so many shares, tells what came of them, and panics where one failed. `head`
/// says what was seen.
pub fn run<T: fmt::Display + Sync>(
    head: &str,
    all: &[T],
    choice: &Choice,
    shares: u64,
    run: impl Fn(&T) -> End + Sync,
) {
    let chosen: Vec<&T> = all
        .iter()
        .enumerate()
        .filter(|(n, c)| choice.takes(*n, shares, &c.to_string()))
        .map(|(_, c)| c)
        .collect();
    let ends: Mutex<BTreeMap<End, usize>> = Mutex::default();
    let failures: Mutex<Vec<String>> = Mutex::default();
    several_at_once(&chosen, |case| match catch_unwind(AssertUnwindSafe(|| run(case))) {
        Ok(end) => *ends.lock().unwrap().entry(end).or_default() += 1,
        Err(_) => failures.lock().unwrap().push(case.to_string()),
    });
    let (ends, failures) = (ends.into_inner().unwrap(), failures.into_inner().unwrap());
    let count = |end| ends.get(&end).copied().unwrap_or(0);
    let line = format!(
        "{head}; of {} cases {} chosen ({choice}), {} injected, {} not met again, {} failed",
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

/// Runs each case, several at a time.
pub fn several_at_once<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
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
pub fn tell(line: &str) {
    let mut past = std::io::stderr();
    past.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Cases at a time: they mostly wait.
const AT_ONCE: usize = 6;
/// 2^64 over the golden ratio (Knuth's multiplicative hash).
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
