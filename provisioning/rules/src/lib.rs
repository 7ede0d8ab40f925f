//! Decisions of the cloud side, pure: the hooks' and the retire handler's, and the documents they rest on.
//!
//! Time, registry and network are arguments or answers: nothing here reads a clock, opens a socket or waits. The
//! Lambdas and the twin run the same code, each with its own way to ask the registry.
//!
//! ```text
//! RegisterThing ─▶ hook::claim  (rule 23)  ─▶ allow | deny
//!               ─▶ hook::rotate (rule 24)  ─▶ allow with the authenticated name | deny
//! commit topic  ─▶ retire::Retire (10–14)  ─▶ calls, one at a time ─▶ accepted | rejected
//! operator      ─▶ sweep::sweep (rule 15)  ─▶ what may be finished, what is only reported
//! operator      ─▶ documents               ─▶ policies, templates, the rule's SQL
//! ```

pub mod documents;
pub mod hook;
pub mod record;
pub mod registry;
pub mod retire;
pub mod serial;
pub mod sweep;
