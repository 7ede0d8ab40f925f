//! `certrotctl`: asks the daemon over its control socket and says the answer in words.
//!
//! ```text
//! args ─▶ run ─▶ control::client ═socket═ certrotd
//!           └──▶ show (pure: text) ─▶ stdout      exit: what went wrong ─▶ sysexits
//! ```
//! It decides nothing about identities, reads no clock (times are the daemon's) and no file of the daemon's: but for `check`,
//! which looks for itself where no daemon answers.
//! Orders are here; what stays and follows events is in `watch`, messages of applications in `messages`.

mod args;
mod check;
mod console;
mod exit;
mod follow;
mod messages;
mod show;
mod watch;
mod words;

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::control::client::{Client, ClientError};
use crate::control::wire::{Accepted, CheckReport, HistoryEntry, ProvisionRequest, Status};
use crate::exit::Exit;
use crate::hooks;
use args::{Args, Command};
use words::{Paint, clean};

/// The whole program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print(); // nowhere else to say it
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    if let Command::Hooks { store, run, results, bell, timeout } = args.command {
        return hooks::run::main(&hooks::run::Run { store, hooks: run, results, bell, patience: timeout })
            .into();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("starting failed: {error}"), "free file descriptors or memory");
            return Exit::Software.into();
        }
    };
    match runtime.block_on(run(args)) {
        Ok(end) => end.into(),
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done.into(),
        Err(Failure::Output(error)) => {
            complain(&format!("writing the answer failed: {error}"), "see where standard output goes");
            Exit::Software.into()
        }
        Err(Failure::Client(error)) => {
            let cause = std::error::Error::source(&error).map(|c| format!(": {c}")).unwrap_or_default();
            complain(&format!("{error}{cause}"), error.remedy());
            Exit::from(&error).into()
        }
    }
}

/// What ends the program early.
enum Failure {
    Client(ClientError),
    Output(io::Error),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

/// Where answers go, and how.
struct Output {
    json: bool,
    paint: Paint,
    terminal: bool,
}

impl Output {
    fn new(json: bool) -> Output {
        let terminal = io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        Output { json, paint: Paint(terminal && !plain && !json), terminal }
    }

    /// Writes text as it is, at once.
    fn text(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Writes the daemon's JSON as one line, or else the text made of it.
    fn answer<T: DeserializeOwned>(&self, value: &Value, words: impl Fn(&T) -> String) -> Result<T, Failure> {
        let read: T = read(value)?;
        self.text(&if self.json { format!("{value}\n") } else { words(&read) })?;
        Ok(read)
    }
}

async fn run(args: Args) -> Result<Exit, Failure> {
    let client = Client::new(&args.socket);
    let out = Output::new(args.json);
    match args.command {
        Command::Status { watch: false } => {
            let value = client.get("/v1/status").await?;
            let screen = show::Screen::standard(out.paint);
            out.answer(&value, |status: &Status| show::status(status, screen))?;
            Ok(Exit::Done)
        }
        Command::Status { watch: true } => watch::status(&client, &out).await,
        Command::Provision { serial, yes } => provision(&client, &out, serial, yes).await,
        Command::RotateNow { dry_run: true, .. } => {
            let client = client.with_patience(CHECK_PATIENCE);
            let value = client.post("/v1/rotate", &json!({ "dryRun": true })).await?;
            let report: CheckReport = out.answer(&value, |report| show::check(report, out.paint))?;
            Ok(Exit::from(&report))
        }
        Command::RotateNow { wait: true, timeout, .. } => watch::rotation(&client, &out, timeout).await,
        Command::RotateNow { .. } => order(&client, &out, "/v1/rotate", &json!({})).await,
        Command::History => {
            let value = client.get("/v1/history").await?;
            out.answer(&value, |entries: &Vec<HistoryEntry>| show::history(entries))?;
            Ok(Exit::Done)
        }
        Command::Check { config } => check::run(client.with_patience(CHECK_PATIENCE), &out, &config).await,
        Command::Wait { what, timeout } => watch::goal(&client, &out, what, timeout).await,
        Command::Reload => order(&client, &out, "/v1/reload", &json!({})).await,
        Command::Connect => order(&client, &out, "/v1/connect", &json!({})).await,
        Command::Disconnect => order(&client, &out, "/v1/disconnect", &json!({})).await,
        Command::Adopt => order(&client, &out, "/v1/adopt", &json!({})).await,
        Command::Console { listen, allow_host } => console::run(client, &out, listen, &allow_host).await,
        Command::Hooks { .. } => Ok(Exit::Software), // run before, without a runtime
        Command::Publish { topic, payload, timeout } => {
            messages::publish(client, &out, topic, payload, timeout).await
        }
        Command::Subscribe { filter, count } => messages::subscribe(&client, &out, &filter, count).await,
    }
}

async fn order(client: &Client, out: &Output, path: &str, body: &Value) -> Result<Exit, Failure> {
    let value = client.post(path, body).await?;
    out.answer(&value, |accepted: &Accepted| match clean(&accepted.text) {
        text if text.is_empty() => "accepted\n".to_owned(),
        text => text + "\n",
    })?;
    Ok(Exit::Done)
}

async fn provision(
    client: &Client,
    out: &Output,
    serial: Option<String>,
    yes: bool,
) -> Result<Exit, Failure> {
    let status: Status = read(&client.get("/v1/status").await?)?;
    let provisioned = status.certificate.is_some();
    if let Some(certificate) = status.certificate.filter(|_| !yes) {
        let thing = clean(status.thing_name.as_deref().unwrap_or("this device"));
        let question = format!(
            "{thing} is provisioned (generation {}). Try the claim certificate all the same? [y/N] ",
            certificate.generation
        );
        match ask(&question) {
            Reply::Yes => {}
            Reply::No => {
                complain("nothing was done", "answer y, or give --yes");
                return Ok(Exit::Usage);
            }
            Reply::Nobody => {
                complain(
                    &format!("{thing} is provisioned, and there is no terminal to ask at"),
                    "give --yes",
                );
                return Ok(Exit::Usage);
            }
        }
    }
    // A request of plain strings always becomes JSON.
    let body = serde_json::to_value(ProvisionRequest { serial, confirmed: provisioned }).unwrap_or_default();
    order(client, out, "/v1/provision", &body).await
}

enum Reply {
    Yes,
    No,
    Nobody,
}

/// Asks at the terminal; anything but a clear yes is a no.
fn ask(question: &str) -> Reply {
    if !io::stdin().is_terminal() {
        return Reply::Nobody;
    }
    let mut err = io::stderr().lock();
    let _ = err.write_all(question.as_bytes());
    let _ = err.flush();
    let mut answer = String::new();
    match io::stdin().lock().read_line(&mut answer) {
        Ok(_) if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") => Reply::Yes,
        Ok(_) | Err(_) => Reply::No,
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, ClientError> {
    T::deserialize(value).map_err(|_| ClientError::Malformed { what: "JSON of another shape" })
}

/// Says on standard error what went wrong and what clears it.
fn complain(what: &str, remedy: &str) {
    let text = format!("certrotctl: {}\n  fix: {}\n", clean(what), clean(remedy));
    let _ = io::stderr().lock().write_all(text.as_bytes()); // nowhere else to say it
}

/// For a check: longer than the daemon's own time for one.
const CHECK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(100);
