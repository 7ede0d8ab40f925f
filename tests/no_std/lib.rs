//! Compiles the pure core alone as `no_std`: a build that fails means the core reached for the world.
#![no_std]
extern crate alloc;

#[path = "../../src/rotation/mod.rs"]
pub mod rotation;
