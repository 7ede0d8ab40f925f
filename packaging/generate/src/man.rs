//! A man page for a program: clap_mangen's sections, every command with its options on the same page, and what stands
//! in no command line: files, signals, exit codes.

use std::sync::LazyLock;

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

/// The page of a program, section 8.
pub fn page(program: &mut Command) -> String {
    program.build();
    let name = program.get_name().to_owned();
    let man = Man::new(program.clone())
        .section("8")
        .date(DATE.as_str())
        .source(format!("{name} {}", env!("CARGO_PKG_VERSION")))
        .manual("certrotd");
    let mut text = Vec::new();
    // To memory: nothing fails.
    let _ = man.render_title(&mut text);
    let _ = man.render_name_section(&mut text);
    let _ = man.render_synopsis_section(&mut text);
    let _ = man.render_description_section(&mut text);
    let _ = man.render_options_section(&mut text);
    let mut page = String::from_utf8_lossy(&text).into_owned();

    let mut roff = Roff::new();
    if program.has_subcommands() {
        roff.control("SH", ["COMMANDS"]);
        program.get_subcommands_mut().for_each(|command| describe(command, &mut roff));
    }
    for (title, paragraphs) in sections(&name) {
        roff.control("SH", [*title]);
        for (tag, text) in *paragraphs {
            tagged(&mut roff, tag, text);
        }
    }
    if name == "certrot-fleet"
        && let Some(after) = program.get_after_help()
    {
        roff.control("SH", ["ENVIRONMENT AND EXIT STATUS"]);
        for paragraph in after.to_string().split("\n\n") {
            roff.control("PP", []).text([roman(paragraph.replace('\n', " "))]);
        }
    } else {
        roff.control("SH", ["EXIT STATUS"]);
        for (code, meaning) in exit_codes() {
            tagged(&mut roff, code, meaning);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    let others = PAGES.iter().filter(|page| !page.starts_with(&format!("{name}(")));
    roff.text([roman(others.copied().collect::<Vec<_>>().join(", "))]);
    page.push_str(&roff.to_roff());
    page
}

/// A command, then the commands below it.
fn describe(command: &mut Command, roff: &mut Roff) {
    let usage = command.render_usage().to_string();
    if !command.has_subcommands() || command.get_arguments().any(Arg::is_positional) {
        roff.control("SS", [usage.trim_start_matches("Usage: ").trim()]);
        if let Some(about) = command.get_about() {
            roff.text([roman(sentence(&about.to_string()))]);
        }
        for arg in command.get_arguments().filter(|arg| !arg.is_global_set() && !is_help(arg)) {
            option(arg, roff);
        }
    }
    command.get_subcommands_mut().for_each(|below| describe(below, roff));
}

fn is_help(arg: &Arg) -> bool {
    matches!(arg.get_id().as_str(), "help" | "version")
}

fn option(arg: &Arg, roff: &mut Roff) {
    let mut tag = Vec::new();
    if let Some(short) = arg.get_short() {
        tag.extend([bold(format!("-{short}")), roman(", ")]);
    }
    if let Some(long) = arg.get_long() {
        tag.push(bold(format!("--{long}")));
    }
    if arg.is_positional() || arg.get_action().takes_values() {
        let name = arg.get_value_names().and_then(|names| names.first()).map(|name| name.to_string());
        tag.extend([
            roman(if arg.is_positional() { "" } else { " " }),
            italic(name.unwrap_or_else(|| arg.get_id().to_string().to_uppercase())),
        ]);
    }
    let mut text = sentence(&arg.get_help().map(ToString::to_string).unwrap_or_default());
    let values: Vec<_> = arg.get_possible_values();
    if !values.is_empty() && arg.get_action().takes_values() {
        let words: Vec<_> = values
            .iter()
            .map(|v| match v.get_help() {
                Some(help) => format!("{} ({})", v.get_name(), lower(&help.to_string())),
                None => v.get_name().to_owned(),
            })
            .collect();
        text.push_str(&format!(" One of: {}.", words.join(", ")));
    }
    let defaults: Vec<_> =
        arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        text.push_str(&format!(" Default: {}.", defaults.join(" ")));
    }
    roff.control("TP", []).text(tag).text([roman(text)]);
}

fn tagged(roff: &mut Roff, tag: &str, text: &str) {
    if tag.is_empty() {
        roff.control("PP", []).text([roman(text)]);
    } else {
        roff.control("TP", []).text([bold(tag)]).text([roman(text)]);
    }
}

fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// The codes and their meanings, off the one file that has them: `/// 69, `EX_UNAVAILABLE`: the daemon …`.
pub fn exit_codes() -> Vec<(&'static str, &'static str)> {
    EXIT.lines()
        .filter_map(|line| line.trim().strip_prefix("/// "))
        .filter_map(|line| line.split_once(": "))
        .filter_map(|(code, meaning)| {
            let code = code.split(',').next()?;
            code.parse::<u8>().ok().map(|_| (code, meaning))
        })
        .collect()
}

const EXIT: &str = include_str!("../../../src/exit.rs");

type Section = (&'static str, &'static [(&'static str, &'static str)]);

/// What a program's page says beside its command line.
fn sections(program: &str) -> &'static [Section] {
    match program {
        "certrotd" => DAEMON,
        "certrotctl" => CTL,
        _ => FLEET,
    }
}

