//! Twins with and without the programs, and a look at what they did.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certrot_twin::lambda::{self, Function, InvokeError};
use certrot_twin::{Event, Options};
use serde_json::{Value, json};

use crate::support::Lab;

/// The program of both hooks: this build's, or the one in the directory that CERTROT_LAMBDAS names.
pub fn hook() -> String {
    program("certrot-hook", env!("CARGO_BIN_EXE_certrot-hook"))
}

/// The program of the retire handler, likewise.
pub fn retire() -> String {
    program("certrot-retire", env!("CARGO_BIN_EXE_certrot-retire"))
}

fn program(name: &str, built: &str) -> String {
    std::env::var("CERTROT_LAMBDAS").map_or_else(|_| built.to_owned(), |dir| format!("{dir}/{name}"))
}

/// A twin that runs the programs.
pub fn programs() -> Lab {
    programs_with(|_| ())
}

pub fn programs_with(set: impl FnOnce(&mut Options)) -> Lab {
    Lab::with(|o| {
        o.hook_lambda = Some(hook().into());
        o.retire_lambda = Some(retire().into());
        // Cold starts of debug builds on a busy machine are not what is tested here.
        o.hook_limit = Duration::from_secs(20);
        set(o);
    })
}

/// A folder of functions for `Options::functions`.
pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts a program into the folder, as a deployment would.
    pub fn put(&self, name: &str, bootstrap: &str, configuration: &Value) -> PathBuf {
        let dir = self.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        if bootstrap.starts_with("#!") {
            write(&dir.join("bootstrap"), bootstrap);
            fs::set_permissions(dir.join("bootstrap"), fs::Permissions::from_mode(0o755)).unwrap();
        } else {
            std::os::unix::fs::symlink(bootstrap, dir.join("bootstrap")).unwrap();
        }
        write(&dir.join("configuration.json"), &configuration.to_string());
        dir
    }
}

#[allow(clippy::disallowed_methods, reason = "a test's file need not survive anything")]
pub fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

/// Invokes the retire handler as the topic rule would, and waits for its end.
pub fn commit(lab: &Lab, event: &Value) -> Result<Value, InvokeError> {
    let cloud = lab.twin.cloud();
    let arn = certrot_twin::account::function_arn(certrot_twin::account::RETIRE);
    let Function::Program(program) = lambda::find(cloud, &arn) else { panic!("no program") };
    lab.twin.block_on(lambda::run(cloud, &arn, &program, event, Duration::from_secs(60)))
}

/// The event that the rule makes of an honest commit.
pub fn event(thing: &str, id: &str) -> Value {
    json!({
        "certificateId": id, "principal": id, "clientId": thing, "thing": thing,
        "timestamp": jiff::Timestamp::now().as_millisecond(),
    })
}

/// Names of the control plane's calls from event number `since` on, each with its error.
pub fn calls(lab: &Lab, since: usize) -> Vec<(String, Option<String>)> {
    let call = |event: Event| match event {
        Event::Api { operation, error, .. } => Some((operation, error)),
        _ => None,
    };
    lab.twin.events_since(since).into_iter().filter_map(|l| call(l.event)).collect()
}

/// Invocations of programs from event number `since` on: function, cold, error.
pub fn invoked(lab: &Lab, since: usize) -> Vec<(String, bool, Option<String>)> {
    let invocation = |event: Event| match event {
        Event::Invoked { function, cold, error, .. } => Some((function, cold, error)),
        _ => None,
    };
    lab.twin.events_since(since).into_iter().filter_map(|l| invocation(l.event)).collect()
}

/// What every program wrote.
pub fn logs(lab: &Lab) -> String {
    let Ok(files) = fs::read_dir(lab.dir.path().join("lambda")) else { return String::new() };
    let logs = files.map(|f| f.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "log"));
    logs.map(|p| fs::read_to_string(p).unwrap()).collect()
}
