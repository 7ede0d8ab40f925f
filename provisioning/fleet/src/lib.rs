//! `certrot-fleet`: what a fleet of `certrotd` devices needs in an AWS account, set up, shown and taken away again.
//!
//! ```text
//! provisioning/{policies,templates,roles} ─▶ desired ─┬─▶ plan ─▶ setup ─▶ aws ─▶ the account
//!                                                     └─▶ cloudformation     │
//! the account ─▶ aws/observe ─▶ model ────────────────────▶ plan             │
//! calls ─▶ aws::call, operator (what an operator must be allowed)            │
//! ledger, claim, check, cleanup, status, things, verify ─────────────────────┘
//! ```
//! `names` makes every name, `desired` says what is wanted, `model` is the one shape for what is wanted and what was
//! seen, `plan` compares them and is pure, `aws` is the only part that sends, and each command is a file of its own.
//! What may be done to devices' certificates is decided in `certrot-rules`, as in the Lambdas and in the twin.

pub mod allow;
pub mod arguments;
pub mod aws;
pub mod calls;
pub mod check;
pub mod claim;
pub mod cleanup;
pub mod cloudformation;
pub mod code;
pub mod config;
pub mod desired;
pub mod error;
pub mod files;
pub mod keys;
pub mod ledger;
pub mod model;
pub mod names;
pub mod operator;
pub mod plan;
pub mod run;
pub mod setup;
pub mod status;
pub mod tell;
pub mod things;
pub mod verify;
