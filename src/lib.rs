//! certrotd: the architecture page comes with the first whole story.
extern crate alloc;
pub mod clock;
pub mod config;
pub mod exit;
pub mod log;
pub mod notify;
pub mod rotation;
