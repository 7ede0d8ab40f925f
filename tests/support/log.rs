//! The daemon's log, as tests look at it.

use std::fmt;
use std::path::Path;

/// The whole text.
pub struct Log(String);

impl Log {
    /// Reads it; empty where there is none yet.
    pub fn read(path: &Path) -> Self {
        Self(String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned())
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Lines of one level: `ERROR`, `WARN`, `INFO`, `DEBUG`.
    pub fn lines(&self, level: &str) -> Vec<&str> {
        self.0.lines().filter(|l| l.split_whitespace().nth(1) == Some(level)).collect()
    }

    /// Lines of one level that have all these words.
    pub fn find(&self, level: &str, words: &[&str]) -> Vec<&str> {
        self.lines(level).into_iter().filter(|l| words.iter().all(|w| l.contains(w))).collect()
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--- the daemon's log\n{}", self.0)
    }
}
