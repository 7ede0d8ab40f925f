//! A real fleet on this machine: the twin in one process, devices in others, mTLS over loopback between them.
//!
//! ```text
//! run ─▶ hold   (a process)  the twin; counts and judges its registry when asked
//!     └─▶ shard (processes)  devices: the real core, store and cloud session of the daemon, without its sockets
//! ```
//! Processes are told what to do by lines on their standard input and answer by lines on their output. Devices are
//! started and rotated some at a time, as many as there are lanes: what is measured is what the machine does, not how
//! long a crowd waits.

pub mod device;
pub mod hold;
pub mod process;
pub mod run;
pub mod shard;

/// What went wrong in a run.
#[derive(Debug, thiserror::Error)]
pub enum RealError {
    /// A file, pipe or process.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The twin did not start.
    #[error("the twin does not start")]
    Twin(#[from] certrot_twin::OpenError),
    /// A store could not be opened.
    #[error("the store of {thing}")]
    Store {
        /// Whose.
        thing: String,
        /// Why not.
        source: certrotd::store::StoreError,
    },
    /// A device's configuration is wrong.
    #[error("the configuration of {thing}:\n{report}")]
    Configuration {
        /// Whose.
        thing: String,
        /// What is wrong.
        report: String,
    },
    /// A process said something else than was expected, or nothing any more.
    #[error("{who} answered {answer:?} to {command:?}")]
    Answer {
        /// Who.
        who: String,
        /// What it was told.
        command: String,
        /// What it said.
        answer: String,
    },
}

/// An error of the operating system's, with what was tried.
pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> RealError {
    let what = what.into();
    move |source| RealError::Io { what, source }
}

/// Raises the limit of open files as far as this process may: each device has a socket and a locked store.
pub(crate) fn raise_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    // Only root may raise the hard limit; anybody may raise his own to it.
    if setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES).is_err()
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
    {
        let _as_it_is = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

const FILES: u64 = 65_536;
