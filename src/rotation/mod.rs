//! The pure core: decides what is done next, and touches nothing.
//!
//! `Rotation::step(now, Input) -> Action`: one input in, one action out, at most one effect outstanding. It reads no
//! clock, file, socket or random number (all come in with `Now` and `Input`), so every trace can be walked
//! (`tests/simulation.rs`), and it compiles alone without the standard library (`tests/no_std`).
//!
//! ```text
//!            Input::{Done, Happened, Order, Reload, Woke}
//!                              │
//!   language ─ machine: absorb what became known (only what is durable or seen)
//!                              │
//!               plan: read the disk image, the link, the gates; pick ONE thing
//!                              │
//!            Action::{Do(Effect), Keep, Wait { until, why }}
//! ```
//!
//! The order in which things are done, and who may do them, is the numbered rules of the protocol; each rule is named
//! where it is kept. Nothing is remembered of a half-done rotation but what `Inspect` would read again: after doubt
//! the disk image is thrown away and read anew (one door), and `plan` continues where the disk stands.

mod absorb;
mod clock;
mod follow;
pub mod identity;
pub mod language;
pub mod machine;
mod plan;
mod renewal;
mod retire;
pub mod retry;
pub mod schedule;
mod way_back;

pub use follow::follow;
pub use identity::{Asked, Boot, Certificate, Current, Disk, Mark, Origin, Record, Slot, Stage, Wall};
pub use language::{
    Action, Carrier, CloudOrder, Effect, Happening, Input, MachineChange, Now, Order, Outcome, Policy,
    RetireMode, Trouble, Verdict, Wait, Why,
};
pub use machine::{Link, Rotation, State};
pub use schedule::{Due, Rule};
