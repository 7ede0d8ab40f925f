//! Lambda for one machine: a function is a decision in this process, or a real `bootstrap` program.
//!
//! ```text
//! hook | commit ─▶ run(function, event) ─▶ decision of certrot-rules           (the default)
//!                                       └▶ pool ─▶ Instance ─▶ bootstrap ─▶ /2018-06-01/runtime/… (instance.rs)
//!                                                                        └▶ AWS_ENDPOINT_URL: rest
//! ```
//! Programs are named by options: one for the hooks, one for the retire handler, or a folder with one directory for
//! each function (`NAME/bootstrap`, and `NAME/configuration.json` with `environment` and `timeout` in seconds). What
//! answered is kept and used again (warm); what failed, was late or was killed is gone.

mod instance;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::account::function_name;
use crate::cloud::{Cloud, lock};
use crate::events::Event;
use crate::files;
use instance::Instance;

pub use instance::InvokeError;

/// What stands behind a function's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    /// The claim hook, decided in this process.
    ClaimHook,
    /// The rotation hook, decided in this process.
    RotateHook,
    /// The retire handler, decided in this process.
    Retire {
        /// The thing type of the fleet that it is for.
        thing_type: String,
    },
    /// A program.
    Program(Program),
    /// Nothing: an invocation fails.
    Unknown,
}

/// A `bootstrap` and what it is started with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// The program.
    pub bootstrap: PathBuf,
    /// `LAMBDA_TASK_ROOT`, and its working directory.
    pub root: PathBuf,
    /// The function's own environment.
    pub environment: BTreeMap<String, String>,
    /// How long one invocation may take.
    pub timeout: Duration,
}

/// The programs that are running.
#[derive(Debug)]
pub struct Pool {
    idle: Mutex<BTreeMap<(String, Program), Vec<Instance>>>,
    /// Counts up to have whatever is at work killed.
    kills: watch::Sender<u64>,
}

impl Default for Pool {
    fn default() -> Self {
        Pool { idle: Mutex::default(), kills: watch::Sender::new(0) }
    }
}

impl Pool {
    /// Kills whatever is at work, and what is idle too: the next invocation starts cold.
    pub fn kill(&self) {
        self.kills.send_modify(|n| *n += 1);
        self.cool();
    }

    /// Ends what is idle: a new version of the code was deployed.
    pub fn cool(&self) {
        lock(&self.idle).clear();
    }

    fn take(&self, name: &str, program: &Program) -> Option<Instance> {
        lock(&self.idle).get_mut(&(name.to_owned(), program.clone()))?.pop()
    }

    fn keep(&self, name: &str, program: &Program, instance: Instance) {
        lock(&self.idle).entry((name.to_owned(), program.clone())).or_default().push(instance);
    }
}

/// Finds what stands behind a function's ARN.
pub fn find(cloud: &Cloud, arn: &str) -> Function {
    let name = function_name(arn);
    let options = &cloud.options;
    if let Some(folder) = &options.functions {
        return in_folder(folder.join(name)).map_or(Function::Unknown, Function::Program);
    }
    let claim = name.ends_with("claim-hook");
    // `certrot-fleet` names functions and thing type after the fleet.
    let (path, function) = match name.strip_suffix("-retire") {
        Some(fleet) => (&options.retire_lambda, Function::Retire { thing_type: fleet.to_owned() }),
        None if claim => (&options.hook_lambda, Function::ClaimHook),
        None if name.ends_with("rotate-hook") => (&options.hook_lambda, Function::RotateHook),
        None => return Function::Unknown,
    };
    let Some(bootstrap) = path.clone() else { return function };
    let root = options.dir.join("lambda").join(name);
    let mut environment = BTreeMap::new();
    let mut set = |name: &str, value: &str| environment.insert(name.to_owned(), value.to_owned());
    let timeout = match function {
        Function::Retire { thing_type } => {
            set("CERTROT_THING_TYPE", &thing_type);
            RETIRE_TIMEOUT
        }
        _ => {
            set("CERTROT_HOOK", if claim { "claim" } else { "rotate" });
            options.hook_limit
        }
    };
    let listed = if claim { lock(&cloud.allow_list).clone() } else { None };
    if let Some(list) = listed {
        set("CERTROT_ALLOW_LIST", ALLOW_LIST);
        let lines: String = list.iter().flat_map(|s| [s.as_str(), "\n"]).collect();
        let written =
            files::make_dir(&root).and_then(|()| files::write(&root, ALLOW_LIST, 0o644, lines.as_bytes()));
        if let Err(error) = written {
            tracing::error!(%error, "allow-list not written");
        }
    }
    Function::Program(Program { bootstrap, root, environment, timeout })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Configuration {
    environment: BTreeMap<String, String>,
    timeout: Option<u64>,
}

fn in_folder(root: PathBuf) -> Option<Program> {
    let bootstrap = root.join("bootstrap");
    if !bootstrap.is_file() {
        return None;
    }
    let read: Option<Configuration> = files::read_json(&root, "configuration.json").ok()?;
    let Configuration { environment, timeout } = read.unwrap_or_default();
    let timeout = Duration::from_secs(timeout.unwrap_or(DEFAULT_TIMEOUT));
    Some(Program { bootstrap, root, environment, timeout })
}

/// Runs a program once, warm where there is one that answered before; `limit` is the caller's own patience.
pub async fn run(
    cloud: &Arc<Cloud>,
    arn: &str,
    program: &Program,
    event: &Value,
    limit: Duration,
) -> Result<Value, InvokeError> {
    let name = function_name(arn);
    let start = Instant::now();
    let limit = limit.min(program.timeout);
    let warm = cloud.functions.take(name, program);
    let cold = warm.is_none();
    let mut kills = cloud.functions.kills.subscribe();
    let work = async {
        let mut instance = match warm {
            Some(instance) => instance,
            None => Instance::start(cloud, name, program).await?,
        };
        let answer = instance.invoke(arn, event, start + limit).await;
        // A handler that answered with an error is as warm as any other; one that ended is not.
        if !matches!(answer, Err(InvokeError::Ended(_))) {
            cloud.functions.keep(name, program, instance);
        }
        answer
    };
    // Whoever loses drops the instance, and its process with it.
    let answer = tokio::select! {
        answer = work => answer,
        () = tokio::time::sleep(limit) => Err(InvokeError::Late(limit)),
        _ = kills.changed() => Err(InvokeError::Killed),
    };
    cloud.log(Event::Invoked {
        function: name.to_owned(),
        cold,
        ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        error: answer.as_ref().err().map(ToString::to_string),
    });
    answer
}

/// The allow-list's file beside a claim hook's program.
const ALLOW_LIST: &str = "allow-list.txt";
/// Lambda's own default.
const DEFAULT_TIMEOUT: u64 = 3;
/// What `certrot-fleet` gives the retire handler.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(60);
