//! An account for one test: a twin for IoT, moto for the rest, the gateway before both, and the real program.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::sleep;
use std::time::Duration;

use certrot_twin::{Options, Twin};
use serde_json::Value;
use tempfile::TempDir;

use crate::gateway::{Fate, Gateway};
use crate::holdings::{self, http, http_with};
use crate::moto::Moto;

/// An empty account.
pub struct Lab {
    /// The gateway.
    pub gateway: Gateway,
    /// The twin.
    pub twin: Twin,
    dir: TempDir,
    moto: Lent,
}

impl Lab {
    /// An empty account.
    pub fn new() -> Self {
        Self::with(400.0)
    }

    /// An empty account whose clock runs this many times as fast.
    pub fn with(clock_rate: f64) -> Self {
        let moto = Lent::take();
        http(&moto, "POST", "/moto-api/reset", "");
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path().join("twin"));
        options.empty = true;
        // A thing type is deleted five minutes after its end: here within a second.
        options.clock_rate = clock_rate;
        // Functions run as they were deployed.
        let functions = dir.path().join("functions");
        fs::create_dir_all(&functions).unwrap();
        options.functions = Some(functions.clone());
        options.hook_limit = Duration::from_secs(60);
        let twin = Twin::start(options).unwrap();
        let logs = dir.path().join("twin/lambda");
        let gateway = Gateway::start(&format!("127.0.0.1:{}", twin.api_port()), &moto, functions, logs);
        let lab = Lab { gateway, twin, dir, moto };
        lab.programs("one");
        lab
    }

    /// Puts two programs there that Lambda would take; another `content` is another code.
    pub fn programs(&self, content: &str) {
        let lambdas = self.path("lambdas");
        fs::create_dir_all(&lambdas).unwrap();
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64, 0);
        elf[18] = 0x3e;
        elf.extend(content.as_bytes());
        for name in ["certrot-hook", "certrot-retire"] {
            let _gone = fs::remove_file(lambdas.join(name));
            fs::write(lambdas.join(name), &elf).unwrap();
        }
    }

    /// A path in the test's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program with these words, ready to be started.
    pub fn command(&self, words: &[&str]) -> Command {
        self.command_in("fleet", words)
    }

    fn command_in(&self, dir: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certrot-fleet"));
        command
            .args(words)
            .args(["--dir", self.path(dir).to_str().unwrap(), "--patience", "20s"])
            .env_clear()
            .env("HOME", self.dir.path())
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "example")
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.gateway.port))
            .stdin(Stdio::null());
        if words.first().is_some_and(|w| *w == "setup" || *w == "plan") {
            command.args(["--lambdas", self.path("lambdas").to_str().unwrap()]);
        }
        command
    }

    /// Runs the program.
    pub fn run(&self, words: &[&str]) -> Ran {
        Ran(self.command(words).output().unwrap())
    }

    /// Runs the program, which must do what is asked.
    pub fn must(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code(), 0, "{words:?}: {}{}", ran.out(), ran.err());
        ran.out()
    }

    /// Starts the program in the background.
    pub fn start(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs the program again and again, each time killed at the worst moment of its first change: it is made, and its
    /// answer never comes. Gives how often, once a run has come to its end.
    pub fn killed_in_each_change(&self, words: &[&str]) -> usize {
        let (mut kills, mut last) = (0, String::new());
        loop {
            let (tell, told) = mpsc::channel();
            let mut done = false;
            // The change is made, and its answer never comes: the worst moment.
            self.gateway.each(move |call| {
                if done || !call.changes || call.service == "sts" {
                    return Fate::Pass;
                }
                done = true;
                let _gone = tell.send(call.clone());
                Fate::Lose
            });
            let mut child = self.start(words);
            let killed = loop {
                match told.recv_timeout(Duration::from_millis(20)) {
                    Ok(call) => {
                        last = format!("{call:?}");
                        // The gateway plays the call before it holds the answer back.
                        sleep(Duration::from_millis(150));
                        child.kill().unwrap();
                        break true;
                    }
                    Err(_) if child.try_wait().unwrap().is_some() => break false,
                    Err(_) => {}
                }
            };
            let ran = Ran(child.wait_with_output().unwrap());
            if !killed {
                assert_eq!(ran.code(), 0, "{}{}", ran.out(), ran.err());
                break;
            }
            kills += 1;
            assert!(kills < 100, "it never comes to an end: {last} {}{}", ran.out(), ran.err());
        }
        self.gateway.pass();
        kills
    }

    /// Runs the program with another directory, which must do what is asked.
    pub fn must_in(&self, dir: &str, words: &[&str]) -> String {
        let ran = Ran(self.command_in(dir, words).output().unwrap());
        assert_eq!(ran.code(), 0, "{words:?}: {}{}", ran.out(), ran.err());
        ran.out()
    }

    /// The name of the fleet's policy that begins so.
    pub fn policy(&self, prefix: &str) -> String {
        let named: Vec<String> = self
            .iot()
            .into_iter()
            .filter_map(|i| i.strip_prefix("iot policies ").map(str::to_owned))
            .filter(|n| n.starts_with(prefix))
            .collect();
        assert_eq!(named.len(), 1, "{named:?}");
        named[0].clone()
    }

    /// A thing of the fleet with this many certificates, the oldest first, made past the tool.
    pub fn device(&self, thing: &str, policy: &str, certificates: usize) -> Vec<String> {
        self.twin_http("POST", &format!("/things/{thing}"), r#"{"thingTypeName":"certrot"}"#);
        (0..certificates)
            .map(|_| {
                let made = self.twin_http("POST", "/keys-and-certificate?setAsActive=true", "");
                let made: Value = serde_json::from_str(&made).unwrap();
                let arn = made["certificateArn"].as_str().unwrap();
                self.twin_http(
                    "PUT",
                    &format!("/target-policies/{policy}"),
                    &format!(r#"{{"target":"{arn}"}}"#),
                );
                http_with(
                    &format!("127.0.0.1:{}", self.twin.api_port()),
                    "PUT",
                    &format!("/things/{thing}/principals"),
                    &format!("x-amzn-principal: {arn}\r\n"),
                    "",
                );
                made["certificateId"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    /// Takes a certificate apart but for its deletion.
    pub fn strip(&self, thing: &str, id: &str, policy: &str) {
        let arn = format!("arn:aws:iot:eu-west-1:123456789012:cert/{id}");
        self.twin_http("PUT", &format!("/certificates/{id}?newStatus=REVOKED"), "");
        self.twin_http("POST", &format!("/target-policies/{policy}"), &format!(r#"{{"target":"{arn}"}}"#));
        let named = format!("x-amzn-principal: {arn}\r\n");
        http_with(&self.twin_address(), "DELETE", &format!("/things/{thing}/principals"), &named, "");
    }

    /// The steps that `plan` has.
    pub fn planned(&self) -> Vec<String> {
        let plan: Value = serde_json::from_str(&self.must(&["plan", "--json"])).unwrap();
        plan["steps"].as_array().unwrap().iter().map(|s| s["what"].as_str().unwrap().to_owned()).collect()
    }

    /// Everything that moto's and the twin's account hold, in words.
    pub fn holdings(&self) -> Vec<String> {
        holdings::all(&self.twin_address(), &self.moto)
    }

    /// Everything that the twin's account holds.
    pub fn iot(&self) -> Vec<String> {
        holdings::iot(&self.twin_address())
    }

    /// One request to the twin, past the gateway.
    pub fn twin_http(&self, method: &str, path: &str, body: &str) -> String {
        http(&format!("127.0.0.1:{}", self.twin.api_port()), method, path, body)
    }

    /// The twin's address.
    pub fn twin_address(&self) -> String {
        format!("127.0.0.1:{}", self.twin.api_port())
    }

    /// A certificate's status.
    pub fn status_of(&self, id: &str) -> String {
        let answer = self.twin_http("GET", &format!("/certificates/{id}"), "");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["certificateDescription"]["status"].as_str().unwrap().to_owned()
    }

    /// Gives the fleet this many things without certificates.
    pub fn twin_registry(&self, things: usize) {
        for number in 0..things {
            self.twin_http("POST", &format!("/things/SN-{number:05}"), r#"{"thingTypeName":"certrot"}"#);
        }
    }

    /// Files in the operator's directory, relative, with their modes.
    pub fn files(&self) -> Vec<(String, u32)> {
        let mut files = Vec::new();
        let root = self.path("fleet");
        let mut left = vec![root.clone()];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    left.push(entry.path());
                } else {
                    let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                    files.push((entry.path().strip_prefix(&root).unwrap().display().to_string(), mode));
                }
            }
        }
        files.sort();
        files
    }
}

/// A program that has ended.
pub struct Ran(pub Output);

impl Ran {
    /// Its exit code; -1 when a signal ended it.
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap_or(-1)
    }

    /// Its standard output.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    /// Its standard error.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }
}

/// A moto for one test at a time, since each has one account; given back for the next test, and all end with this program.
struct Lent(Option<Moto>);

static FREE: Mutex<Vec<Moto>> = Mutex::new(Vec::new());

impl Lent {
    fn take() -> Self {
        // Started under the lock: the first one makes the environment that all run in.
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        Lent(Some(free.pop().unwrap_or_else(Moto::start)))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).extend(self.0.take());
    }
}

impl Deref for Lent {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.as_ref().map_or("", |moto| &moto.address)
    }
}
