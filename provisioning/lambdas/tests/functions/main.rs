//! The real programs under the twin's Lambda runtime API, against the decisions in process.
//!
//! What is decided is proved in `certrot-rules`; here it is proved that the programs decide the same, in time, and that
//! a program that is killed, starved or silent does no harm.

#[path = "../../../../tests/twin/tests/support/mod.rs"]
mod support;

mod cost;
mod hooks;
mod lab;
mod retiring;
mod trouble;
