//! The whole program against the twin: real binaries, real disk, real TLS.

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod provisioning;
mod triggers;
