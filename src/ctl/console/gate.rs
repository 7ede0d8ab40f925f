//! Who may come in: host names, origins, the token, sessions. Pure: time is an argument, nothing is read or written.
//!
//! 1. The `Host` must be a name that was meant, or an address: a page of a stranger whose name was turned on us (DNS
//!    rebinding) comes with its own.
//! 2. What changes something must come from our own page: `Origin` is ours, the body is JSON, and where the browser
//!    says `Sec-Fetch-Site` it says `same-origin`.
//! 3. Everything but the page itself needs a session. A session is opened with the token, or with the ticket of the
//!    printed link, which is worth nothing after its first use. Guesses are paced, comparisons take constant time.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::uri::Authority;
use ring::digest::{SHA256, digest};
use ring::rand::{SystemRandom, generate};
use subtle::{Choice, ConstantTimeEq};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::control::wire::Problem;

/// What a gate is made of.
pub struct Setup {
    /// The token that the environment gave; `None`: one is made.
    pub token: Option<String>,
    /// Whether nobody is asked for it.
    pub skip: bool,
    /// The names that we answer to.
    pub hosts: Hosts,
    /// The port: cookies do not know ports, so it is part of the cookie's name.
    pub port: u16,
}

/// The state of the gate.
pub struct Gate {
    token: Zeroizing<String>,
    ticket: Zeroizing<String>,
    ticket_used: bool,
    skip: bool,
    hosts: Hosts,
    cookie: String,
    sessions: VecDeque<Session>,
    pace: Pace,
}

/// The host that a request named, after it was let through.
#[derive(Debug)]
pub struct Named {
    authority: Authority,
    local: bool,
}

/// What somebody shows to get in.
pub enum Proof<'a> {
    /// The token.
    Token(&'a str),
    /// The ticket of the printed link.
    Ticket(&'a str),
}

struct Session {
    id: Zeroizing<[u8; 32]>,
    until: Instant,
}

impl Gate {
    /// A gate with its secrets; fails where the system has no random numbers.
    pub fn new(setup: Setup) -> Result<Gate, ring::error::Unspecified> {
        let token = match setup.token {
            Some(token) => Zeroizing::new(token),
            None => hex(&*random()?),
        };
        Ok(Gate {
            token,
            ticket: hex(&*random()?),
            ticket_used: false,
            skip: setup.skip,
            hosts: setup.hosts,
            cookie: format!("certrot-console-{}", setup.port),
            sessions: VecDeque::new(),
            pace: Pace { left: GUESSES, since: None },
        })
    }

    /// The token, for the one time that it is shown.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The ticket, for the printed link.
    pub fn ticket(&self) -> &str {
        &self.ticket
    }

    /// Rule 1: one `Host`, and one that was meant.
    pub fn host(&self, headers: &HeaderMap) -> Result<Named, Problem> {
        let mut all = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (all.next(), all.next()) else {
            return Err(Problem::bad_request("a request names exactly one Host", "use a browser, or curl"));
        };
        let authority = host.to_str().ok().and_then(authority).ok_or_else(|| {
            Problem::bad_request("the Host is no name and no address", "use a browser, or curl")
        })?;
        match self.hosts.judge(&authority) {
            Some(local) => Ok(Named { authority, local }),
            None => Err(Problem::new(
                421,
                "host-not-allowed",
                "Not a name of this console",
                format!("the console does not answer to the name {:?}", authority.host()),
                "open it by the address that it printed, or start it with --allow-host NAME",
            )),
        }
    }

    /// Rule 2, for what changes something: says whether the browser sees us over HTTPS.
    pub fn origin(&self, headers: &HeaderMap, named: &Named) -> Result<bool, Problem> {
        self.fetched(headers, &["same-origin"])?;
        let stranger = |detail: &str| {
            let fix = "use the console's own page; behind a proxy with another name, start it with --allow-host NAME";
            Problem::new(403, "cross-origin", "Another page's request", detail, fix)
        };
        let mut all = headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (all.next(), all.next()) else {
            return Err(stranger("what changes something must say its Origin"));
        };
        let origin = origin.to_str().unwrap_or("null");
        let (scheme, rest) = origin.split_once("://").unwrap_or((origin, ""));
        let https = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(stranger("the Origin is no page's")),
        };
        let from = authority(rest).ok_or_else(|| stranger("the Origin is no page's"))?;
        if from == named.authority || self.hosts.is_allowed(&from) {
            Ok(https)
        } else {
            Err(stranger("the request comes from another page than the console's"))
        }
    }

    /// Rule 2, for what only reads: no page of another site may fetch it. Programs that are no browser say nothing.
    pub fn read_from(&self, headers: &HeaderMap) -> Result<(), Problem> {
        self.fetched(headers, &["same-origin", "none"])
    }

    fn fetched(&self, headers: &HeaderMap, good: &[&str]) -> Result<(), Problem> {
        match headers.get(&SEC_FETCH_SITE) {
            Some(site) if !good.iter().any(|g| site == g) => Err(Problem::new(
                403,
                "cross-origin",
                "Another page's request",
                "the browser says that another site asks",
                "use the console's own page",
            )),
            _ => Ok(()),
        }
    }

    /// Rule 3: whether the request belongs to a session.
    pub fn is_open(&self, headers: &HeaderMap, named: &Named, now: Instant) -> bool {
        self.skips(named) || self.session(headers, now).is_some()
    }

    /// Whether this request needs no session: only where it was asked for, and only by a name of this machine.
    pub fn skips(&self, named: &Named) -> bool {
        self.skip && named.local
    }

    /// Rule 3: opens a session for a right proof; returns the cookie's line.
    pub fn open(&mut self, proof: Proof<'_>, https: bool, now: Instant) -> Result<String, Problem> {
        if !self.pace.allows(now) {
            return Err(Problem::new(
                429,
                "too-many-attempts",
                "Too many attempts",
                "somebody tries tokens: one a second is looked at, for everybody together",
                "wait a few seconds, then try again",
            ));
        }
        let (right, fix) = match proof {
            Proof::Token(given) => (same(given, &self.token), TOKEN_FIX),
            Proof::Ticket(given) => {
                let right = same(given, &self.ticket) & Choice::from(u8::from(!self.ticket_used));
                (right, "a printed link works once: sign in with the token that was printed below it")
            }
        };
        if !bool::from(right) {
            return Err(Problem::new(401, "wrong-token", "Not let in", "that is not the token", fix));
        }
        self.ticket_used |= matches!(proof, Proof::Ticket(_));
        self.pace.forgive();
        let id = random().map_err(|_| {
            Problem::internal("the system gave no random numbers", "see whether /dev/urandom can be read")
        })?;
        let secure = if https { "; Secure" } else { "" };
        let value = hex(&*id);
        let line = format!(
            "{}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}",
            self.cookie,
            *value,
            LIFE.as_secs()
        );
        self.sessions.retain(|s| s.until > now);
        if self.sessions.len() >= SESSIONS {
            self.sessions.pop_front();
        }
        self.sessions.push_back(Session { id, until: now + LIFE });
        Ok(line)
    }

    /// Ends the request's session; returns the line that takes the cookie away.
    pub fn close(&mut self, headers: &HeaderMap, now: Instant) -> String {
        if let Some(at) = self.session(headers, now) {
            self.sessions.remove(at);
        }
        format!("{}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict", self.cookie)
    }

    fn session(&self, headers: &HeaderMap, now: Instant) -> Option<usize> {
        let shown = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        shown
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.cookie)
            .filter_map(|(_, value)| unhex(value))
            .find_map(|id| {
                // Every session is compared, whichever it is.
                let mut found = None;
                for (n, session) in self.sessions.iter().enumerate() {
                    if bool::from(session.id.ct_eq(&id)) && session.until > now {
                        found = Some(n);
                    }
                }
                found
            })
    }
}

