//! Why a command did not do what was asked, what clears it, and the exit code that says so.

use std::path::PathBuf;
use std::process::ExitCode;

use thiserror::Error;

use crate::aws::error::{CallError, Refusal, StartError};
use crate::code::CodeError;
use crate::files::FileError;
use crate::keys::KeyError;
use crate::ledger::LedgerError;
use crate::names::NameError;
use crate::plan::PlanError;
use crate::verify::report::BROKEN;
use crate::verify::wire::WireError;

/// A command that failed.
#[derive(Debug, Error)]
pub enum FleetError {
    /// The fleet's name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No region, or no credentials.
    #[error(transparent)]
    Start(StartError),
    /// A call.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The programs of the functions.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A new device policy does not do what it is for.
    #[error("policy {policy} was tried and does not do: {}", wrong.join("; "))]
    Check {
        /// The policy.
        policy: String,
        /// What it allows or denies against the need.
        wrong: Vec<String>,
    },
    /// AWS shows something else than what was made, again and again.
    #[error("the account does not settle; still to do: {}", .0.join("; "))]
    Unsettled(Vec<String>),
    /// The fleet has an allow-list, and it is not here.
    #[error("the fleet has an allow-list, and {} is not here", .0.display())]
    NoList(PathBuf),
    /// A line of the allow-list is no serial.
    #[error("line {line} of the allow-list, {word:?}, is no serial: {source}")]
    Serial {
        /// From 1.
        line: usize,
        /// What stands there.
        word: String,
        /// What is wrong with it.
        source: certrot_rules::serial::SerialError,
    },
    /// Something that was named is not there, or not the fleet's.
    #[error("{what} {name}: {why}")]
    NotOurs {
        /// A thing, a certificate, a batch.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is the matter with it.
        why: String,
    },
    /// The person said no, or nobody was there to be asked.
    #[error("nothing was done: {0}")]
    Declined(String),
    /// Something that an honest device does, tried by `verify`.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Somebody ended it.
    #[error("ended by a signal")]
    Interrupted,
    /// Something is left, on purpose.
    #[error("not all is gone: {0}")]
    Left(String),
}

impl From<StartError> for FleetError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Call(call) => FleetError::Call(call),
            StartError::NoRegion => FleetError::Start(error),
        }
    }
}

impl FleetError {
    /// Who can clear it, and how.
    pub fn remedy(&self) -> String {
        let word = |w: &str| w.to_owned();
        match self {
            FleetError::Name(_) => word("give another --name, or IOT_TEMPLATE_NAME"),
            FleetError::Start(_) => word("set AWS_REGION, or give --region"),
            FleetError::Call(error) => error.remedy(),
            FleetError::Plan(error) => word(error.remedy()),
            FleetError::Ledger(LedgerError::Another { .. }) => word("give another --dir for this fleet"),
            FleetError::Ledger(LedgerError::Held(_)) => word("wait until the other has ended"),
            FleetError::Ledger(LedgerError::Damaged { .. }) => {
                word("move the file away: what carries the fleet's tag is found without it")
            }
            FleetError::Ledger(LedgerError::File(_)) | FleetError::File(_) => {
                word("check the directory's owner, mode and space, or give another --dir")
            }
            FleetError::Code(error) => word(error.remedy()),
            FleetError::Key(_) => {
                word("remove the file of the key if it was edited, and run the same command again")
            }
            FleetError::Check { .. } => word(
                "put the document in provisioning/policies right; nothing uses the policy yet. If you know that \
                 TestAuthorization is wrong here: --skip-check",
            ),
            FleetError::Unsettled(_) => {
                word("somebody else may be changing the same resources; run it again later")
            }
            FleetError::NoList(_) => {
                word("give the list with --allow-list FILE, or open the fleet to every serial with --open")
            }
            FleetError::Serial { .. } => word("one serial a line, 1 to 100 of a-z A-Z 0-9 : _ -"),
            FleetError::NotOurs { .. } => word("`status` lists what the fleet has"),
            FleetError::Declined(_) => word("answer yes, or give --yes"),
            FleetError::Wire(error) => word(error.remedy()),
            FleetError::Interrupted => word("run it again"),
            FleetError::Left(_) => word("what is named above says what it waits for"),
        }
    }

    /// The exit code: sysexits, as the contract has them.
    pub fn exit(&self) -> ExitCode {
        ExitCode::from(match self {
            FleetError::Call(error) => match error.refusal {
                Refusal::Denied | Refusal::Credentials => NOT_PERMITTED,
                Refusal::Unreachable => UNAVAILABLE,
                Refusal::Throttled
                | Refusal::Settling
                | Refusal::Conflict
                | Refusal::Exists
                | Refusal::Gone => LATER,
                Refusal::Other => SOFTWARE,
            },
            FleetError::Unsettled(_) | FleetError::Ledger(LedgerError::Held(_)) | FleetError::Left(_) => {
                LATER
            }
            FleetError::Wire(WireError::Connect(failure)) if !failure.is_refusal() => UNAVAILABLE,
            FleetError::Wire(_) => BROKEN,
            FleetError::Interrupted => LATER,
            FleetError::NotOurs { .. } | FleetError::Declined(_) | FleetError::Name(_) => USAGE,
            FleetError::Start(_)
            | FleetError::Plan(_)
            | FleetError::Ledger(_)
            | FleetError::File(_)
            | FleetError::Code(_)
            | FleetError::Key(_)
            | FleetError::Check { .. }
            | FleetError::NoList(_)
            | FleetError::Serial { .. } => CONFIG,
        })
    }
}

/// `plan --check`: something would change.
pub const CHANGES: u8 = 1;
/// The command line is wrong, or names something that is not there.
pub const USAGE: u8 = 64;
/// AWS cannot be reached.
pub const UNAVAILABLE: u8 = 69;
/// AWS does not take what this tool sent.
pub const SOFTWARE: u8 = 70;
/// The same command may succeed later.
pub const LATER: u8 = 75;
/// These credentials may not.
pub const NOT_PERMITTED: u8 = 77;
/// Region, names, files, documents.
pub const CONFIG: u8 = 78;
