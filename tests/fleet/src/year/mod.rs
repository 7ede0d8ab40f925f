//! A fleet in virtual time: the real core a million times, under AWS's quotas.
//!
//! ```text
//! scenario ─▶ fleet ─▶ device (the real `Rotation`) ─▶ calls ─▶ quota ─▶ meter ─▶ report, picture
//!               │ wheel                                  └─▶ thing        ▲
//!               └─────────▶ handler (the Lambda's own steps) ─────────────┘
//! ```
//! It proves nothing of a device's safety (the walk does); it asks what many safe devices do to one account.

pub mod bisect;
mod calls;
pub mod device;
pub mod fleet;
pub mod handler;
pub mod meter;
pub mod picture;
pub mod quota;
pub mod report;
pub mod scenario;
pub mod thing;
pub mod wheel;
