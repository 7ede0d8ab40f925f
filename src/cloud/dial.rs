//! From a host name to a verified TLS connection, step by step, so that each step's failure has its own name.
//!
//! Sends nothing of MQTT. Every address of the name is tried, staggered, so that a dead IPv6 does not cost a time-out.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::cause::{self, Cause, Step};
use super::tls::ClientIdentity;

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The endpoint's name: what the server's certificate must name, and what SNI says.
    pub host: String,
    /// TCP port; 443 adds ALPN.
    pub port: u16,
    /// Another host (or address) to dial in place of `host`, on the same port; for tests and proxies.
    pub dial: Option<String>,
}

impl Target {
    /// A target that is dialled by its own name.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, dial: None }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a TLS handshake shows of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// The address that answered.
    pub address: SocketAddr,
    /// `TLS 1.2` or `TLS 1.3`.
    pub tls: &'static str,
    /// The ALPN protocol that was agreed on.
    pub alpn: Option<String>,
    /// The server's own certificate, DER.
    pub certificate: Vec<u8>,
    /// What each part took.
    pub times: Times,
}

/// How long the parts of a dial took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Until the name was resolved.
    pub dns: Duration,
    /// From there until a TCP connection stood.
    pub tcp: Duration,
    /// From there until our side of the handshake was done.
    pub tls: Duration,
}

/// A probe that failed, and what it had seen by then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct ProbeFailure {
    /// Why.
    #[source]
    pub cause: Cause,
    /// Whether the server's certificate and signature were good: what failed then is its verdict on us.
    pub server_verified: bool,
    /// The server's own certificate (DER), where it was not trusted, or where all but its verdict went well.
    pub certificate: Option<Vec<u8>>,
}

/// A dial that failed is a probe that failed.
pub(super) type DialFailure = ProbeFailure;

/// An established TLS connection.
pub(super) struct Dialled {
    pub stream: TlsStream<TcpStream>,
    pub address: SocketAddr,
    pub times: Times,
}

/// Goes as far as TCP: for whoever has no pair to show.
pub async fn probe_tcp(target: &Target, deadline: Duration) -> Result<(SocketAddr, Times), Cause> {
    let until = Instant::now() + deadline;
    let began = Instant::now();
    let addresses = resolve(target, until).await?;
    let resolved = Instant::now();
    let tcp = connect_tcp(addresses, until).await?;
    let times = Times { dns: resolved - began, tcp: resolved.elapsed(), tls: Duration::ZERO };
    tcp.peer_addr().map(|address| (address, times)).map_err(|_| Cause::Closed)
}

/// Goes as far as a TLS handshake and ends there, without CONNECT: for `check` and `--dry-run`.
///
/// With TLS 1.3 the server judges our certificate only after our side of the handshake is done; so a short while
/// (at most [`VERDICT`]) is waited for its alert.
pub async fn probe_tls(
    target: &Target,
    identity: &ClientIdentity,
    deadline: Duration,
) -> Result<ServerFacts, ProbeFailure> {
    let until = Instant::now() + deadline;
    let Dialled { mut stream, address, times } = dial(target, identity, until).await?;
    let (_, connection) = stream.get_ref();
    let facts = ServerFacts {
        address,
        tls: match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS 1.3",
        },
        alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        certificate: connection
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|leaf| leaf.to_vec())
            .unwrap_or_default(),
        times,
    };
    let mut byte = [0; 1];
    let verdict = match timeout(VERDICT, stream.read(&mut byte)).await {
        Err(_) => None, // silence: the server waits for CONNECT
        Ok(Err(error)) if cause::rustls_error(&error).is_some() => Some(cause::of_handshake(&error)),
        Ok(_) => Some(Cause::ClosedBeforeConnack),
    };
    if let Some(cause) = verdict {
        return Err(ProbeFailure { cause, server_verified: true, certificate: Some(facts.certificate) });
    }
    // Only politeness: the server closes in any case.
    let _ = timeout(VERDICT, stream.shutdown()).await;
    Ok(facts)
}

