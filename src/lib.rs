//! certrotd: the architecture page comes with the first whole story.
extern crate alloc;
pub mod keys;
pub mod rotation;
pub mod store;
pub mod x509;
