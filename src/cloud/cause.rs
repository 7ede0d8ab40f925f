//! Why a connection did not come about or ended: one word for each thing that is told apart in `status` and the log.
//!
//! It only names; what follows from a cause (back off, fall back, wait for a person) is the core's to decide. The
//! texts never hold payloads or packets: a broker could echo secrets.

use std::io;
use std::net::SocketAddr;

use rumqttc::{ConnectReturnCode, ConnectionError, StateError};
use rustls::{AlertDescription, CertificateError};

/// The step of a connection that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Name resolution.
    Dns,
    /// The TCP handshake, over all addresses.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// From CONNECT to CONNACK.
    Connack,
    /// Writing to an established connection.
    Write,
}

/// Why a connection did not come about, or why it ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The endpoint's name has no address, or the resolver does not answer.
    #[error("resolving {host}: {detail}")]
    Dns {
        /// The name that was looked up.
        host: String,
        /// The resolver's words.
        detail: String,
    },
    /// Something answered that nobody listens on the port.
    #[error("connecting to {address}: refused, nobody listens there")]
    Refused {
        /// The last address that was tried.
        address: SocketAddr,
    },
    /// There is no way to any of the addresses.
    #[error("connecting to {address}: {detail}")]
    Unreachable {
        /// The last address that was tried.
        address: SocketAddr,
        /// The kernel's words.
        detail: String,
    },
    /// A step took longer than its deadline.
    #[error("{} took too long", .0.words())]
    Timeout(Step),
    /// The server's certificate does not lead to the configured root, names another host or is out of its time.
    #[error("the server is not trusted: {detail}")]
    UntrustedServer {
        /// What is wrong with the server's certificate.
        detail: String,
    },
    /// The server ended TLS with an alert; after it was verified this speaks about our certificate.
    #[error("the server sent the TLS alert {alert}")]
    TlsAlert {
        /// The alert's name in RFC 8446, snake case.
        alert: String,
    },
    /// TLS failed in another way: not TLS at all, no common version, closed in the handshake.
    #[error("TLS failed: {detail}")]
    TlsFault {
        /// What the TLS library says.
        detail: String,
    },
    /// CONNACK with a return code other than 0 and 3 (MQTT 3.1.1, table 3.1; AWS has a 7 of its own).
    #[error("CONNECT was refused with return code {}: {}", .0, connack_words(*.0))]
    ConnackRefused(u8),
    /// CONNACK with return code 3: says nothing of our certificate.
    #[error("the server takes no CONNECT now (return code 3): too many at once, or an outage")]
    Throttled,
    /// The server closed after CONNECT without a CONNACK: refusal, throttling, outage or a detached policy.
    #[error("the server closed the connection without a CONNACK: refused or throttled, it does not say")]
    ClosedBeforeConnack,
    /// The server (or the network) closed an established connection.
    #[error("the server closed the connection")]
    Closed,
    /// The server stopped answering keep-alive pings.
    #[error("no answer to the keep-alive ping")]
    KeepAlive,
    /// A packet that MQTT does not allow at this point, or that is too large.
    #[error("the MQTT protocol was violated: {detail}")]
    Protocol {
        /// What was wrong, without any packet's content.
        detail: String,
    },
    /// The daemon itself ended the connection.
    #[error("disconnected on request")]
    Ended,
}

/// Who or what can clear a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Waiting: it goes away by itself or with the network.
    Time(&'static str),
    /// Another certificate, or the same one once the cloud sees it (rules 3 and 19).
    Certificate(&'static str),
    /// A person.
    Person(&'static str),
}

impl Cause {
    /// Says who can clear it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Cause::Dns { .. } => {
                Remedy::Time("check [aws] endpoint and the machine's resolver; tried again by itself")
            }
            Cause::Refused { .. } => Remedy::Time("check [aws] port and firewalls; tried again by itself"),
            Cause::Unreachable { .. } | Cause::Timeout(_) | Cause::Closed | Cause::KeepAlive => {
                Remedy::Time("the network or the service; tried again by itself")
            }
            Cause::UntrustedServer { .. } => Remedy::Person(
                "check [aws] root-ca (AmazonRootCA1.pem for AWS), the endpoint's name, the clock and interception of TLS",
            ),
            Cause::TlsAlert { .. } => {
                Remedy::Certificate("the certificate is unknown, inactive or revoked there, or not yet seen")
            }
            Cause::TlsFault { .. } => {
                Remedy::Person("check that [aws] endpoint and port lead to an MQTT service over TLS")
            }
            Cause::Throttled => Remedy::Time(
                "time: tried again with growing waits; AWS takes one CONNECT a second of a client id, 500 of an account",
            ),
            Cause::ConnackRefused(_) | Cause::ClosedBeforeConnack => Remedy::Certificate(
                "certificate inactive or detached, policy without iot:Connect for this client id, or throttled",
            ),
            Cause::Protocol { .. } => {
                Remedy::Person("the server is not an MQTT 3.1.1 broker as this program knows it")
            }
            Cause::Ended => Remedy::Time("asked for"),
        }
    }

    /// A short, stable name for metrics and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Cause::Dns { .. } => "dns",
            Cause::Refused { .. } => "tcp-refused",
            Cause::Unreachable { .. } => "unreachable",
            Cause::Timeout(_) => "timeout",
            Cause::UntrustedServer { .. } => "untrusted-server",
            Cause::TlsAlert { .. } => "tls-alert",
            Cause::TlsFault { .. } => "tls-fault",
            Cause::ConnackRefused(_) => "connack-refused",
            Cause::Throttled => "throttled",
            Cause::ClosedBeforeConnack => "closed-before-connack",
            Cause::Closed => "closed",
            Cause::KeepAlive => "keep-alive",
            Cause::Protocol { .. } => "protocol",
            Cause::Ended => "ended",
        }
    }
}