/// Resolves, connects and shakes hands, all before `until`.
pub(super) async fn dial(
    target: &Target,
    identity: &ClientIdentity,
    until: Instant,
) -> Result<Dialled, DialFailure> {
    let unverified = |cause| DialFailure { cause, server_verified: false, certificate: None };
    let name = ServerName::try_from(target.host.clone())
        .map_err(|_| unverified(dns(&target.host, "not a host name or address")))?;
    let began = Instant::now();
    let addresses = resolve(target, until).await.map_err(unverified)?;
    let resolved = Instant::now();
    let tcp = connect_tcp(addresses, until).await.map_err(unverified)?;
    let connected = Instant::now();
    let address = tcp.peer_addr().map_err(|error| unverified(cause::of_handshake(&error)))?;
    let (config, seen) = identity.for_one_dial(target.port);
    let cause = match timeout_at(until, TlsConnector::from(config).connect(name, tcp)).await {
        Ok(Ok(stream)) => {
            let times = Times { dns: resolved - began, tcp: connected - resolved, tls: connected.elapsed() };
            return Ok(Dialled { stream, address, times });
        }
        Ok(Err(error)) => cause::of_handshake(&error),
        Err(_) => Cause::Timeout(Step::Tls),
    };
    Err(DialFailure { cause, server_verified: seen.is_verified(), certificate: seen.refused() })
}

async fn resolve(target: &Target, until: Instant) -> Result<Vec<SocketAddr>, Cause> {
    let host = target.dial.as_deref().unwrap_or(&target.host);
    let addresses: Vec<SocketAddr> = match timeout_at(until, lookup_host((host, target.port))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(dns(host, &error.to_string())),
        Err(_) => return Err(Cause::Timeout(Step::Dns)),
    };
    if addresses.is_empty() {
        return Err(dns(host, "it has no address"));
    }
    Ok(addresses)
}

async fn connect_tcp(addresses: Vec<SocketAddr>, until: Instant) -> Result<TcpStream, Cause> {
    let tcp = timeout_at(until, race(addresses)).await.map_err(|_| Cause::Timeout(Step::Tcp))??;
    // Without it Nagle and delayed acknowledgement cost about 40 ms in each handshake.
    tcp.set_nodelay(true).map_err(|_| Cause::Closed)?;
    Ok(tcp)
}

/// The first address that answers; the next is tried when one fails, or after [`STAGGER`] without an answer.
async fn race(addresses: Vec<SocketAddr>) -> Result<TcpStream, Cause> {
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.into_iter();
    let mut worst = None;
    let mut start_next = true;
    loop {
        if start_next && let Some(address) = waiting.next() {
            attempts.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        start_next = tokio::select! {
            done = attempts.join_next() => match done {
                Some(Ok((_, Ok(stream)))) => return Ok(stream),
                Some(Ok((address, Err(error)))) => {
                    worst = Some(of_tcp(address, &error));
                    true
                }
                Some(Err(_)) => true, // an attempt cannot panic, and nobody cancels it
                None => return Err(worst.unwrap_or(Cause::Timeout(Step::Tcp))),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => true,
        };
    }
}

fn of_tcp(address: SocketAddr, error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Cause::Refused { address },
        io::ErrorKind::TimedOut => Cause::Timeout(Step::Tcp),
        _ => Cause::Unreachable { address, detail: error.to_string() },
    }
}

fn dns(host: &str, detail: &str) -> Cause {
    Cause::Dns { host: host.to_owned(), detail: detail.to_owned() }
}

/// A TLS connection that, when a write fails, first reads what the server said: an alert sent before the reset is the
/// cause, the failed write only its echo.
pub(super) struct Listening(pub TlsStream<TcpStream>);

impl Listening {
    fn explain(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        let mut scratch = [0; 512];
        match Pin::new(&mut self.0).poll_read(cx, &mut ReadBuf::new(&mut scratch)) {
            Poll::Ready(Err(said)) if cause::rustls_error(&said).is_some() => said,
            _ => error,
        }
    }
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes).map_err(|error| self.explain(cx, error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(|error| self.explain(cx, error))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Wait for a second address while the first is silent (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// How long a probe waits for the server's verdict on our certificate.
const VERDICT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// An address of the loopback where nobody listens.
    fn dead() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_name_with_a_dead_address_is_reached_at_the_living_one_whichever_comes_first() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let living = listener.local_addr().unwrap();
        for order in [[dead(), living], [living, dead()]] {
            let stream = race(order.to_vec()).await.map_err(|cause| cause.to_string()).unwrap();
            assert_eq!(stream.peer_addr().unwrap(), living);
        }
    }

    #[tokio::test]
    async fn the_dead_addresses_of_a_name_are_refused_each() {
        let last = dead();
        assert_eq!(race(vec![dead(), last]).await.err(), Some(Cause::Refused { address: last }));
    }
}
