//! Where the log goes and how much of it: journald's fields under systemd, readable text on stderr otherwise.
//!
//! Fields are `certificate_id`, `generation`, `thing`, `message_id`: journald shows them as `CERTIFICATE_ID`,
//! `GENERATION`, `THING`, `MESSAGE_ID`. Levels are promises: ERROR, the identity will be lost unless someone acts; WARN,
//! one attempt failed; INFO, the identity changed; DEBUG, each action. Never a key, a token, a CSR or a payload: that is
//! why the records of libraries (which print packets) stay out below WARN, unless the level is trace.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// `message_id`s of what needs a person: `journalctl MESSAGE_ID=…`, and the key of a catalogue entry.
pub mod id {
    /// The certificate will expire, or has, and rotation does not succeed.
    pub const ROTATION_OVERDUE: &str = "407b8c1ce1f64ad7a48c93cb1ff1d605";
    /// The cloud keeps refusing the certificate in use (rule 19).
    pub const CERTIFICATE_REFUSED: &str = "9ee05f737f714f638e536c939ff5a9a8";
    /// No pair works; the claim is tried (rule 20).
    pub const BACK_TO_CLAIM: &str = "5d5af8035906483d92579581ddfa1476";
    /// Another client connects with our client id (rule 22).
    pub const CONTESTED: &str = "e61b395f03b649498da579c949463400";
    /// Three certificates are alive on one thing: retirement does not succeed (rule 16).
    pub const CERTIFICATES_PILE_UP: &str = "3635fd63a52b4dad8c64882001330391";
    /// The store was written on another machine (`machine-change`).
    pub const MACHINE_CHANGED: &str = "b1884d8564c24744aa8fdf1cd5584c67";
    /// The store is damaged (rule 21).
    pub const STORE_DAMAGED: &str = "ed4f5430335948768f67d3be61699c67";
    /// A new configuration was refused; the old one stays.
    pub const CONFIG_REFUSED: &str = "cfb3b07faf384e5c823c7bd1844338a3";
    /// No serial is known; the daemon waits for `certrotctl provision SERIAL`.
    pub const SERIAL_MISSING: &str = "c0dd6cde37644e8b9e896d6559a60d28";
    /// The claim cannot be used.
    pub const CLAIM_UNUSABLE: &str = "eb3f279996974fb8bdd1235262644ada";
    /// A hook failed after a switch; it is tried again.
    pub const HOOK_FAILED: &str = "d33d97cc0631426689e5883cef249add";
}

/// The running log; its level can be changed.
#[derive(Clone, Debug)]
pub struct Log {
    filter: reload::Handle<Targets, Registry>,
    destination: Destination,
}

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To journald, with fields.
    Journal,
    /// To stderr, as text.
    Stderr,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another subscriber was set in this process before.
    #[error("cannot start the log: this process already has one")]
    Taken(#[source] tracing_subscriber::util::TryInitError),
}

impl Log {
    /// Starts the log of this process at a level; once.
    pub fn init(level: Level) -> Result<Self, LogError> {
        let (filter, handle) = reload::Layer::new(targets(level));
        let journal = is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref(), std::io::stderr().as_fd())
            .then(journal_layer)
            .flatten();
        let destination = if journal.is_some() { Destination::Journal } else { Destination::Stderr };
        let text = (destination == Destination::Stderr).then(|| text_layer(std::io::stderr, colours()));
        tracing_subscriber::registry()
            .with(filter)
            .with(journal)
            .with(text)
            .try_init()
            .map_err(LogError::Taken)?;
        Ok(Self { filter: handle, destination })
    }

    /// Changes the level, as a reload does.
    pub fn set_level(&self, level: Level) {
        // It fails only when the subscriber is gone, and the process's own never goes.
        let _ = self.filter.reload(targets(level));
    }

    /// Where the log goes.
    pub fn destination(&self) -> Destination {
        self.destination
    }
}

/// The level for our own events; the libraries' are limited to WARN, unless everything is asked for.
fn targets(level: Level) -> Targets {
    let libraries = if level == Level::TRACE { Level::TRACE } else { level.min(Level::WARN) };
    Targets::new()
        .with_default(libraries)
        .with_target(env!("CARGO_CRATE_NAME"), LevelFilter::from_level(level))
}

/// Journald's layer; `None` where its socket does not answer, and then stderr must do.
fn journal_layer() -> Option<tracing_journald::Layer> {
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
        ..PriorityMappings::new()
    };
    let layer = tracing_journald::layer().ok()?;
    Some(layer.with_field_prefix(None).with_priority_mappings(priorities))
}

