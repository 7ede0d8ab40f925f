//! What the store noticed and went on with: each with its path, what it means, and what a person can do.
//!
//! Findings are for `status`, the log and `certrotctl check`. They say nothing of what is in a file beyond that it
//! does not parse.

use std::path::{Path, PathBuf};

use crate::rotation::identity::Stage;
use crate::x509;

/// One thing that is not as the contract has it, and that did not stop the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A mode was too open, or the owner could not read it; it was set right.
    ModeSet {
        /// What.
        path: PathBuf,
        /// The mode that it had.
        was: u32,
    },
    /// A mode is not right and could not be set (a read-only file system).
    ModeLeft {
        /// What.
        path: PathBuf,
        /// The mode that it has.
        was: u32,
    },
    /// Something half-done or removed before was swept away at start.
    Swept {
        /// What.
        path: PathBuf,
    },
    /// Something half-done or removed before could not be swept away.
    NotSwept {
        /// What.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// A name that is not ours; left alone.
    ForeignFile {
        /// What.
        path: PathBuf,
    },
    /// A file that was damaged and moved aside earlier; kept for whoever looks.
    DamagedKept {
        /// What.
        path: PathBuf,
    },
    /// A link, or something else that is no plain file or directory, where one should be; it is not followed.
    WrongKind {
        /// What.
        path: PathBuf,
    },
    /// `current` leads nowhere that could be an identity.
    CurrentAstray {
        /// What.
        path: PathBuf,
        /// How.
        how: Astray,
    },
    /// A file of a pair is not there.
    Missing {
        /// What.
        path: PathBuf,
    },
    /// A file of a pair is empty.
    Empty {
        /// What.
        path: PathBuf,
    },
    /// A file of a pair does not parse.
    Garbage {
        /// What.
        path: PathBuf,
        /// What was expected of it.
        why: x509::Error,
    },
    /// The storage cannot give a file back.
    Unreadable {
        /// What.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// Key and certificate of a generation do not belong together.
    Mismatch {
        /// The generation's directory.
        path: PathBuf,
    },
    /// `state.json` is missing or damaged; a stage was assumed.
    StateAssumed {
        /// The file.
        path: PathBuf,
        /// The stage that is assumed.
        stage: Stage,
    },
    /// `current` names a generation whose state.json does not say that it was proved; it is taken as proved.
    StateBehind {
        /// The file.
        path: PathBuf,
    },
    /// `state.json` names another certificate than the one beside it.
    OtherCertificate {
        /// The file.
        path: PathBuf,
    },
    /// `retire.json`, `device.json` or `history.json` was damaged; it starts anew.
    BookDamaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged one is kept, where it could be moved.
        kept: Option<PathBuf>,
    },
    /// `retire.json` waits for the commit of a generation that is not there any more.
    PendingGone {
        /// The file.
        path: PathBuf,
        /// The generation.
        generation: u32,
    },
}

/// How `current` leads astray.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Astray {
    /// It names a generation that is not there.
    Dangling,
    /// It is a file, a directory or a device.
    NotALink,
    /// It points to something that is no generation of this store.
    Elsewhere,
}

