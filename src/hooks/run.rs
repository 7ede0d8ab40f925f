//! The hook runner, `certrotctl hooks`: root's, started by certrotd-rotated.service, outside the daemon's sandbox.
//!
//! Every file in hooks.d that root alone can change and that may be executed is run, in the order of names, with the
//! new pair in its environment. A hook that fails or hangs is named and does not stop the next; what each said is kept,
//! so that it is tried again and the others are not. A hook may run twice for one switch (a power cut while it runs),
//! never not at all.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::clock::Clock;
use crate::control::wire::{HookResult, Hooks, Time};
use crate::exit::Exit;
use crate::log::{Log, id};
use crate::store::InUse;

/// What the unit says.
#[derive(Clone, Debug)]
pub struct Run {
    /// The daemon's store.
    pub store: PathBuf,
    /// The directory of hooks.
    pub hooks: PathBuf,
    /// Where results are kept.
    pub results: PathBuf,
    /// The daemon's bell.
    pub bell: Option<PathBuf>,
    /// How long one hook may take.
    pub patience: Duration,
}

/// Runs every hook that has not seen the pair in use; the whole program.
pub fn main(run: &Run) -> Exit {
    if let Err(error) = Log::init(tracing::Level::INFO) {
        let _ = writeln!(io::stderr(), "certrotctl: {error}");
        return Exit::Software;
    }
    match all(run) {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!(message_id = id::HOOK_FAILED, "no hook was run: {error}");
            Exit::TryAgain
        }
    }
}

fn all(run: &Run) -> Result<Exit, Box<dyn std::error::Error>> {
    // First the bell, then the pair: a switch after this line rings again.
    if let Some(bell) = &run.bell {
        match fs::remove_file(bell) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "{} cannot be removed", bell.display());
            }
            Ok(()) | Err(_) => {}
        }
    }
    let Some(pair) = InUse::read(&run.store)? else {
        tracing::info!("there is no identity yet: hooks run when there is one");
        return Ok(Exit::Done);
    };
    let before = super::read(&run.results).unwrap_or_default();
    let seen = before.certificate_id.as_ref() == Some(&pair.certificate_id);
    let mut said = Hooks {
        generation: Some(pair.generation),
        certificate_id: Some(pair.certificate_id.clone()),
        at: Some(now()),
        results: Vec::new(),
    };
    let copy = copy(&pair)?;
    let clock = Clock::start();
    let hooks = list(&run.hooks)?;
    for hook in &hooks {
        let done = before.results.iter().find(|r| seen && r.ok && r.name == hook.name);
        let to_run = || HookResult { name: hook.name.clone(), pending: true, ..HookResult::default() };
        said.results.push(done.cloned().unwrap_or_else(to_run));
    }
    // On disk before the first: what a power cut leaves undone is known to be undone.
    keep(&run.results, &said)?;
    for (n, hook) in hooks.into_iter().enumerate() {
        if said.results[n].ok {
            continue;
        }
        let begun = clock.boot();
        let ended = hook.fit.and_then(|()| one(run, &hook.path, &pair, &before, copy.path()));
        let ms = clock.boot().saturating_sub(begun);
        tell(&hook.name, &pair, &ended, ms);
        let (ok, text) = (ended.is_ok(), ended.err());
        said.results[n] = HookResult { name: hook.name, ok, text, pending: false };
        said.at = Some(now());
        keep(&run.results, &said)?;
    }
    Ok(if said.results.iter().all(|r| r.ok) { Exit::Done } else { Exit::TryAgain })
}

fn tell(hook: &str, pair: &InUse, ended: &Result<(), String>, ms: u64) {
    let (generation, certificate_id) = (pair.generation, &pair.certificate_id);
    match ended {
        Ok(()) => tracing::info!(hook, generation, certificate_id, ms, "hook {hook} ran"),
        Err(why) => tracing::warn!(
            message_id = id::HOOK_FAILED,
            hook,
            generation,
            certificate_id,
            ms,
            remedy = "see what it printed; it is run again in five minutes, or now by systemctl start of this unit",
            "hook {hook} failed: {why}"
        ),
    }
}

/// A file in the directory of hooks, and why it is not run.
struct Hook {
    name: String,
    path: PathBuf,
    fit: Result<(), String>,
}

