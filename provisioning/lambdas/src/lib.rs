//! The cloud's two programs: the pre-provisioning hook (rules 23, 24) and the retire handler (rules 10 to 16).
//!
//! Both are thin shells: what is decided is decided in `certrot-rules`, which the twin runs as well; this crate asks
//! AWS and answers. `certrot-hook` and `certrot-retire` are the programs; each is packed as `bootstrap` in a zip of its
//! own for `provided.al2023`.
//!
//! ```text
//! RegisterThing ─▶ certrot-hook   ─▶ hook   ─▶ rules::hook   ◀─▶ registry ─▶ AWS IoT
//! topic rule    ─▶ certrot-retire ─▶ retire ─▶ rules::retire ◀─▶ registry ─▶ AWS IoT, reply to the device
//! ```
//! Environment (set by `certrot-fleet`):
//!
//! | variable | program | meaning |
//! | --- | --- | --- |
//! | `CERTROT_HOOK` | hook | `claim` or `rotate`: which template it stands before |
//! | `CERTROT_ALLOW_LIST` | hook | a file of serials in the function's zip; without it the fleet is open |
//! | `CERTROT_THING_TYPE` | retire | things of another type are left alone |
//!
//! `sdk` makes a configuration of the AWS SDK on the one crypto provider of this workspace, for whoever needs one.
//! Nothing is kept between two invocations but connections: every answer is made afresh.

pub mod allow_list;
pub mod failure;
pub mod hook;
pub mod log;
pub mod registry;
pub mod retire;
pub mod sdk;
