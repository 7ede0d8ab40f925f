//! A fleet of `certrotd`: a million devices in virtual time, and ten thousand real ones against the twin.
//!
//! ```text
//! main ─▶ year   the real core a million times, in virtual time, under AWS's quotas: load, lateness, pictures
//!     └─▶ real   core, store and cloud session of the daemon ten thousand times in this machine, against the twin
//! ```
//! It measures and it judges (a lost device, a second certificate); what a single device does right is shown elsewhere.

pub mod real;
pub mod year;
