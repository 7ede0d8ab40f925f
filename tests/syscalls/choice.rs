//! Which cases run.

use std::env;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// `CERTROT_SYSCALLS`: `all`, a case by its name, or nothing: a share, another one each day (`CERTROT_SEED` says which).
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
    pub fn from_env() -> Choice {
        let seed = env::var("CERTROT_SEED").ok().and_then(|s| s.parse().ok());
        let day = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86_400);
        match env::var("CERTROT_SYSCALLS").ok().as_deref() {
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

/// 2^64 over the golden ratio (Knuth's multiplicative hash).
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