impl Finding {
    /// The file or directory that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Finding::ModeSet { path, .. }
            | Finding::ModeLeft { path, .. }
            | Finding::Swept { path }
            | Finding::NotSwept { path, .. }
            | Finding::ForeignFile { path }
            | Finding::DamagedKept { path }
            | Finding::WrongKind { path }
            | Finding::CurrentAstray { path, .. }
            | Finding::Missing { path }
            | Finding::Empty { path }
            | Finding::Garbage { path, .. }
            | Finding::Unreadable { path, .. }
            | Finding::Mismatch { path }
            | Finding::StateAssumed { path, .. }
            | Finding::StateBehind { path }
            | Finding::OtherCertificate { path }
            | Finding::BookDamaged { path, .. }
            | Finding::PendingGone { path, .. } => path,
        }
    }

    /// Says whether the identity on disk is hurt, or only the order around it.
    pub fn is_damage(&self) -> bool {
        match self {
            Finding::CurrentAstray { .. }
            | Finding::WrongKind { .. }
            | Finding::Missing { .. }
            | Finding::Empty { .. }
            | Finding::Garbage { .. }
            | Finding::Unreadable { .. }
            | Finding::Mismatch { .. }
            | Finding::StateAssumed { .. }
            | Finding::StateBehind { .. }
            | Finding::OtherCertificate { .. }
            | Finding::BookDamaged { .. }
            | Finding::PendingGone { .. } => true,
            Finding::ModeSet { .. }
            | Finding::ModeLeft { .. }
            | Finding::Swept { .. }
            | Finding::NotSwept { .. }
            | Finding::ForeignFile { .. }
            | Finding::DamagedKept { .. } => false,
        }
    }

    /// Says what a person can do, or that nothing needs doing.
    pub fn fix(&self) -> &'static str {
        match self {
            Finding::ModeSet { .. } => {
                "set right; find out who opened it, and if others could read a key: certrotctl rotate-now"
            }
            Finding::ModeLeft { .. } => {
                "mount the file system writable; until then others may be able to read it"
            }
            Finding::Swept { .. } => "nothing to do",
            Finding::NotSwept { .. } => "tried again at the next start; see the reason",
            Finding::ForeignFile { .. } => "left alone; move it out of the store if nobody needs it there",
            Finding::DamagedKept { .. } => "remove it once the cause is known",
            Finding::WrongKind { .. } => {
                "links are not followed here: put the plain file or directory in its place"
            }
            Finding::CurrentAstray { .. } => {
                "heals by itself when another generation, or the claim, connects"
            }
            Finding::Missing { .. }
            | Finding::Empty { .. }
            | Finding::Garbage { .. }
            | Finding::Unreadable { .. }
            | Finding::Mismatch { .. } => {
                "the generation is not used; heals when another one, or the claim, connects; check the storage"
            }
            Finding::StateAssumed { .. } | Finding::StateBehind { .. } => {
                "the pair is used all the same; the next rotation puts a new state.json in place"
            }
            Finding::OtherCertificate { .. } => {
                "the pair is used as it is; find out who changed the certificate"
            }
            Finding::BookDamaged { .. } => "it starts anew; check the storage",
            Finding::PendingGone { .. } => "nothing to do: the certificate in use commits for all older ones",
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path().display();
        match self {
            Finding::ModeSet { was, .. } => write!(f, "{path} had mode {was:04o}"),
            Finding::ModeLeft { was, .. } => {
                write!(f, "{path} has mode {was:04o}, which could not be set right")
            }
            Finding::Swept { .. } => write!(f, "{path} was left over and has been removed"),
            Finding::NotSwept { why, .. } => write!(f, "{path} is left over and could not be removed: {why}"),
            Finding::ForeignFile { .. } => write!(f, "{path} is not certrotd's"),
            Finding::DamagedKept { .. } => write!(f, "{path} is kept from an earlier damage"),
            Finding::WrongKind { .. } => write!(f, "{path} is not a plain file or directory"),
            Finding::CurrentAstray { how, .. } => match how {
                Astray::Dangling => write!(f, "{path} names a generation that is not there"),
                Astray::NotALink => write!(f, "{path} is not a link"),
                Astray::Elsewhere => write!(f, "{path} points to something that is no generation"),
            },
            Finding::Missing { .. } => write!(f, "{path} is missing"),
            Finding::Empty { .. } => write!(f, "{path} is empty"),
            Finding::Garbage { why, .. } => write!(f, "{path}: {why}"),
            Finding::Unreadable { why, .. } => write!(f, "{path} cannot be read: {why}"),
            Finding::Mismatch { .. } => write!(f, "{path}: {}", x509::Error::Mismatch),
            Finding::StateAssumed { stage, .. } => {
                let stage = match stage {
                    Stage::Issued => "issued",
                    Stage::Registered => "registered",
                    Stage::Proved => "proved",
                };
                write!(f, "{path} is missing or damaged; taken as {stage}")
            }
            Finding::StateBehind { .. } => write!(f, "{path} does not say proved, though current names it"),
            Finding::OtherCertificate { .. } => {
                write!(f, "{path} names another certificate than the one beside it")
            }
            Finding::BookDamaged { kept: Some(kept), .. } => {
                write!(f, "{path} was damaged and is kept as {}", kept.display())
            }
            Finding::BookDamaged { kept: None, .. } => write!(f, "{path} is damaged"),
            Finding::PendingGone { generation, .. } => {
                write!(f, "{path} waits for generation {generation}, which is not there")
            }
        }
    }
}
