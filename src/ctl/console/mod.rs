//! `certrotctl console`: one page over the daemon's control socket, for a browser; the daemon stays headless.
//!
//! ```text
//! browser ══ HTTP/1.1 over TCP ══ server ─▶ gate (who may) ─▶ routes ─▶ assets  the page, in this program
//!                                                               └────▶ relay ─▶ control::client ═socket═ certrotd
//! ```
//! Whoever is let in acts as the user who runs this. What keeps others out is in `gate`: host names (DNS rebinding),
//! origins (cross-site requests), the token and the sessions it opens. Only the paths that the page needs are passed
//! on, each rebuilt from what was understood of it; no header of a browser reaches the daemon, none of the daemon's a
//! browser. Nothing of this is in `certrotd`.

mod answer;
mod assets;
mod gate;
mod relay;
mod routes;
mod server;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::net::TcpListener;

use super::{Failure, Output, complain};
use crate::control::client::Client;
use crate::exit::Exit;
use gate::{Gate, Hosts, Setup};

/// Serves the page until the program is ended.
pub(super) async fn run(
    client: Client,
    out: &Output,
    listen: SocketAddr,
    names: &[String],
) -> Result<Exit, Failure> {
    let refused = |(what, fix): (String, &str)| {
        complain(&what, fix);
        Ok(Exit::Usage)
    };
    let (token, skip) = match (token(std::env::var_os(API_TOKEN)), skips(std::env::var_os(SKIP_AUTH), listen))
    {
        (Ok(token), Ok(skip)) => (token, skip),
        (Err(fault), _) | (_, Err(fault)) => return refused(fault),
    };
    let listener = match TcpListener::bind(listen).await {
        Ok(listener) => listener,
        Err(error) => {
            complain(&format!("listening at {listen} failed: {error}"), BIND_FIX);
            return Ok(if error.kind() == io::ErrorKind::AddrInUse { Exit::TryAgain } else { Exit::Usage });
        }
    };
    let address = listener.local_addr()?;
    let hosts = match Hosts::new(address, names) {
        Ok(hosts) => hosts,
        Err(fault) => {
            return refused((fault, "give a name as the browser shows it: --allow-host box.example:8443"));
        }
    };
    let given = token.is_some();
    let Ok(gate) = Gate::new(Setup { token, skip, hosts, port: address.port() }) else {
        complain("the system gave no random numbers", "see whether /dev/urandom can be read");
        return Ok(Exit::Software);
    };
    announce(out, &gate, address, given, skip)?;
    server::serve(listener, Arc::new(routes::Console::new(client, gate))).await;
    Ok(Exit::Done)
}

/// Says where the page is and how to get in: the only time that the token is shown.
fn announce(out: &Output, gate: &Gate, address: SocketAddr, given: bool, skip: bool) -> io::Result<()> {
    let host = match address {
        a if a.ip().is_unspecified() => format!("localhost:{}", a.port()),
        a => a.to_string(),
    };
    let link =
        if skip { format!("http://{host}/") } else { format!("http://{host}/#login={}", gate.ticket()) };
    if out.json {
        let token = (!given && !skip).then(|| gate.token());
        return out.text(&format!("{}\n", json!({"listen": address, "link": link, "token": token})));
    }
    let mut text = format!("console: {link}\n");
    text += match (skip, given) {
        (true, _) => "  SKIP_AUTH=1: everybody on this machine may use it\n",
        (false, true) => "  the link works once; to sign in again, the token is the one in API_TOKEN\n",
        (false, false) => "  the link works once\n",
    };
    if !given && !skip {
        text += &format!("  token, to sign in again (not shown any more): {}\n", gate.token());
    }
    if !address.ip().is_loopback() {
        text += "  WARNING: reachable from other machines, and nothing on the way is encrypted: token and session can be \
                 read there. Prefer the default and ssh -L 8080:127.0.0.1:8080, or put a proxy with TLS before it\n";
    }
    out.text(&(text + "  Ctrl-C ends it; the daemon is not touched\n"))
}

/// The token that the environment gives; `None` where one is to be made.
fn token(given: Option<OsString>) -> Result<Option<String>, (String, &'static str)> {
    match given.map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(token)) if token.is_empty() => Ok(None),
        Some(Ok(token)) if token.len() >= SHORTEST && token.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(Some(token))
        }
        Some(_) => Err((
            format!("API_TOKEN is no token: at least {SHORTEST} visible ASCII characters, no blanks"),
            "API_TOKEN=$(openssl rand -hex 32), or unset it: one is made then",
        )),
    }
}

/// Whether nobody is to be asked for a token: only where nobody but this machine can come.
fn skips(asked: Option<OsString>, listen: SocketAddr) -> Result<bool, (String, &'static str)> {
    match asked.as_ref().map(|v| v.to_str()) {
        None | Some(Some("" | "0")) => Ok(false),
        Some(Some("1")) if listen.ip().is_loopback() => Ok(true),
        Some(Some("1")) => Err((
            format!("SKIP_AUTH=1 is for loopback alone, and {listen} is not"),
            "listen at 127.0.0.1, or unset SKIP_AUTH",
        )),
        Some(_) => Err(("SKIP_AUTH is neither 0 nor 1".to_owned(), "unset it, or write SKIP_AUTH=1")),
    }
}

const API_TOKEN: &str = "API_TOKEN";
const SKIP_AUTH: &str = "SKIP_AUTH";
const BIND_FIX: &str = "give --listen an address of this machine and a port that is free (port 0 picks one)";
/// Characters of a token: with ten guesses at once and one a second, nobody gets through this many.
const SHORTEST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_visible_or_made_here() {
        assert_eq!(token(None), Ok(None));
        assert_eq!(token(Some("".into())), Ok(None));
        assert_eq!(token(Some("0123456789abcdef".into())), Ok(Some("0123456789abcdef".to_owned())));
        for bad in ["short", "0123456789abcde", "0123456789 abcdef", "0123456789abcdef\n", "0123456789abcdeé"]
        {
            assert!(token(Some(bad.into())).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_token_is_skipped_on_loopback_alone_and_by_a_clear_word() {
        let (near, far) = ("127.0.0.1:0".parse().unwrap(), "0.0.0.0:0".parse().unwrap());
        assert_eq!(skips(None, far), Ok(false));
        assert_eq!(skips(Some("0".into()), far), Ok(false));
        assert_eq!(skips(Some("1".into()), near), Ok(true));
        assert_eq!(skips(Some("1".into()), "[::1]:0".parse().unwrap()), Ok(true));
        assert!(skips(Some("1".into()), far).is_err());
        assert!(skips(Some("yes".into()), near).is_err());
    }
}
