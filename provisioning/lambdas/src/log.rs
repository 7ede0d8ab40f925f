//! One JSON line for each thing worth telling; Lambda hands standard output on to CloudWatch Logs.
//!
//! Fields, not sentences. Never an event: it carries certificates and what devices wrote.

use serde_json::{Map, Value};

/// What a line promises, in the daemon's meaning of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Somebody must act.
    Error,
    /// One attempt failed.
    Warn,
    /// An identity changed, or was refused.
    Info,
}

/// Writes one line.
pub fn tell(level: Level, what: &str, fields: &[(&str, &dyn std::fmt::Display)]) {
    let word = match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN",
        Level::Info => "INFO",
    };
    let mut line = Map::new();
    line.insert("level".into(), word.into());
    line.insert("what".into(), what.into());
    for (name, value) in fields {
        line.insert((*name).to_owned(), value.to_string().into());
    }
    println!("{}", Value::Object(line));
}
