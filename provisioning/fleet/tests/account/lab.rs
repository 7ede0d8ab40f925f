//! An account for one test: a twin for IoT, moto for the rest, the gateway before both, and the real program.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use certrot_twin::{Options, Twin};
use serde_json::Value;
use tempfile::TempDir;

use crate::gateway::Gateway;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An empty account.
pub struct Lab {
    /// The gateway.
    pub gateway: Gateway,
    /// The twin.
    pub twin: Twin,
    dir: TempDir,
    moto: String,
    _alone: MutexGuard<'static, ()>,
}

impl Lab {
    /// An empty account; one at a time, since moto has one.
    pub fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let moto = moto();
        http(&moto, "POST", "/moto-api/reset", "");
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path().join("twin"));
        options.empty = true;
        let twin = Twin::start(options).unwrap();
        let gateway = Gateway::start(&format!("127.0.0.1:{}", twin.api_port()), &moto);
        let lab = Lab { gateway, twin, dir, moto, _alone: alone };
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
            fs::write(lambdas.join(name), &elf).unwrap();
        }
    }

    /// A path in the test's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program with these words, ready to be started.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certrot-fleet"));
        command
            .args(words)
            .args(["--dir", self.path("fleet").to_str().unwrap(), "--patience", "20s"])
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

    /// The steps that `plan` has.
    pub fn planned(&self) -> Vec<String> {
        let plan: Value = serde_json::from_str(&self.must(&["plan", "--json"])).unwrap();
        plan["steps"].as_array().unwrap().iter().map(|s| s["what"].as_str().unwrap().to_owned()).collect()
    }

    /// Everything that moto's and the twin's account hold, in words.
    pub fn holdings(&self) -> Vec<String> {
        let mut all = Vec::new();
        let data: Value = serde_json::from_str(&http(&self.moto, "GET", "/moto-api/data.json", "")).unwrap();
        for (service, kinds) in data.as_object().unwrap() {
            if !["iam", "awslambda", "lambda", "sqs", "logs"].contains(&service.as_str()) {
                continue;
            }
            for (kind, items) in kinds.as_object().unwrap() {
                for item in items.as_array().into_iter().flatten() {
                    all.push(format!("{service} {kind} {item}"));
                }
            }
        }
        all.extend(self.iot());
        all
    }

    /// Everything that the twin's account holds.
    pub fn iot(&self) -> Vec<String> {
        let twin = format!("127.0.0.1:{}", self.twin.api_port());
        let mut all = Vec::new();
        for (path, list, name) in [
            ("/policies", "policies", "policyName"),
            ("/provisioning-templates", "templates", "templateName"),
            ("/rules", "rules", "ruleName"),
            ("/thing-types", "thingTypes", "thingTypeName"),
            ("/thing-groups", "thingGroups", "groupName"),
            ("/things", "things", "thingName"),
            ("/certificates", "certificates", "certificateId"),
        ] {
            let answer: Value = serde_json::from_str(&http(&twin, "GET", path, "")).unwrap();
            for item in answer[list].as_array().unwrap_or_else(|| panic!("{path}: {answer}")) {
                all.push(format!("iot {list} {}", item[name].as_str().unwrap_or_default()));
            }
        }
        all
    }

    /// One request to the twin, past the gateway.
    pub fn twin_http(&self, method: &str, path: &str, body: &str) -> String {
        http(&format!("127.0.0.1:{}", self.twin.api_port()), method, path, body)
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

/// Moto's address; it is started once for all tests of this program and ends with it.
fn moto() -> String {
    static MOTO: OnceLock<String> = OnceLock::new();
    MOTO.get_or_init(|| {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/account/emulators");
        // A shell between, which ends moto when this program's end of its standard input closes.
        let guarded = format!("\"{}\" moto {port} & read _ignored; kill $!", script.display());
        let mut child = Command::new("bash")
            .args(["-c", &guarded])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::mem::forget(child.stdin.take());
        let address = format!("127.0.0.1:{port}");
        // The environment is made at the first run, which takes a minute or two.
        let end = Instant::now() + Duration::from_secs(300);
        while TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < end, "moto never came up: run {} moto {port}", script.display());
            sleep(Duration::from_millis(100));
        }
        address
    })
    .clone()
}

/// One plain request.
fn http(to: &str, method: &str, path: &str, body: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(to).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    assert!(head.starts_with("HTTP/1.1 2") || head.starts_with("HTTP/1.0 2"), "{method} {path}: {answer}");
    body.to_owned()
}
