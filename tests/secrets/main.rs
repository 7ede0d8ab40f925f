//! Where keys and tokens are, and where they are not: log, answers of the control socket, events, disk, memory.
//!
//! The daemon's own process, after a rotation whose old generation has been retired and removed. What a library keeps
//! is named in `memory::KEPT`, with the reason.

#[path = "../support/mod.rs"]
mod support;

mod birth;
mod memory;
mod outputs;
mod secret;
