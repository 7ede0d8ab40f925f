//! A gateway between the SDK and the emulators: it knows each call by its signature's service, sends it to the one that
//! plays it, and does what a test asks with one of them: refuse it, slow it down, lose its answer.
//!
//! What is created as a function is also deployed into a folder, from which the twin runs it, and its log is read from
//! where the twin writes it. moto keeps no `DeadLetterConfig` of a function: the gateway does, and adds it to moto's
//! answers.
//!
//! One request a connection, plain sockets: nothing here can hide what the SDK sent.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// One call as it passed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The service of the signature: `iot`, `iam`, `lambda`, `sqs`, `logs`, `sts`.
    pub service: String,
    /// The operation, for IoT and Lambda as method and path.
    pub operation: String,
    /// Whether it may change something.
    pub changes: bool,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is played.
    Pass,
    /// These credentials may not.
    Deny,
    /// Too much at once.
    Throttle,
    /// It is played, and the answer never comes; the hook that said so ends the program.
    Lose,
}

type Hook = Box<dyn FnMut(&Call) -> Fate + Send>;

/// The gateway.
pub struct Gateway {
    /// Its port on loopback.
    pub port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    twin: String,
    moto: String,
    calls: Mutex<Vec<Call>>,
    hook: Mutex<Option<Hook>>,
    dead_letters: Mutex<BTreeMap<String, Value>>,
    functions: PathBuf,
    logs: PathBuf,
}

impl Gateway {
    /// Starts it; IoT goes to the twin, everything else to moto (both `127.0.0.1:PORT`). Functions are deployed into one
    /// folder, and write their logs into another.
    pub fn start(twin: &str, moto: &str, functions: PathBuf, logs: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner {
            twin: twin.to_owned(),
            moto: moto.to_owned(),
            calls: Mutex::default(),
            hook: Mutex::default(),
            dead_letters: Mutex::default(),
            functions,
            logs,
        });
        let serving = Arc::clone(&inner);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let inner = Arc::clone(&serving);
                // A program that is killed leaves its connection; that is no fault here.
                thread::spawn(move || drop(inner.serve(stream)));
            }
        });
        Gateway { port, inner }
    }

    /// Asks `hook` what becomes of each call from now on.
    pub fn each(&self, hook: impl FnMut(&Call) -> Fate + Send + 'static) {
        *self.inner.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// Lets every call pass from now on.
    pub fn pass(&self) {
        *self.inner.hook.lock().unwrap() = None;
    }

    /// The calls since the last time.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.inner.calls.lock().unwrap())
    }
}