impl Step {
    /// The step in words.
    pub fn words(self) -> &'static str {
        match self {
            Step::Dns => "name resolution",
            Step::Tcp => "the TCP connection",
            Step::Tls => "the TLS handshake",
            Step::Connack => "the answer to CONNECT",
            Step::Write => "writing to the connection",
        }
    }
}

/// A connection that did not come about, with what must be known for rules 8 and 19.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("connecting to {target} as {client_id}: {cause}")]
pub struct ConnectFailure {
    /// `host:port` as configured.
    pub target: String,
    /// The client id that was (or would have been) sent.
    pub client_id: String,
    /// Why.
    #[source]
    pub cause: Cause,
    /// Whether CONNECT may have left this machine.
    pub connect_sent: bool,
    /// Whether the server's TLS certificate and signature had been verified.
    pub server_verified: bool,
}

impl ConnectFailure {
    /// Rule 8: whether the broker may have accepted and so have closed another session of this client id.
    ///
    /// A CONNACK with a refusal and an alert say that it did not; silence or a bare close do not say.
    pub fn old_session_may_be_gone(&self) -> bool {
        self.connect_sent
            && !matches!(self.cause, Cause::ConnackRefused(_) | Cause::Throttled | Cause::TlsAlert { .. })
    }

    /// Rule 19: whether this counts as a refusal of the certificate; never before the server was verified.
    pub fn is_refusal(&self) -> bool {
        self.server_verified
            && match self.cause {
                Cause::TlsAlert { .. } | Cause::ClosedBeforeConnack | Cause::ConnackRefused(_) => true,
                // With TLS 1.2 the server judges us before its Finished; a bare close there is its verdict.
                Cause::TlsFault { .. } => true,
                _ => false,
            }
    }
}

/// Names the cause of a failed TLS handshake.
pub(super) fn of_handshake(error: &io::Error) -> Cause {
    if let Some(tls) = rustls_error(error) {
        return of_rustls(tls);
    }
    Cause::TlsFault {
        detail: match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "the server closed in the handshake".to_owned()
            }
            _ => error.to_string(),
        },
    }
}

/// Names the cause for which the client library gave a connection up; `established` is after CONNACK.
pub(super) fn of_library(error: &ConnectionError, established: bool) -> Cause {
    let closed = if established { Cause::Closed } else { Cause::ClosedBeforeConnack };
    match error {
        ConnectionError::NetworkTimeout => Cause::Timeout(Step::Connack),
        ConnectionError::FlushTimeout | ConnectionError::DisconnectTimeout => Cause::Timeout(Step::Write),
        ConnectionError::ConnectionRefused(code) => of_connack(connack_code(*code)),
        ConnectionError::RequestsDone => Cause::Ended,
        ConnectionError::Io(io) => of_io(io, closed),
        ConnectionError::MqttState(state) => match state {
            StateError::Io(io) | StateError::Deserialization(rumqttc::Error::Io(io)) => of_io(io, closed),
            StateError::ConnectionAborted => closed,
            // A code that MQTT 3.1.1 does not have, such as AWS's 7, is a refusal all the same.
            StateError::Deserialization(rumqttc::Error::InvalidConnectReturnCode(code)) => of_connack(*code),
            StateError::AwaitPingResp | StateError::CollisionTimeout => Cause::KeepAlive,
            // The texts of these name packet types and sizes only.
            other => Cause::Protocol { detail: other.to_string() },
        },
        ConnectionError::SessionStateMismatch { .. } => {
            Cause::Protocol { detail: "session present although a clean one was asked for".to_owned() }
        }
        // Its text would hold the packet.
        ConnectionError::NotConnAck(_) => {
            Cause::Protocol { detail: "the first packet of the server is not CONNACK".to_owned() }
        }
        _ => Cause::Protocol { detail: "the MQTT library failed".to_owned() },
    }
}

fn of_io(error: &io::Error, closed: Cause) -> Cause {
    match rustls_error(error) {
        Some(tls) => of_rustls(tls),
        None if error.kind() == io::ErrorKind::TimedOut => Cause::KeepAlive,
        None => closed,
    }
}

