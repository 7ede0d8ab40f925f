//! What people are told about a failure: a stable word, a sentence, and who can clear it.
//!
//! Made from the adapters' errors with their whole chain of sources; never from a payload.

use std::error::Error;

use crate::cloud::{Cause, ConnectFailure, Remedy};
use crate::store::StoreError;

/// A failure in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// One kebab-case word.
    pub code: String,
    /// What failed and why.
    pub text: String,
    /// Who can clear it, and how.
    pub remedy: String,
}

impl Detail {
    /// Puts the three together.
    pub fn new(code: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Detail { code: code.into(), text: text.into(), remedy: remedy.into() }
    }

    /// Tells an error with its sources.
    pub fn of(code: &str, error: &dyn Error, remedy: impl Into<String>) -> Self {
        Detail::new(code, chain(error), remedy)
    }

    /// Tells an error of the store.
    pub fn of_store(act: &str, error: &StoreError) -> Self {
        let code = if error.is_full() { "disk-full" } else { "store" };
        Detail::new(code, format!("{act}: {}", chain(error)), error.remedy())
    }

    /// Tells why a connection did not come about.
    pub fn of_connect(failure: &ConnectFailure) -> Self {
        Detail::new(failure.cause.code(), chain(failure), remedy(&failure.cause))
    }

    /// Tells why a connection ended.
    pub fn of_cause(cause: &Cause) -> Self {
        Detail::new(cause.code(), chain(cause), remedy(cause))
    }
}

fn remedy(cause: &Cause) -> &'static str {
    match cause.remedy() {
        Remedy::Time(words) | Remedy::Certificate(words) | Remedy::Person(words) => words,
    }
}

/// An error and its sources, each told once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = inner.source();
    }
    text
}
