//! A running console, and a client that sends exactly what it is given.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

pub const TOKEN: &str = "0123456789abcdef-token";

/// The program, stopped when it is dropped.
pub struct Served {
    child: Child,
    pub address: SocketAddr,
    pub link: String,
}

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find_map(|(n, value)| n.eq_ignore_ascii_case(name).then(|| value.trim()))
    }

    pub fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub fn program(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certrotctl"));
    command.args(["--json", "--socket"]).arg(socket).args(["console", "--listen", "127.0.0.1:0"]);
    command.env_remove("API_TOKEN").env_remove("SKIP_AUTH");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    command
}

impl Served {
    /// A console over that socket, with [`TOKEN`].
    pub fn over(socket: &Path) -> Served {
        Served::started(program(socket).env("API_TOKEN", TOKEN))
    }

    pub fn started(command: &mut Command) -> Served {
        let mut child = command.spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("it says where it is");
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|e| {
            let mut why = String::new();
            let _ = child.stderr.take().expect("piped").read_to_string(&mut why);
            panic!("{line:?}: {e}: {why}")
        });
        let text = |name: &str| said[name].as_str().expect(name).to_owned();
        Served { child, address: text("listen").parse().expect("an address"), link: text("link") }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
        stream
    }

    /// Sends these bytes and reads until the end.
    pub fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // It may answer and close before all is written: the answer counts.
        let _ = stream.write_all(request);
        read(&mut stream)
    }

    /// A request with these headers beside `Host` and `Connection`.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("content-length: {}\r\n\r\n{body}", body.len());
        self.raw(text.as_bytes())
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What our own page sends.
    pub fn order(&self, method: &str, path: &str, cookie: &str, body: &str) -> Answer {
        let origin = self.origin();
        let headers = [("origin", origin.as_str()), ("content-type", "application/json"), ("cookie", cookie)];
        self.ask(method, path, &headers, body)
    }

    pub fn try_token(&self, token: &str) -> Answer {
        self.order("POST", "/console/session", "", &format!("{{\"token\": \"{token}\"}}"))
    }

    /// Signs in; the cookie.
    pub fn sign_in(&self) -> String {
        let answer = self.try_token(TOKEN);
        assert_eq!(answer.status, 204, "{answer:?}");
        answer.header("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned()
    }

    /// Everything that it has said on standard error, after its end.
    pub fn complaints(mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        let _ = self.child.stderr.take().expect("piped").read_to_string(&mut text);
        text
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes); // a reset ends it too
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
