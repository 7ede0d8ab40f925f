//! The exit codes of every program here: sysexits(3), as the contract names them.
//!
//! A main returns one of these; `process::exit` is banned, so that what is open is closed and what is buffered written.

use std::process::{ExitCode, Termination};

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// 0: what was asked is done.
    Done = 0,
    /// 64, `EX_USAGE`: the command line is wrong.
    Usage = 64,
    /// 69, `EX_UNAVAILABLE`: the daemon cannot be reached.
    Unavailable = 69,
    /// 70, `EX_SOFTWARE`: a fault of the program itself.
    Software = 70,
    /// 75, `EX_TEMPFAIL`: not now; the same command may succeed later.
    TryAgain = 75,
    /// 77, `EX_NOPERM`: this user may not.
    NotPermitted = 77,
    /// 78, `EX_CONFIG`: the configuration is wrong, and stays so until a person changes it.
    Config = 78,
}

impl Exit {
    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_sysexits_and_the_contract() {
        use Exit::*;
        let all = [Done, Usage, Unavailable, Software, TryAgain, NotPermitted, Config];
        assert_eq!(all.map(Exit::code), [0, 64, 69, 70, 75, 77, 78]);
    }
}
