//! The whole program against the twin: real binaries, real disk, real TLS.

#[path = "../support/mod.rs"]
mod support;

mod checks;
mod faults;
mod messages;
mod metrics;
mod network;
mod provisioning;
mod restarts;
mod takeover;
mod triggers;
