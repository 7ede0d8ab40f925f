//! The programs' own files of arguments, compiled here once more: from the programs themselves would come the AWS SDK.

/// certrotd's.
#[path = "../../../src/arguments.rs"]
#[allow(dead_code)]
pub mod daemon;

/// certrotctl's.
#[path = "../../../src/ctl/args.rs"]
#[allow(dead_code)]
pub mod ctl;

/// certrot-fleet's.
#[path = "../../../provisioning/fleet/src/arguments.rs"]
#[allow(dead_code)]
pub mod fleet;
