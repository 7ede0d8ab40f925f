//! The command line of `certrotd`: two words, read by hand.
//!
//! By hand because every page that the daemon maps is resident on the device for ever: the parser of `certrotctl` is a
//! twentieth of the whole program. No positional words; the last of a repeated option counts.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::config::DEFAULT_PATH;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Run the daemon with this configuration.
    Run(PathBuf),
    /// Print every problem of this configuration.
    Check(PathBuf),
    /// Print this text and end well.
    Print(String),
}

/// The command line is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentsError {
    /// There is no such word.
    #[error("unexpected argument {0:?}")]
    Unknown(String),
    /// An option without its value.
    #[error("{0} needs a value")]
    NoValue(&'static str),
}

impl ArgumentsError {
    /// What clears it.
    pub fn remedy(&self) -> &'static str {
        match self {
            ArgumentsError::Unknown(_) | ArgumentsError::NoValue(_) => "see certrotd --help",
        }
    }
}

impl Arguments {
    /// Reads the words behind the program's name.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, ArgumentsError> {
        let mut words = words.into_iter();
        let (mut config, mut check) = (PathBuf::from(DEFAULT_PATH), false);
        while let Some(word) = words.next() {
            match word.as_bytes() {
                b"--config" => config = words.next().ok_or(ArgumentsError::NoValue(CONFIG))?.into(),
                b"--check-config" => check = true,
                b"-h" | b"--help" => return Ok(Arguments::Print(HELP.to_owned())),
                b"-V" | b"--version" => {
                    return Ok(Arguments::Print(concat!("certrotd ", env!("CARGO_PKG_VERSION")).to_owned()));
                }
                bytes => match bytes.strip_prefix(b"--config=") {
                    Some(path) => config = OsString::from_vec(path.to_vec()).into(),
                    None => return Err(ArgumentsError::Unknown(shown(&word))),
                },
            }
            if config.as_os_str().is_empty() {
                return Err(ArgumentsError::NoValue(CONFIG));
            }
        }
        Ok(if check { Arguments::Check(config) } else { Arguments::Run(config) })
    }
}

fn shown(word: &OsStr) -> String {
    word.to_string_lossy().into_owned()
}

const CONFIG: &str = "--config";

const HELP: &str = concat!(
    "Keeps this device's AWS IoT identity: provisions it once, keeps a session, replaces it on time

Usage: certrotd [OPTIONS]

Options:
      --config <FILE>  The configuration file [default: ",
    "/etc/certrotd/config.toml",
    "]
      --check-config   Prints every problem of the configuration and ends: 0 where there is none, 78 otherwise
  -h, --help           Print help
  -V, --version        Print version"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, ArgumentsError> {
        Arguments::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn without_words_the_daemon_runs_with_the_contract_s_configuration() {
        assert_eq!(parse(""), Ok(Arguments::Run("/etc/certrotd/config.toml".into())));
        assert!(HELP.contains(DEFAULT_PATH), "the help names the default");
    }

    #[test]
    fn the_words_come_in_any_order_and_the_value_behind_a_space_or_an_equals_sign() {
        for line in [
            "--check-config --config /a",
            "--config=/a --check-config",
            "--config /b --config /a --check-config",
        ] {
            assert_eq!(parse(line), Ok(Arguments::Check("/a".into())), "{line}");
        }
    }

    #[test]
    fn a_word_too_many_a_misspelt_one_and_a_missing_value_are_refused() {
        for line in ["/a", "--conf /a", "--check-config=yes", "-c", "--config /a extra", "--"] {
            assert!(matches!(parse(line), Err(ArgumentsError::Unknown(_))), "{line}");
        }
        for line in ["--config", "--config=", "--check-config --config"] {
            assert_eq!(parse(line), Err(ArgumentsError::NoValue("--config")), "{line}");
        }
    }

    #[test]
    fn a_path_that_is_no_text_stays_as_it_is() {
        let path = OsString::from_vec(b"--config=/\xff".to_vec());
        let expected = PathBuf::from(OsString::from_vec(b"/\xff".to_vec()));
        assert_eq!(Arguments::parse([path]), Ok(Arguments::Run(expected)));
    }

    #[test]
    fn help_and_version_are_printed() {
        for line in ["--help", "-h", "--version", "-V"] {
            assert!(
                matches!(parse(line), Ok(Arguments::Print(text)) if text.contains("ertrotd") || text.contains("Usage"))
            );
        }
    }
}