/// What is to be run, in the order of names. Names that packages and editors leave behind are none, nor is a README.
fn list(dir: &Path) -> io::Result<Vec<Hook>> {
    let mut hooks = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(hooks),
        Err(error) => return Err(error),
    };
    let safe = owned_by_us(&fs::metadata(dir)?, dir);
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let left_over = [".dpkg-", ".rpm", ".ucf-", ".bak", ".swp"].iter().any(|end| name.contains(end));
        if name.starts_with('.') || name.starts_with("README") || left_over || !name.chars().all(plain) {
            continue;
        }
        let path = entry.path();
        let fit = safe.clone().and_then(|()| fit(&path));
        hooks.push(Hook { name, path, fit });
    }
    hooks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(hooks)
}

fn fit(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|e| e.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    owned_by_us(&metadata, path)?;
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(format!("it is not executable: chmod 0755 {}", path.display()));
    }
    Ok(())
}

/// What runs as root must be root's to change.
fn owned_by_us(metadata: &fs::Metadata, path: &Path) -> Result<(), String> {
    if metadata.uid() == nix::unistd::Uid::effective().as_raw() && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(format!("others than root may change {path}: chown root:root {path}; chmod go-w {path}"))
}

/// A copy for the hooks alone: one pair for all of them, whatever `current` names meanwhile, and nothing that the
/// daemon's user could put a link in the place of. It goes with the run.
fn copy(pair: &InUse) -> io::Result<TempDir> {
    let place = std::env::var_os("RUNTIME_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::Builder::new().prefix("pair-").tempdir_in(place)?;
    for (name, text) in [(CERTIFICATE, pair.pair.certificate.as_str()), (KEY, pair.pair.key.as_str())] {
        // 0600 from its creation, in a directory that is ours alone.
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.path().join(name))?;
        file.write_all(text.as_bytes())?;
    }
    Ok(dir)
}

/// Runs one hook, and says why it did not end well.
fn one(run: &Run, path: &Path, pair: &InUse, before: &Hooks, copy: &Path) -> Result<(), String> {
    let previous = before.certificate_id.as_deref().unwrap_or_default();
    let mut command = Command::new(path);
    command
        .stdin(Stdio::null())
        .current_dir("/")
        // A group of its own: what it starts ends with it.
        .process_group(0)
        .env("CERTROTD_GENERATION", pair.generation.to_string())
        .env("CERTROTD_THING", &pair.thing)
        .env("CERTROTD_CERTIFICATE_ID", &pair.certificate_id)
        .env("CERTROTD_PREVIOUS_CERTIFICATE_ID", previous)
        .env("CERTROTD_CERTIFICATE", copy.join(CERTIFICATE))
        .env("CERTROTD_PRIVATE_KEY", copy.join(KEY))
        .env("CERTROTD_STORE", &run.store);
    let mut child = command.spawn().map_err(|e| format!("it cannot be started: {e}"))?;
    let ended = wait(&mut child, run.patience).map_err(|e| e.to_string())?;
    let ended = match ended {
        Some(ended) => ended,
        None => {
            kill(&mut child);
            let seconds = run.patience.as_secs();
            return Err(format!("it had not ended after {seconds} s and was killed"));
        }
    };
    match (ended.success(), ended.code(), ended.signal()) {
        (true, ..) => Ok(()),
        (_, Some(code), _) => Err(format!("it ended with {code}")),
        (_, None, signal) => Err(format!("signal {} ended it", signal.unwrap_or_default())),
    }
}

/// Waits for the end; `None` when it does not come in time.
fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        sleep(LOOK);
    }
}

/// Ends it and its group: asked first, killed after [`GRACE`].
fn kill(child: &mut Child) {
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
    if group.as_raw() > 1 {
        let _ = killpg(group, Signal::SIGTERM); // gone already is as good
        if !matches!(wait(child, GRACE), Ok(Some(_))) {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
    let _ = child.wait();
}

/// Writes the results whole: temporary file, fsync, rename, fsync of the directory. All may read them: the daemon does.
fn keep(path: &Path, said: &Hooks) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(dir)?;
    serde_json::to_writer(&mut file, said)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    fs::File::open(dir)?.sync_all()
}

fn now() -> Time {
    Time::from_seconds(Clock::start().wall())
}

/// Names in the copy; the store's own.
const CERTIFICATE: &str = "device.cert.pem";
/// Names in the copy; the store's own.
const KEY: &str = "device.key.pem";
/// Between looks whether a hook has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Between asking a hook to end and killing it.
const GRACE: Duration = Duration::from_secs(3);

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
