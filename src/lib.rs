//! certrotd: the architecture page comes with the first whole story.
extern crate alloc;
pub mod cloud;
pub mod rotation;
