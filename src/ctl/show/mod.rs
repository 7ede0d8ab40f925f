//! What people read: pure functions from wire types to text, each proved with golden strings.
//!
//! No file, no clock, no terminal is asked here: width, height, colour and the present come as arguments.

mod check;
mod event;
mod history;
mod status;

pub use check::check;
pub use event::event;
pub use history::history;
pub use status::{Screen, status};

#[cfg(test)]
mod status_tests;
