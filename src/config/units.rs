//! The small values of a configuration: durations, paths, numbers in a range, words out of a list, users.
//!
//! Each is made by one `parse` that refuses with a `Fault`; none reads a file or a clock. Names (serial, thing,
//! endpoint, template, filters) are in `names`.

use super::problem::{Fault, nearest};
use std::fmt;
use std::path::{Path, PathBuf};

/// A whole number of seconds, written as `"90d"`, `"12h"`, `"1h30m"`, `"30s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

impl Duration {
    /// Makes a duration of seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The length in seconds.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// The length as the standard library's type.
    pub const fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0)
    }

    /// Reads digits and units, the larger unit first: w, d, h, m, s.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let bad = |why: &str| {
            Fault::new(
                format!("a duration is whole numbers with units w, d, h, m, s: {why}"),
                "write it as \"90d\", \"12h\", \"1h30m\" or \"30s\"",
            )
        };
        if text.is_empty() {
            return Err(bad("this one is empty"));
        }
        let (mut rest, mut total, mut last) = (text, 0_u64, u64::MAX);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return Err(bad("a number is expected before each unit"));
            }
            let unit = match rest.as_bytes().get(digits) {
                None => return Err(bad("the unit is missing")),
                Some(letter) => UNITS.iter().find(|(u, _)| u == letter),
            };
            let Some((_, seconds)) = unit else {
                return Err(bad("the unit is not one of these"));
            };
            if *seconds >= last {
                return Err(bad("each unit comes once, the larger first"));
            }
            total = rest[..digits]
                .parse::<u64>()
                .ok()
                .and_then(|n| n.checked_mul(*seconds))
                .and_then(|n| n.checked_add(total))
                .filter(|n| *n <= LONGEST)
                .ok_or_else(|| bad("it is longer than 100 years"))?;
            last = *seconds;
            rest = &rest[digits + 1..];
        }
        Ok(Self(total))
    }

    /// Reads a duration and refuses one outside of `least ..= most`.
    pub fn parse_within(text: &str, least: Duration, most: Duration) -> Result<Self, Fault> {
        let value = Self::parse(text)?;
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        Err(Fault::new(
            format!("it must be from {least} to {most}"),
            if value < least {
                format!("write \"{least}\" or more")
            } else {
                format!("write \"{most}\" or less")
            },
        ))
    }
}

impl fmt::Display for Duration {
    /// Writes the shortest form that `parse` reads, in d, h, m and s; nothing is `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, seconds) in UNITS.iter().skip(1) {
            if rest >= *seconds {
                write!(f, "{}{}", rest / seconds, char::from(*unit))?;
                rest %= seconds;
            }
        }
        Ok(())
    }
}

/// A path from the root, without `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbsolutePath(PathBuf);

impl AbsolutePath {
    /// Reads a path that must be absolute and plain.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let path = Path::new(text);
        if text.contains(char::is_control) || text.contains("-----BEGIN") {
            // Not repeated in the fix: PEM text in the place of a path would be a key.
            return Err(Fault::new(
                "this is the path of a file, on one line, and not what is in the file",
                "put the content in a file and write its path; a key that stood here is to be replaced",
            ));
        }
        if text.contains("${") {
            return Err(Fault::new(
                "only the claim's paths and serial-file may hold ${CREDENTIALS_DIRECTORY}, and no other variable",
                "write the path out",
            ));
        }
        if !path.is_absolute() {
            return Err(Fault::new(
                "paths are absolute: the daemon has no working directory to count from",
                format!("begin it with /, for example \"/etc/certrotd/{}\"", text.trim_start_matches("./")),
            ));
        }
        if text.split('/').any(|part| part == "." || part == "..") {
            return Err(Fault::new("a path has no . or .. in it", "write the path that is meant"));
        }
        Ok(Self(path.to_path_buf()))
    }

    /// The path itself.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for AbsolutePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A setting that is one word out of a list.
pub(super) trait Choice: Copy + Sized + 'static {
    /// Every word with its meaning.
    const ALL: &'static [(&'static str, Self)];

    /// What an absent key means.
    const DEFAULT: (&'static str, Self);

    /// Finds the word, or names the one that was probably meant.
    fn parse(text: &str) -> Result<Self, Fault> {
        if let Some((_, value)) = Self::ALL.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let words: Vec<&str> = Self::ALL.iter().map(|(word, _)| *word).collect();
        let fix = match nearest(text, words.iter().copied()) {
            Some(meant) => format!("write \"{meant}\""),
            None => format!("write one of them; without the line it is \"{}\"", Self::DEFAULT.0),
        };
        Err(Fault::new(format!("it is one of: {}", words.join(", ")), fix))
    }
}