const DAEMON: &[Section] = &[
    (
        "HOW IT WORKS",
        &[
            (
                "",
                "The device ships with a shared claim certificate. certrotd uses it once to get the device's own certificate \
             from AWS IoT Core, keeps one MQTT session over mutual TLS with it, and replaces key and certificate on \
             time: a new pair is made, proved by a real connection, switched to with one rename, and the old \
             certificate is retired by the cloud. Whatever fails on the way, the pair in use stays in use.",
            ),
            (
                "",
                "It runs as the service certrotd.service, as the user certrotd. It waits without an end for a network, a \
             right clock and a cloud that answers; what only a person can clear is in its status, in the journal at \
             level err, and in what certrotctl check says.",
            ),
        ],
    ),
    (
        "SIGNALS",
        &[
            ("SIGHUP", "Reads the configuration again; one that is wrong is refused and the old one stays."),
            ("SIGTERM, SIGINT", "Finishes the step in hand and ends."),
        ],
    ),
    (
        "FILES",
        &[
            ("/etc/certrotd/config.toml", "The configuration, each key explained in it: config.toml(5)."),
            ("/etc/certrotd/certs/", "The cloud's root certificate, and the claim pair that you put there."),
            (
                "/var/lib/certrotd/current",
                "The identity in use: device.cert.pem and device.key.pem. It is switched by one rename; read it once for \
             both files.",
            ),
            ("/run/certrotd/control.sock", "HTTP and JSON for certrotctl(8) and for curl --unix-socket."),
        ],
    ),
];

const CTL: &[Section] = &[(
    "FILES",
    &[(
        "/run/certrotd/control.sock",
        "The daemon's socket. Who may connect is its mode; who may give orders is [control] operators in \
     config.toml(5).",
    )],
)];

const FLEET: &[Section] = &[(
    "FILES",
    &[
        (
            "fleet/NAME-ACCOUNT-REGION/",
            "In the current directory, or where --dir says: the ledger of what was made, the claim pairs, and config.toml \
         for the devices.",
        ),
        (
            "/usr/lib/certrot-fleet/",
            "certrot-hook and certrot-retire, the programs that setup deploys as AWS Lambda functions.",
        ),
    ],
)];

/// Every page, for SEE ALSO.
pub const PAGES: [&str; 5] =
    ["certrotd(8)", "certrotctl(8)", "certrot-fleet(8)", "config.toml(5)", "systemctl(1)"];

/// The day of the newest entry in packaging/changelog, as 2026-11-29: a page that is built twice is the same page.
pub static DATE: LazyLock<String> = LazyLock::new(|| day(include_str!("../../changelog")));

/// ` -- name <address>  Sun, 29 Nov 2026 03:00:00 +0000`
fn day(changelog: &str) -> String {
    let line = changelog.lines().find(|line| line.starts_with(" -- ")).unwrap_or_default();
    let mut words = line.split_once(", ").map_or("", |(_, date)| date).split(' ');
    let (day, month, year) = (words.next(), words.next(), words.next());
    let month = month.and_then(|word| MONTHS.iter().position(|name| *name == word)).map_or(0, |n| n + 1);
    format!("{}-{month:02}-{:0>2}", year.unwrap_or_default(), day.unwrap_or_default())
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs;

    #[test]
    fn every_command_and_option_is_on_its_program_s_page() {
        for mut program in programs::all() {
            let page = page(&mut program).replace("\\-", "-");
            let mut commands = vec![program];
            while let Some(command) = commands.pop() {
                assert!(page.contains(command.get_name()), "{}", command.get_name());
                for long in command.get_arguments().filter_map(Arg::get_long) {
                    assert!(page.contains(&format!("--{long}")), "{} --{long}", command.get_name());
                }
                commands.extend(command.get_subcommands().cloned());
            }
        }
    }

    #[test]
    fn the_day_is_the_newest_entry_s() {
        let entry = |date| format!("x (1) u; u\n\n  * y\n\n -- a, b <c@d>  {date}\n\nx (0) u; u\n");
        assert_eq!(day(" -- a <c@d>  Sun, 29 Nov 2026 03:00:00 +0000\n"), "2026-11-29");
        assert_eq!(day(&entry("Thu, 01 Jan 2026 03:00:00 +0000").replace("a, b", "a")), "2026-01-01");
    }

    #[test]
    fn the_exit_codes_are_read_off_their_file() {
        let codes: Vec<_> = exit_codes().into_iter().map(|(code, _)| code).collect();
        assert_eq!(codes, ["0", "64", "69", "70", "75", "77", "78"]);
    }
}