/// The names and addresses that the console answers to.
pub struct Hosts {
    listen: IpAddr,
    allowed: Vec<(String, Option<u16>)>,
}

impl Hosts {
    /// Those of the address that is listened at, and the names that were given beside it.
    pub fn new(listen: SocketAddr, names: &[String]) -> Result<Hosts, String> {
        let allowed = names.iter().map(|text| match authority(text) {
            Some(a) if !a.host().is_empty() => Ok((a.host().to_ascii_lowercase(), a.port_u16())),
            _ => Err(format!("--allow-host {text:?} is no host name")),
        });
        Ok(Hosts { listen: listen.ip(), allowed: allowed.collect::<Result<_, _>>()? })
    }

    /// `None` for a stranger's name; else whether it is a name of this machine alone. An address cannot be turned on us,
    /// so its port does not matter: `ssh -L` brings another.
    fn judge(&self, named: &Authority) -> Option<bool> {
        let host = named.host().trim_start_matches('[').trim_end_matches(']');
        let every = self.listen.is_unspecified();
        let near = every || self.listen.is_loopback();
        let known = match host.parse::<IpAddr>() {
            Ok(ip) => every || ip == self.listen || (near && ip.is_loopback()),
            Err(_) => near && host.eq_ignore_ascii_case("localhost"),
        };
        let local = host.parse::<IpAddr>().map_or(known, |ip| ip.is_loopback());
        if known { Some(local) } else { self.is_allowed(named).then_some(false) }
    }

    fn is_allowed(&self, named: &Authority) -> bool {
        self.allowed.iter().any(|(host, port)| {
            named.host().eq_ignore_ascii_case(host) && port.is_none_or(|p| named.port_u16() == Some(p))
        })
    }
}

/// A bucket of guesses: so many at once, then one a second, for everybody together.
struct Pace {
    left: u32,
    since: Option<Instant>,
}

impl Pace {
    fn allows(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let earned = u32::try_from(now.saturating_duration_since(since).as_secs()).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(earned).min(GUESSES);
        self.since = Some(since + Duration::from_secs(earned.into()));
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }

    /// A right one is no guess.
    fn forgive(&mut self) {
        self.left = (self.left + 1).min(GUESSES);
    }
}

/// Reads `host` or `host:port`; user names, paths and a port that is none are refused.
fn authority(text: &str) -> Option<Authority> {
    let read: Authority = text.parse().ok()?;
    let rest = read.as_str().strip_prefix(read.host())?;
    let port = rest.is_empty() || rest.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok());
    (port && !read.host().is_empty()).then_some(read)
}

/// Compares in constant time, whatever the lengths: of both, the hashes.
fn same(given: &str, wanted: &str) -> Choice {
    let hash = |text: &str| digest(&SHA256, text.as_bytes());
    hash(given).as_ref().ct_eq(hash(wanted).as_ref())
}

fn random() -> Result<Zeroizing<[u8; 32]>, ring::error::Unspecified> {
    Ok(Zeroizing::new(generate(&SystemRandom::new())?.expose()))
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(bytes)
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// How long a session lasts: a working day.
const LIFE: Duration = Duration::from_secs(12 * 3600);
/// Sessions at once; a new one takes the oldest one's place.
const SESSIONS: usize = 16;
/// Guesses at once.
const GUESSES: u32 = 10;
const TOKEN_FIX: &str = "copy the token that certrotctl console printed, or the one in its API_TOKEN";

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
