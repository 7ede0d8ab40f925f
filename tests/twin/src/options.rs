//! What can be set when the twin starts; the defaults are AWS IoT Core as far as it is known.

use std::path::PathBuf;
use std::time::Duration;

/// Everything a twin is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its CA and its state live.
    pub dir: PathBuf,
    /// MQTT port on loopback; 0 picks a free one.
    pub port: u16,
    /// REST port on loopback; 0 picks a free one.
    pub api_port: u16,
    /// How far the twin's clock is off the real one when it starts, in milliseconds.
    pub clock_offset_ms: i64,
    /// How many times as fast as real time the twin's clock runs.
    pub clock_rate: f64,
    /// Life of device certificates; `None` is AWS's: to 2049-12-31T23:59:59Z.
    pub certificate_life: Option<Duration>,
    /// How long before its issue a certificate starts to be valid.
    pub backdate: Duration,
    /// How a certificate that is unknown or not ACTIVE is turned away.
    pub certificate_refusal: Refusal,
    /// How a CONNECT that the policy does not allow is turned away.
    pub connect_refusal: Refusal,
    /// Whether a certificate past its notAfter is refused.
    pub refuse_expired: bool,
    /// Whether a TLS client must name a server (SNI).
    pub require_sni: bool,
    /// Whether TLS 1.2 is the only version offered.
    pub tls12_only: bool,
    /// Whether an ownership token only counts on the connection that got it.
    pub bind_tokens: bool,
    /// Life of an ownership token and of the certificate that waits for it, in twin time.
    pub token_life: Duration,
    /// The shortest time between two CONNECTs of one client id, in real time; zero does not pace.
    pub connect_pace: Duration,
    /// How long policies and attachments take to be seen by the broker, in twin time.
    pub propagation: Duration,
    /// Life of a persistent session without a connection, in twin time.
    pub session_life: Duration,
    /// Thing names that the claim hook lets in; `None` lets in every well-formed one.
    pub allow_list: Option<Vec<String>>,
    /// Whether the commit topic's rule and handler are there from the start.
    pub commit_handler: bool,
    /// A `bootstrap` for both hooks; `None` decides in this process.
    pub hook_lambda: Option<PathBuf>,
    /// A `bootstrap` for the retire handler; `None` decides in this process.
    pub retire_lambda: Option<PathBuf>,
    /// A folder with a directory for each function (`lambda/mod.rs`); what is not in it cannot be invoked.
    pub functions: Option<PathBuf>,
    /// How long AWS IoT waits for a hook, in real time.
    pub hook_limit: Duration,
    /// Whether the account starts empty: no policies, templates, rule or claim certificate.
    pub empty: bool,
}

impl Options {
    /// The defaults, with the state in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            port: 0,
            api_port: 0,
            clock_offset_ms: 0,
            clock_rate: 1.0,
            certificate_life: None,
            backdate: Duration::from_secs(120),
            certificate_refusal: Refusal::Alert,
            connect_refusal: Refusal::Connack,
            refuse_expired: true,
            require_sni: true,
            tls12_only: false,
            bind_tokens: false,
            token_life: Duration::from_secs(3600),
            connect_pace: Duration::ZERO,
            propagation: Duration::ZERO,
            session_life: Duration::from_secs(3600),
            allow_list: None,
            commit_handler: true,
            hook_lambda: None,
            retire_lambda: None,
            functions: None,
            // Developer guide, “Pre-provisioning hooks”.
            hook_limit: Duration::from_secs(5),
            empty: false,
        }
    }
}

/// How a client is turned away; AWS has been seen doing each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A TLS alert in the handshake (only possible for the certificate; elsewhere as `Close`).
    Alert,
    /// The connection is closed without a word.
    Close,
    /// CONNACK with return code 5 (MQTT 5: 0x87).
    Connack,
}
