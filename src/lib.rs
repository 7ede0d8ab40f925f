//! certrotd: the architecture page comes with the first whole story.
extern crate alloc;
pub mod control;
pub mod ctl;
pub mod rotation;