/// Declares an enum of words, its `Choice` and its `as_str`.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident = $default:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
        impl $name {
            /// The word of the configuration file.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
        impl Choice for $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
            const DEFAULT: (&'static str, Self) = (Self::$default.as_str(), Self::$default);
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

choice! {
    /// Where the private key of a new identity is made.
    KeySource = Device {
        /// On the device; the cloud signs a CSR and never sees the key.
        Device = "device",
        /// In the cloud, by CreateKeysAndCertificate.
        Cloud = "cloud",
    }
}
choice! {
    /// The kind of key that the device makes.
    KeyType = EcdsaP256 {
        /// ECDSA on P-256.
        EcdsaP256 = "ecdsa-p256",
        /// ECDSA on P-384.
        EcdsaP384 = "ecdsa-p384",
    }
}
choice! {
    /// What is done when the store was written on another machine.
    MachineChange = Report {
        /// Use it and say so.
        Report = "report",
        /// Do not use it until `certrotctl adopt`.
        Hold = "hold",
        /// Leave it and provision this machine anew.
        Provision = "provision",
    }
}
choice! {
    /// Who retires old certificates in the cloud.
    RetireMode = CommitTopic {
        /// The cloud, when the device's commit is accepted.
        CommitTopic = "commit-topic",
        /// The operator.
        None = "none",
    }
}
choice! {
    /// The least serious level that is logged.
    LogLevel = Info {
        /// The identity will be lost unless someone acts.
        Error = "error",
        /// One attempt failed.
        Warn = "warn",
        /// The identity changed.
        Info = "info",
        /// Each action.
        Debug = "debug",
        /// Everything, the libraries too.
        Trace = "trace",
    }
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// A user of this machine, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum User {
    /// By the name of the user database.
    Name(String),
    /// By number, where the database has no name.
    Uid(u32),
}

impl User {
    /// Reads a name of the user database (at most 32 characters, as useradd(8) has it) or a number.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().map(Self::Uid).map_err(|_| {
                Fault::new(
                    "a user's number is at most 4294967295",
                    "write the user's name, or the number `id -u` prints",
                )
            });
        }
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'$'));
        if first && rest && text.len() <= 32 {
            return Ok(Self::Name(text.to_owned()));
        }
        Err(Fault::new(
            "a user is a name of at most 32 letters, digits, _ - ., or a number; no groups",
            "write the name that `id -un` prints",
        ))
    }

    /// Looks the user's number up in the user database; `None` where it knows no such name, or cannot be asked.
    pub fn uid(&self) -> Option<u32> {
        match self {
            Self::Uid(uid) => Some(*uid),
            Self::Name(name) => nix::unistd::User::from_name(name).ok().flatten().map(|u| u.uid.as_raw()),
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Uid(uid) => uid.fmt(f),
        }
    }
}

/// Users who may do something; looked up each time, so that one who is made later counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(Vec<User>);

impl Users {
    /// Keeps the list as it is written.
    pub fn new(users: Vec<User>) -> Self {
        Self(users)
    }

    /// Says whether the user with this number is one of them.
    pub fn contains(&self, uid: u32) -> bool {
        self.0.iter().any(|user| user.uid() == Some(uid))
    }

    /// Goes through them as they are written.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.0.iter()
    }

    /// Says whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Refuses a number outside of `least ..= most`.
pub(super) fn number_within(value: i64, least: i64, most: i64) -> Result<i64, Fault> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(Fault::new(
        format!("it must be from {least} to {most}"),
        format!("write {}", if value < least { least } else { most }),
    ))
}

const UNITS: [(u8, u64); 5] = [(b'w', 604_800), (b'd', 86_400), (b'h', 3_600), (b'm', 60), (b's', 1)];

/// 100 years: nothing here is longer, and sums of times stay far from overflow.
const LONGEST: u64 = 36_525 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_that_leaves_doubt_is_refused() {
        for bad in [
            "",
            "90",
            "d",
            "1.5h",
            "90 d",
            "-1h",
            "1h1h",
            "30m1h",
            "1h30",
            "1y",
            "1D",
            "99999999999999999999d",
        ] {
            assert!(Duration::parse(bad).is_err(), "{bad:?} was read");
        }
        assert!(Duration::parse("36526d").is_err());
    }

    #[test]
    fn a_duration_is_read_and_written_in_the_same_form() {
        for (text, seconds) in [("90d", 7_776_000), ("12h", 43_200), ("1h30m", 5_400), ("30s", 30), ("0s", 0)]
        {
            let d = Duration::parse(text).unwrap();
            assert_eq!(d.as_secs(), seconds);
            assert_eq!(d.to_string(), text);
        }
        assert_eq!(Duration::parse("2w").unwrap().to_string(), "14d");
    }

    #[test]
    fn a_path_that_needs_a_working_directory_is_refused() {
        for bad in ["", "certs/a.pem", "./a", "/etc/../a", "/etc/./a", "${HOME}/a"] {
            assert!(AbsolutePath::parse(bad).is_err(), "{bad:?} was read");
        }
        assert_eq!(AbsolutePath::parse("/etc/certrotd").unwrap().as_path(), Path::new("/etc/certrotd"));
    }

    #[test]
    fn a_mistyped_choice_names_the_one_that_was_meant() {
        assert!(KeyType::parse("ecdsa_p384").unwrap_err().fix.contains("ecdsa-p384"));
        assert!(RetireMode::parse("rsa").is_err());
        assert_eq!(MachineChange::parse("hold"), Ok(MachineChange::Hold));
    }

    #[test]
    fn a_stranger_is_not_among_the_users() {
        let users = Users::new(vec![User::parse("root").unwrap(), User::parse("4242").unwrap()]);
        assert!(users.contains(0) && users.contains(4242));
        assert!(!users.contains(1));
        for bad in ["", "@wheel", "a b", "-x", "4294967296"] {
            assert!(User::parse(bad).is_err(), "{bad:?} was read");
        }
    }
}
