//! Which cases run.

use std::env;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// `CERTROT_SYSCALLS`: `all`, a case by its name, or nothing: a tenth, another one each day (`CERTROT_SEED` says which).
pub enum Choice {
    /// Every case.
    All,
    /// One case.
    One(String),
    /// The tenth of this number.
    Tenth(u64),
}

impl Choice {
    /// As the environment says.
    #[allow(clippy::disallowed_methods, reason = "the day, not the clock of the program under test")]
    pub fn from_env() -> Choice {
        let seed = env::var("CERTROT_SEED").ok().and_then(|s| s.parse().ok());
        let day = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86_400);
        match env::var("CERTROT_SYSCALLS").ok().as_deref() {
            None | Some("") => Choice::Tenth(seed.unwrap_or_else(day) % TENTH),
            Some("all") => Choice::All,
            Some(case) => Choice::One(case.to_owned()),
        }
    }

    /// Whether a case runs; `n` is its number in the whole matrix.
    pub fn takes(&self, n: usize, case: &str) -> bool {
        match self {
            Choice::All => true,
            Choice::One(name) => case == name,
            // Mixed, or the tenth would have one error at every second call.
            Choice::Tenth(remainder) => ((n as u64).wrapping_mul(MIX) >> 32) % TENTH == *remainder,
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
            Choice::Tenth(remainder) => write!(f, "a tenth, CERTROT_SEED={remainder}"),
        }
    }
}

const TENTH: u64 = 10;
/// 2^64 over the golden ratio (Knuth's multiplicative hash).
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
