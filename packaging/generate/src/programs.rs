//! The three command lines, as clap definitions: two are the programs' own, the daemon's is read off its `--help`,
//! since it has no parser of clap's (each page that it maps is resident for ever).

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command, CommandFactory, ValueHint};

use crate::arguments::{ctl, daemon, fleet};

/// certrotd, certrotctl, certrot-fleet.
pub fn all() -> [Command; 3] {
    [certrotd(), ctl::Args::command(), fleet::Arguments::command()]
}

fn certrotd() -> Command {
    let help = match daemon::Arguments::parse([OsString::from("--help")]) {
        Ok(daemon::Arguments::Print(text)) => text,
        other => unreachable!("--help is answered with text, not {other:?}"),
    };
    from_help("certrotd", &help)
}

/// Reads the help that clap would have printed: what it is about, then options, one a line.
fn from_help(name: &'static str, help: &str) -> Command {
    let about = help.lines().next().unwrap_or_default().to_owned();
    let options = help.split_once("Options:\n").map_or("", |(_, options)| options);
    let mut command = Command::new(name)
        .about(about)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true);
    for line in options.lines() {
        if let Some(arg) = option(line) {
            command = command.arg(arg);
        }
    }
    command
}

/// `  -h, --help           Print help` or `      --config <FILE>  The file [default: /etc/x]`.
fn option(line: &str) -> Option<Arg> {
    let (words, help) = line.trim_start().split_once("  ")?;
    let mut arg = None;
    for word in words.split(", ") {
        let (flag, value) = word.split_once(' ').map_or((word, None), |(flag, value)| (flag, Some(value)));
        arg = Some(match (flag.strip_prefix("--"), arg) {
            (Some(long), arg) => {
                let arg = arg.unwrap_or_else(|| Arg::new(long.to_owned())).long(long.to_owned());
                match value {
                    Some(value) => arg
                        .value_name(value.trim_matches(['<', '>']).to_owned())
                        .action(ArgAction::Set)
                        .value_hint(ValueHint::FilePath),
                    None => arg.action(ArgAction::SetTrue),
                }
            }
            (None, _) => Arg::new(flag.to_owned()).short(flag.chars().nth(1)?),
        });
    }
    let help = help.trim();
    let (help, default) = help
        .strip_suffix(']')
        .and_then(|help| help.split_once(" [default: "))
        .map_or((help, None), |(help, default)| (help, Some(default.to_owned())));
    let mut arg = arg?.help(StyledStr::from(help.to_owned()));
    if let Some(default) = default {
        arg = arg.default_value(default);
    }
    Some(arg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_s_definition_prints_the_daemon_s_own_help() {
        let Ok(daemon::Arguments::Print(help)) = daemon::Arguments::parse([OsString::from("--help")]) else {
            panic!("--help is answered with text");
        };
        assert_eq!(certrotd().render_help().to_string().trim_end(), help);
    }

    #[test]
    fn every_definition_is_sound_and_says_what_each_option_is_for() {
        for program in all() {
            program.clone().debug_assert();
            let mut commands = vec![program];
            while let Some(command) = commands.pop() {
                let about = command.get_about().map(ToString::to_string).unwrap_or_default();
                // Not this program's own, which a definition would take from the manifest that it is compiled with.
                assert!(
                    !about.is_empty() && about != env!("CARGO_PKG_DESCRIPTION"),
                    "{}",
                    command.get_name()
                );
                for arg in command.get_arguments() {
                    assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
                }
                commands.extend(command.get_subcommands().cloned());
            }
        }
    }
}
