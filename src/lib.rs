//! certrotd: the architecture page comes with the first whole story.
extern crate alloc;
pub mod clock;
pub mod cloud;
pub mod config;
pub mod control;
pub mod ctl;
pub mod exit;
pub mod keys;
pub mod log;
pub mod notify;
pub mod rotation;
pub mod store;
pub mod x509;