fn of_rustls(error: &rustls::Error) -> Cause {
    match error {
        rustls::Error::InvalidCertificate(bad) => Cause::UntrustedServer { detail: certificate_words(bad) },
        rustls::Error::NoCertificatesPresented => {
            Cause::UntrustedServer { detail: "it presented no certificate".to_owned() }
        }
        rustls::Error::AlertReceived(alert) => Cause::TlsAlert { alert: alert_name(*alert) },
        rustls::Error::InvalidMessage(_) => {
            Cause::TlsFault { detail: "what answers does not speak TLS".to_owned() }
        }
        other => Cause::TlsFault { detail: other.to_string() },
    }
}

/// Finds the TLS library's error inside an I/O error.
pub(super) fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn certificate_words(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "its certificate is not signed by the configured root CA".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for another name ({error})")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("its certificate has expired by our clock ({error})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("its certificate is not valid yet by our clock ({error})")
        }
        other => other.to_string(),
    }
}

/// `AlertDescription::BadCertificate` as RFC 8446 writes it: `bad_certificate`.
fn alert_name(alert: AlertDescription) -> String {
    let mut name = String::new();
    let mut lower = false;
    for c in format!("{alert:?}").chars() {
        // `UnknownCA` is `unknown_ca`: capitals in a row are one word.
        if c.is_ascii_uppercase() && lower {
            name.push('_');
        }
        lower = !c.is_ascii_uppercase();
        name.push(c.to_ascii_lowercase());
    }
    name
}

fn of_connack(code: u8) -> Cause {
    if code == 3 { Cause::Throttled } else { Cause::ConnackRefused(code) }
}

fn connack_code(code: ConnectReturnCode) -> u8 {
    match code {
        ConnectReturnCode::Success => 0,
        ConnectReturnCode::RefusedProtocolVersion => 1,
        ConnectReturnCode::BadClientId => 2,
        ConnectReturnCode::ServiceUnavailable => 3,
        ConnectReturnCode::BadUserNamePassword => 4,
        ConnectReturnCode::NotAuthorized => 5,
    }
}

fn connack_words(code: u8) -> &'static str {
    match code {
        1 => "protocol version not accepted",
        2 => "client id not accepted",
        4 => "bad user name or password",
        5 => "not authorised",
        _ => "unknown code",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(cause: Cause, connect_sent: bool, server_verified: bool) -> ConnectFailure {
        ConnectFailure { target: "h:1".into(), client_id: "t".into(), cause, connect_sent, server_verified }
    }

    #[test]
    fn a_refusal_counts_only_after_the_servers_tls_was_verified_rule_19() {
        let alert = Cause::TlsAlert { alert: "bad_certificate".into() };
        assert!(!failure(alert.clone(), false, false).is_refusal());
        assert!(failure(alert, false, true).is_refusal());
        assert!(failure(Cause::ClosedBeforeConnack, true, true).is_refusal());
        assert!(failure(Cause::ConnackRefused(5), true, true).is_refusal());
        let closed = Cause::TlsFault { detail: String::new() };
        assert!(failure(closed.clone(), false, true).is_refusal(), "TLS 1.2 closes before Finished");
        assert!(!failure(closed, false, false).is_refusal(), "not TLS at all");
        assert!(failure(Cause::ConnackRefused(7), true, true).is_refusal(), "AWS's own");
        assert!(!failure(Cause::Throttled, true, true).is_refusal(), "weather");
        assert!(!failure(Cause::Timeout(Step::Connack), true, true).is_refusal());
        assert!(!failure(Cause::UntrustedServer { detail: String::new() }, false, false).is_refusal());
    }

    #[test]
    fn a_lost_connack_leaves_the_old_session_in_doubt_and_a_refusal_does_not_rule_8() {
        assert!(failure(Cause::ClosedBeforeConnack, true, true).old_session_may_be_gone());
        assert!(failure(Cause::Timeout(Step::Connack), true, true).old_session_may_be_gone());
        assert!(!failure(Cause::ConnackRefused(5), true, true).old_session_may_be_gone());
        assert!(!failure(Cause::Throttled, true, true).old_session_may_be_gone());
        assert!(!failure(Cause::TlsAlert { alert: String::new() }, true, true).old_session_may_be_gone());
        assert!(!failure(Cause::Timeout(Step::Tls), false, false).old_session_may_be_gone());
    }

    #[test]
    fn alerts_have_the_names_of_the_rfc() {
        assert_eq!(alert_name(AlertDescription::BadCertificate), "bad_certificate");
        assert_eq!(alert_name(AlertDescription::UnknownCA), "unknown_ca");
        assert_eq!(alert_name(AlertDescription::CertificateRevoked), "certificate_revoked");
    }

    #[test]
    fn a_packet_in_the_librarys_error_never_reaches_the_text() {
        let packet = rumqttc::Packet::Publish(rumqttc::Publish::new("t", rumqttc::QoS::AtMostOnce, "secret"));
        let cause = of_library(&ConnectionError::NotConnAck(Box::new(packet)), false);
        assert!(!format!("{cause} {cause:?}").contains("secret"));
    }
}
