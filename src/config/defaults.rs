//! The value of every key that a configuration leaves out, and the range that a number or a duration may have.
//!
//! `etc/config.toml` shows the same values; a test compares them.

use super::units::Duration;

/// A duration's default and its range.
pub(super) struct Span {
    /// The value where the key is absent.
    pub(super) default: Duration,
    /// The shortest.
    pub(super) least: Duration,
    /// The longest.
    pub(super) most: Duration,
}

const fn span(default: u64, least: u64, most: u64) -> Span {
    Span {
        default: Duration::from_secs(default),
        least: Duration::from_secs(least),
        most: Duration::from_secs(most),
    }
}

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;

/// Not below the 15 minutes of refusals that rule 19 waits for.
pub(super) const FALLBACK_AFTER: Span = span(24 * HOUR, 15 * MINUTE, 30 * DAY);
/// Not above ten years: a later day is as good as never.
pub(super) const MAX_AGE: Span = span(90 * DAY, HOUR, 3_650 * DAY);
/// Not below a minute: one rotation takes seconds, and a refused one is tried again.
pub(super) const RENEW_BEFORE: Span = span(30 * DAY, MINUTE, 3_650 * DAY);
/// Not above a week: a step of the clock is to be seen.
pub(super) const CHECK_INTERVAL: Span = span(12 * HOUR, MINUTE, 7 * DAY);
/// The schedule takes never more than a tenth of the lifetime of it (rule 28).
pub(super) const SPLAY: Span = span(24 * HOUR, 0, 30 * DAY);
/// Not below a minute: RegisterThing is the fleet's scarcest quota.
pub(super) const MIN_INTERVAL: Span = span(HOUR, MINUTE, 30 * DAY);
/// Not above a week: an old certificate that lives is a risk.
pub(super) const RETIRE_DELAY: Span = span(0, 0, 7 * DAY);
/// AWS IoT's own limits on keep-alive.
pub(super) const KEEP_ALIVE: Span = span(60, 30, 1_200);
/// Not above a day.
pub(super) const START_JITTER: Span = span(0, 0, DAY);

/// Default of `aws.port`: MQTT over TLS.
pub(super) const PORT: i64 = 8883;
/// Default of `retire.keep-generations`.
pub(super) const KEEP_GENERATIONS: i64 = 2;
/// Most that `retire.keep-generations` may be.
pub(super) const KEEP_GENERATIONS_MOST: i64 = 16;
/// Default of `aws.root-ca`.
pub(super) const ROOT_CA: &str = "/etc/certrotd/certs/AmazonRootCA1.pem";
/// Default of `claim.certificate`.
pub(super) const CLAIM_CERTIFICATE: &str = "/etc/certrotd/certs/claim.cert.pem";
/// Default of `claim.private-key`.
pub(super) const CLAIM_KEY: &str = "${CREDENTIALS_DIRECTORY}/claim.key";
/// Default of `claim.template`.
pub(super) const CLAIM_TEMPLATE: &str = "certrot-claim";
/// Default of `rotation.template`.
pub(super) const ROTATION_TEMPLATE: &str = "certrot-rotate";
/// Default of `identity.directory`.
pub(super) const IDENTITY_DIRECTORY: &str = "/var/lib/certrotd";
/// Default of `control.socket`.
pub(super) const SOCKET: &str = "/run/certrotd/control.sock";
/// Default of `control.operators`.
pub(super) const OPERATOR: &str = "root";
/// Default of `messages.publish` and of `messages.subscribe`.
pub(super) const FILTER: &str = "device/{thing}/#";