impl Inner {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let request = Request::read(&mut reader)?;
        let call = request.call();
        self.calls.lock().unwrap().push(call.clone());
        let fate = self.hook.lock().unwrap().as_mut().map_or(Fate::Pass, |hook| hook(&call));
        let mut stream = stream;
        match fate {
            Fate::Pass => {
                let answer = self.played(&request, &call)?;
                stream.write_all(&answer)
            }
            Fate::Lose => {
                self.played(&request, &call)?;
                // Held open until the program is gone.
                let mut rest = Vec::new();
                reader.read_to_end(&mut rest).map(drop)
            }
            Fate::Deny => stream.write_all(&refusal(&call, 403, "AccessDeniedException", "not authorized")),
            Fate::Throttle => stream.write_all(&refusal(&call, 400, "ThrottlingException", "Rate exceeded")),
        }
    }

    fn played(&self, request: &Request, call: &Call) -> io::Result<Vec<u8>> {
        if call.operation == "FilterLogEvents" {
            return Ok(self.log_events(&request.body));
        }
        let to = if call.service == "iot" { &self.twin } else { &self.moto };
        let mut stream = TcpStream::connect(to)?;
        let mut head = request.head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        if let Some(at) = head.to_lowercase().find("\r\nexpect:") {
            let end = head[at + 2..].find("\r\n").map_or(head.len(), |e| at + 2 + e);
            head.replace_range(at..end, "");
        }
        stream.write_all(head.as_bytes())?;
        stream.write_all(&request.body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(if call.service == "lambda" { self.with_dead_letters(request, call, answer) } else { answer })
    }

    /// FilterLogEvents, from what the functions wrote in the twin: lines with the word that is asked for.
    fn log_events(&self, body: &[u8]) -> Vec<u8> {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let group = asked["logGroupName"].as_str().unwrap_or_default();
        let word = asked["filterPattern"].as_str().unwrap_or_default().trim_matches('"').to_owned();
        let name = group.strip_prefix("/aws/lambda/").unwrap_or(group);
        let log = std::fs::read_to_string(self.logs.join(format!("{name}.log"))).unwrap_or_default();
        let lines = log.lines().filter(|line| line.contains(&word));
        let events: Vec<Value> = lines.map(|line| serde_json::json!({ "message": line })).collect();
        answer("application/x-amz-json-1.1", &serde_json::json!({ "events": events }).to_string())
    }

    /// Unpacks a function's zip, and writes down what it is started with.
    fn deploy(&self, name: &str, sent: &Value) {
        let dir = self.functions.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        if let Some(zip) = sent["Code"]["ZipFile"].as_str().or_else(|| sent["ZipFile"].as_str()) {
            let path = dir.join("code.zip");
            std::fs::write(&path, aws_smithy_types::base64::decode(zip).unwrap()).unwrap();
            // Python's own keeps no modes, and a program that runs cannot be written over: the new one takes its name.
            let unpack = "import sys, zipfile, os\nz = zipfile.ZipFile(sys.argv[1])\nfor i in z.infolist():\n\
                          \x20p = os.path.join(sys.argv[2], i.filename)\n\
                          \x20with open(p + '.new', 'wb') as f: f.write(z.read(i))\n\
                          \x20os.chmod(p + '.new', (i.external_attr >> 16) & 0o777)\n\
                          \x20os.replace(p + '.new', p)";
            let ran = Command::new("python3").args(["-c", unpack]).arg(&path).arg(&dir).status().unwrap();
            assert!(ran.success());
        }
        if let (Some(variables), Some(timeout)) =
            (sent["Environment"]["Variables"].as_object(), sent["Timeout"].as_u64())
        {
            // A debug build on a busy machine starts slowly, which is not what is tested.
            let configuration = serde_json::json!({ "environment": variables, "timeout": timeout.max(60) });
            std::fs::write(dir.join("configuration.json"), configuration.to_string()).unwrap();
        }
    }

    fn with_dead_letters(&self, request: &Request, call: &Call, answer: Vec<u8>) -> Vec<u8> {
        let mut kept = self.dead_letters.lock().unwrap();
        let name =
            call.operation.split("/functions/").nth(1).and_then(|n| n.split('/').next()).map(str::to_owned);
        if let Ok(mut sent) = serde_json::from_slice::<Value>(&request.body) {
            let name = sent["FunctionName"].as_str().map(str::to_owned).or_else(|| name.clone());
            if let Some(name) = name.as_ref().filter(|_| call.changes) {
                self.deploy(name, &sent);
            }
            if let (Some(name), Value::Object(config)) = (name, sent["DeadLetterConfig"].take()) {
                kept.insert(name, Value::Object(config));
            }
        }
        let Some(config) =
            name.filter(|_| call.operation.starts_with("GET ")).and_then(|n| kept.get(&n).cloned())
        else {
            return answer;
        };
        let Some(at) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return answer };
        let Ok(mut body) = serde_json::from_slice::<Value>(&answer[at + 4..]) else { return answer };
        if !body["Configuration"].is_object() {
            return answer;
        }
        body["Configuration"]["DeadLetterConfig"] = config;
        self::answer("application/json", &body.to_string())
    }
}

struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Self> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let request = Request { head, body: Vec::new() };
        let length = request.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Request { body, ..request })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn call(&self) -> Call {
        // `Credential=KEY/20260101/eu-west-1/iot/aws4_request` (AWS's Signature Version 4).
        let scope = self.header("authorization").and_then(|a| a.split("Credential=").nth(1)).unwrap_or("");
        let service = scope.split('/').nth(3).unwrap_or("iot").to_owned();
        let mut words = self.head.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let form = String::from_utf8_lossy(&self.body);
        let action = form.split('&').find_map(|p| p.strip_prefix("Action=")).map(str::to_owned);
        let target = self.header("x-amz-target").and_then(|t| t.rsplit('.').next()).map(str::to_owned);
        let rest = format!("{method} {}", path.split('?').next().unwrap_or(path));
        let operation = target.or(action).unwrap_or(rest);
        let reads = ["Get", "List", "Describe", "Filter", "GET "].iter().any(|w| operation.starts_with(w))
            || operation.starts_with("POST /policy-targets")
            || operation.starts_with("POST /attached-policies")
            || operation.contains("test-authorization");
        Call { service, operation, changes: !reads }
    }
}

/// A good answer.
fn answer(kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// An error in the shape that the service's protocol has.
fn refusal(call: &Call, status: u16, code: &str, message: &str) -> Vec<u8> {
    let (kind, body) = match call.service.as_str() {
        "iam" | "sts" => (
            "text/xml",
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{}</Code><Message>{message}</Message></Error>\
                 <RequestId>1</RequestId></ErrorResponse>",
                code.trim_end_matches("Exception")
            ),
        ),
        _ => ("application/json", format!("{{\"__type\":\"{code}\",\"message\":\"{message}\"}}")),
    };
    format!(
        "HTTP/1.1 {status} No\r\nContent-Type: {kind}\r\nx-amzn-ErrorType: {code}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