fn text_layer<S, W>(writer: W, colours: bool) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'w> fmt::MakeWriter<'w> + 'static,
{
    fmt::layer().with_writer(writer).with_target(false).with_ansi(colours)
}

/// Colours only for eyes: on a terminal, and not where `NO_COLOR` is set (no-color.org).
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Says whether the descriptor is the stream that `JOURNAL_STREAM` names, as `device:inode` (systemd.exec(5)).
///
/// The variable alone proves nothing: it is inherited by what redirects its stderr elsewhere.
fn is_journal(stream: Option<&str>, descriptor: impl AsFd) -> bool {
    let Some((device, inode)) = stream.and_then(|text| text.split_once(':')) else {
        return false;
    };
    let Ok(metadata) =
        descriptor.as_fd().try_clone_to_owned().and_then(|owned| std::fs::File::from(owned).metadata())
    else {
        return false;
    };
    device.parse() == Ok(metadata.dev()) && inode.parse() == Ok(metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const CATALOGUE: &str = include_str!("../systemd/certrotd.catalog");
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(act: impl FnOnce(&reload::Handle<Targets, Registry>)) -> String {
        let page = Page::default();
        let writer = page.clone();
        let (filter, handle) = reload::Layer::new(targets(Level::INFO));
        let layers =
            tracing_subscriber::registry().with(filter).with(text_layer(move || writer.clone(), false));
        tracing::subscriber::with_default(layers, || act(&handle));
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn the_text_says_time_level_message_and_fields_without_colour() {
        let text = written(|_| tracing::info!(thing = "SN-1", generation = 7, "switched"));
        assert!(text.contains(" INFO switched thing=\"SN-1\" generation=7\n"), "{text:?}");
        assert!(text.starts_with("20") && !text.contains('\x1b'), "{text:?}");
    }

    #[test]
    fn what_a_library_says_below_warn_stays_out() {
        let text = written(|_| {
            tracing::info!(target: "rumqttc::state", "packet");
            tracing::warn!(target: "rustls::conn", "alert");
            tracing::debug!("action");
        });
        assert!(text.contains("alert") && !text.contains("packet") && !text.contains("action"), "{text:?}");
    }

    #[test]
    fn a_reload_changes_the_level() {
        let text = written(|handle| {
            tracing::debug!("before");
            handle.reload(targets(Level::DEBUG)).unwrap();
            tracing::debug!("after");
            tracing::debug!(target: "rumqttc::state", "packet");
            handle.reload(targets(Level::ERROR)).unwrap();
            tracing::warn!("quiet");
            tracing::warn!(target: "rumqttc::state", "quiet");
        });
        assert!(text.contains("after"), "{text:?}");
        assert!(!text.contains("before") && !text.contains("packet") && !text.contains("quiet"), "{text:?}");
    }

    #[test]
    fn an_inherited_journal_stream_that_is_not_our_stderr_is_not_the_journal() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        let ours = format!("{}:{}", metadata.dev(), metadata.ino());
        assert!(is_journal(Some(&ours), &file));
        let other = format!("{}:{}", metadata.dev(), metadata.ino() + 1);
        for stream in [None, Some(""), Some("7"), Some("a:b"), Some(other.as_str())] {
            assert!(!is_journal(stream, &file), "{stream:?}");
        }
    }

    #[test]
    fn every_message_id_is_128_bits_and_no_two_are_the_same() {
        use id::*;
        let mut all = vec![
            ROTATION_OVERDUE,
            CERTIFICATE_REFUSED,
            BACK_TO_CLAIM,
            CONTESTED,
            CERTIFICATES_PILE_UP,
            MACHINE_CHANGED,
            STORE_DAMAGED,
            CONFIG_REFUSED,
            SERIAL_MISSING,
            CLAIM_UNUSABLE,
            HOOK_FAILED,
        ];
        let lower_hex = |c: char| c.is_ascii_hexdigit() && !c.is_ascii_uppercase();
        assert!(all.iter().all(|id| id.len() == 32 && id.chars().all(lower_hex)));
        for id in &all {
            assert!(CATALOGUE.contains(&format!("-- {id}\n")), "{id} has no entry in the catalogue");
        }
        let entries = CATALOGUE.lines().filter(|line| line.starts_with("-- ")).count();
        assert_eq!(entries, all.len(), "each entry of the catalogue is an id of ours");
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
