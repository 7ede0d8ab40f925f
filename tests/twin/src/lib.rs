//! AWS IoT Core for one machine, as far as `certrotd` can see it.
//!
//! ```text
//! main ─▶ Twin ─▶ cloud (registry, clock, faults, events) ◀── access ◀── policy
//!                   ▲        ▲            ▲
//!                broker   provision ─▶ template        rest (AWS's API, and /twin/ for tests)
//!                   └──▶ retire ─▶ certrot-rules ◀── provision (hooks)
//!                           └──────▶ lambda ◀─────────┘   (a real bootstrap in the place of the rules)
//! main ─▶ demo ─▶ Twin, and the real certrotd beside it
//! ```
//! As a library it starts on a thread of its own, so that a test without a runtime can hold one:
//!
//! ```no_run
//! # fn main() -> Result<(), certrot_twin::OpenError> {
//! use certrot_twin::{Effect, Fault, Options, Twin};
//! let twin = Twin::start(Options::new("/tmp/twin"))?;
//! twin.fault(Fault::once("register", Effect::Drop));
//! println!("mqtt on {}, trusted by {}", twin.port(), twin.ca_pem().display());
//! # Ok(()) }
//! ```

pub mod access;
pub mod account;
pub mod broker;
pub mod ca;
pub mod clock;
pub mod cloud;
pub mod demo;
pub mod events;
pub mod faults;
pub mod files;
pub mod lambda;
pub mod options;
pub mod policy;
pub mod provision;
pub mod registry;
pub mod rest;
pub mod retire;
pub mod sql;
pub mod template;
pub mod tls;
mod twin;

pub use broker::sessions::Connected;
pub use cloud::{Issued, OpenError};
pub use events::{Event, Logged};
pub use faults::{Effect, Fault};
pub use options::{Options, Refusal};
pub use registry::{Certificate, Status, Thing};
pub use twin::Twin;
