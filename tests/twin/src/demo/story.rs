//! The steps of the story: each waits for the event that proves it, and fails after `DEADLINE`.
//!
//! A line's time is the event's own. Where daemon and twin both saw it, the daemon's word is taken for what became
//! durable on the device, and the twin's for what the cloud did.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::control::{Answer, DaemonEvent, Feed, ask, ask_twin};
use super::daemon::Daemon;
use super::probe::{Pair, Verdict, attempt};
use super::tell::{Line, Teller};
use super::{DemoError, SOCKET, STORE, patient, write_config};
use crate::Twin;
use crate::clock::Clock;
use crate::events::{Event, Logged};

/// How long each step may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// The device's serial, and so its thing's name.
const SERIAL: &str = "SN-0001";

/// Twin, daemon, and what was told so far.
pub(super) struct Stage<'a> {
    twin: &'a Twin,
    dir: &'a Path,
    clock: Arc<Clock>,
    began_ms: i64,
    stop: &'a AtomicBool,
    daemon: Option<Daemon>,
    feed: Feed,
    lines: Vec<Line>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(twin: &'a Twin, dir: &'a Path, began_ms: i64, stop: &'a AtomicBool) -> Self {
        let clock = Arc::new(Clock::new(0, 1.0));
        Self { twin, dir, clock, began_ms, stop, daemon: None, feed: Feed::default(), lines: Vec::new() }
    }

    /// What has happened.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The whole story.
    pub(super) fn tell(&mut self, certrotd: &Path, tell: &mut Teller) -> Result<(), DemoError> {
        self.start(certrotd, tell)?;
        self.provision(tell)?;
        let old = self.old_pair()?;
        let new = self.rotate(&old, tell)?;
        self.new_is_in_use(&new, tell)?;
        self.old_is_dead(&old, tell)
    }

    /// Prints the commands to try and waits for a signal.
    pub(super) fn stay(&mut self, certrotd: &Path, tell: &mut Teller) -> Result<(), DemoError> {
        self.commands(certrotd, tell);
        match self.wait("the device stays up", None, |_| None::<()>) {
            Err(DemoError::Interrupted) => {
                tell.note("\nstopping certrotd and the twin");
                Ok(())
            }
            other => other,
        }
    }

    /// Stops the daemon.
    pub(super) fn end(&mut self) {
        drop(self.daemon.take());
    }

    /// For whoever must find out why a step failed: what the daemon waits for, and its last lines.
    pub(super) fn last_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Ok(status) = ask(&self.socket(), "GET", "/v1/status", "") {
            words.push(format!("certrotd is {}: {}", text(&status.body["state"]), text(&status.body["why"])));
        }
        if let Some(daemon) = &self.daemon {
            words.extend(daemon.last_lines(20));
        }
        words
    }

    fn start(&mut self, certrotd: &Path, tell: &mut Teller) -> Result<(), DemoError> {
        tell.heading("A cloud and a device without an identity");
        let made = format!(
            "twin of AWS IoT Core: MQTT 127.0.0.1:{}, API 127.0.0.1:{}",
            self.twin.port(),
            self.twin.api_port()
        );
        self.line(tell, "CA and claim made", self.clock.now_ms(), made);
        let config = write_config(self.twin, self.dir, SERIAL)?;
        let daemon = Daemon::start(certrotd, &config, self.dir, self.clock.clone())?;
        let (pid, started_ms) = (daemon.pid(), daemon.started_ms());
        self.daemon = Some(daemon);
        self.line(tell, "certrotd started", started_ms, format!("pid {pid}, {}", certrotd.display()));
        let ready = "certrotd ready";
        let ready_ms = self.until(ready, |s| s.daemon.as_ref().and_then(Daemon::ready_ms))?;
        self.feed = Feed::open(&self.socket())
            .map_err(|e| DemoError::Wrong { step: ready, what: format!("its events cannot be read: {e}") })?;
        self.line(tell, ready, ready_ms, "store open, control socket up (READY=1)".to_owned());
        Ok(())
    }

    fn provision(&mut self, tell: &mut Teller) -> Result<(), DemoError> {
        tell.heading("First provisioning, with the claim certificate that every device of the fleet shares");
        let claimed = |e: &Event| matches!(e, Event::Connect { client, refused: None, .. } if client.starts_with("claim-"));
        let found = self.twin_event("claim connected", 0, claimed)?;
        let detail = match &found.event {
            Event::Connect { client, principal, .. } => {
                format!("client id {client}, certificate {}", short(principal))
            }
            _ => String::new(),
        };
        self.line(tell, "claim connected", found.at_ms, detail);
        let issued = self.device_event("key made, certificate issued", 0, |e| e.is("issue", "ok"))?;
        let minted =
            self.twin_event("key made, certificate issued", 0, |e| matches!(e, Event::Minted { .. }))?;
        let id = match minted.event {
            Event::Minted { certificate_id, .. } => certificate_id,
            _ => String::new(),
        };
        let detail = format!("certificate {}, on disk with its key before it is registered", short(&id));
        self.line(tell, "key made, certificate issued", issued.at_ms(), detail);
        self.registered("registered", 0, 0, tell)?;
        let connected = self.twin_event("session up", 0, |e| is_session(e, &id))?;
        let detail = format!("client id {SERIAL}, certificate {}", short(&id));
        self.line(tell, "session up", connected.at_ms, detail);
        let proved = self.device_event("proved by a real session", 0, |e| e.is("prove", "ok"))?;
        let detail = "subscriptions granted, its right to ask tried".to_owned();
        self.line(tell, "proved by a real session", proved.at_ms(), detail);
        let switched = self.device_event("current switched", 0, |e| e.is("switch", "ok"))?;
        self.line(tell, "current switched", switched.at_ms(), self.current());
        let committed = self.device_event("first commit accepted", 0, |e| e.is("retire", "ok"))?;
        let detail = "nothing older to retire; every generation commits".to_owned();
        self.line(tell, "first commit accepted", committed.at_ms(), detail);
        Ok(())
    }

    /// Orders a rotation and follows it; the id of the new certificate.
    fn rotate(&mut self, old: &Old, tell: &mut Teller) -> Result<String, DemoError> {
        tell.heading("A rotation, ordered on the control socket; the old certificate carries it, the new one proves itself");
        let (seen, heard) = (self.twin.event_count(), self.feed.len());
        let ordered_ms = self.clock.now_ms();
        let step = "rotation ordered";
        let answer = self.ask(step, "POST", "/v1/rotate", "{}")?;
        if answer.status != 200 {
            return Err(DemoError::Wrong { step, what: problem(&answer) });
        }
        self.line(tell, step, ordered_ms, "POST /v1/rotate, as certrotctl rotate-now does".to_owned());
        let issued = self.device_event("successor issued", heard, |e| e.is("issue", "ok"))?;
        let minted = self.twin_event("successor issued", seen, |e| matches!(e, Event::Minted { .. }))?;
        let new = match minted.event {
            Event::Minted { certificate_id, .. } => certificate_id,
            _ => String::new(),
        };
        self.line(
            tell,
            "successor issued",
            issued.at_ms(),
            format!("certificate {}, a new key", short(&new)),
        );
        self.registered("successor registered", seen, heard, tell)?;
        let step = "session taken over";
        let connected = self.twin_event(step, seen, |e| is_session(e, &new))?;
        let closed = self.twin_event(step, seen, |e| is_end(e, &old.id))?;
        let gap = connected.at_ms.saturating_sub(closed.at_ms);
        let detail = format!(
            "{} → {}; hand-over gap {} ms (old session closed, new CONNACK; by the twin)",
            short(&old.id),
            short(&new),
            gap.max(0)
        );
        self.line(tell, step, connected.at_ms, detail);
        let proved = self.device_event("successor proved", heard, |e| e.is("prove", "ok"))?;
        self.line(tell, "successor proved", proved.at_ms(), "only now may current move".to_owned());
        let switched =
            self.device_event("current switched to the successor", heard, |e| e.is("switch", "ok"))?;
        self.line(tell, "current switched to the successor", switched.at_ms(), self.current());
        let retired = self.device_event("old certificate retired", heard, |e| e.is("retire", "ok"))?;
        let detail = "commit on the new certificate, accepted by the cloud".to_owned();
        self.line(tell, "old certificate retired", retired.at_ms(), detail);
        Ok(new)
    }

    /// Shows in the registry and on the wire that the old pair is worth nothing.
    fn old_is_dead(&mut self, old: &Old, tell: &mut Teller) -> Result<(), DemoError> {
        tell.heading("The old certificate, with its key, as a thief of the old disk would use it");
        let step = "old certificate gone from registry";
        let path = format!("/certificates/{}", old.id);
        let port = self.twin.api_port();
        self.until(step, |_| ask_twin(port, "GET", &path).ok().filter(|a| a.status == 404))?;
        let deleted = self.twin_event(
            step,
            0,
            |e| matches!(e, Event::Deleted { certificate_id } if *certificate_id == old.id),
        )?;
        let detail = format!("{} → deleted; DescribeCertificate: 404", self.statuses(&old.id).join(" → "));
        self.line(tell, step, deleted.at_ms, detail);
        let step = "a live pair gets in this way";
        let claim = Pair::read(&self.twin.claim_certificate(), &self.twin.claim_key());
        let (at_ms, verdict) = self.attempt(step, &claim.map_err(|e| wrong(step, &e))?, "claim-demo")?;
        if verdict != Verdict::Accepted {
            return Err(DemoError::Wrong { step, what: verdict.to_string() });
        }
        self.line(tell, step, at_ms, format!("the claim, for comparison: {verdict}"));
        let step = "old certificate refused";
        let (at_ms, verdict) = self.attempt(step, &old.pair, SERIAL)?;
        if verdict == Verdict::Accepted {
            return Err(DemoError::Wrong { step, what: verdict.to_string() });
        }
        self.line(tell, step, at_ms, format!("TLS and MQTT attempt with {}: {verdict}", short(&old.id)));
        Ok(())
    }

    fn new_is_in_use(&mut self, new: &str, tell: &mut Teller) -> Result<(), DemoError> {
        let step = "new certificate in use";
        let socket = self.socket();
        let status = self.until(step, |_| {
            let status = ask(&socket, "GET", "/v1/status", "").ok()?.body;
            (status["connected"] == true && status["certificate"]["id"] == new).then_some(status)
        })?;
        let at_ms = text(&status["now"]).parse::<jiff::Timestamp>().map_or(0, |t| t.as_millisecond());
        let detail = format!(
            "status: {}, connected, certificate {}, generation {}",
            text(&status["state"]),
            short(new),
            status["certificate"]["generation"]
        );
        self.line(tell, step, at_ms, detail);
        Ok(())
    }

    fn registered(
        &mut self,
        step: &'static str,
        seen: usize,
        heard: usize,
        tell: &mut Teller,
    ) -> Result<(), DemoError> {
        let registered = self.twin_event(step, seen, |e| matches!(e, Event::Registered { .. }))?;
        self.device_event(step, heard, |e| e.is("register", "ok"))?;
        let detail = match &registered.event {
            Event::Registered { thing, template, .. } => format!("thing {thing}, template {template}"),
            _ => String::new(),
        };
        self.line(tell, step, registered.at_ms, detail);
        Ok(())
    }

    /// The pair of generation 1, as it is on the disk while it is still alive.
    fn old_pair(&self) -> Result<Old, DemoError> {
        let at = self.dir.join(STORE).join("generations/0001");
        let read = || {
            let pair = Pair::read(&at.join("device.cert.pem"), &at.join("device.key.pem"))?;
            Ok(Old { id: pair.id()?, pair })
        };
        read().map_err(|e: std::io::Error| wrong("first commit accepted", &e))
    }

    fn attempt(&self, step: &'static str, pair: &Pair, client: &str) -> Result<(i64, Verdict), DemoError> {
        let verdict = attempt(pair, &self.twin.ca_pem(), self.twin.port(), client);
        Ok((self.clock.now_ms(), verdict.map_err(|e| wrong(step, &e))?))
    }

    /// Where `current` points.
    fn current(&self) -> String {
        let target = std::fs::read_link(self.dir.join(STORE).join("current")).unwrap_or_default();
        format!("current -> {}, by one rename", target.display())
    }

    /// The statuses that a certificate went through.
    fn statuses(&self, id: &str) -> Vec<String> {
        let all = self.twin.events();
        let changed = all.into_iter().filter_map(|l| match l.event {
            Event::Status { certificate_id, status } if certificate_id == id => Some(status),
            _ => None,
        });
        changed.collect()
    }

    fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET)
    }

    fn ask(&self, step: &'static str, method: &str, path: &str, body: &str) -> Result<Answer, DemoError> {
        ask(&self.socket(), method, path, body).map_err(|e| wrong(step, &e))
    }

    fn line(&mut self, tell: &mut Teller, step: &'static str, at_ms: i64, detail: String) {
        let line = Line { step, at_ms: at_ms.saturating_sub(self.began_ms).max(0), detail };
        tell.line(&line);
        self.lines.push(line);
    }

    fn twin_event(
        &mut self,
        step: &'static str,
        since: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Logged, DemoError> {
        self.until(step, |s| s.twin.events_since(since).into_iter().find(|l| wanted(&l.event)))
    }

    fn device_event(
        &mut self,
        step: &'static str,
        since: usize,
        wanted: impl Fn(&DaemonEvent) -> bool,
    ) -> Result<DaemonEvent, DemoError> {
        self.until(step, |s| s.feed.find(since, &wanted))
    }

    fn until<T>(
        &mut self,
        step: &'static str,
        look: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, DemoError> {
        self.wait(step, Some(DEADLINE), look)
    }

    fn wait<T>(
        &mut self,
        step: &'static str,
        within: Option<Duration>,
        mut look: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, DemoError> {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(DemoError::Interrupted);
            }
            if let Some(status) = self.daemon.as_mut().and_then(Daemon::ended) {
                return Err(DemoError::Ended { step, status });
            }
            if within.is_some_and(|within| began.elapsed() > within) {
                return Err(DemoError::Late { step });
            }
            patient(self.stop, Duration::from_millis(10));
        }
    }

    fn commands(&self, certrotd: &Path, tell: &mut Teller) {
        let ctl = certrotd.with_file_name("certrotctl");
        let ctl = if ctl.is_file() { shell(&ctl) } else { "certrotctl".to_owned() };
        let socket = shell(&self.socket());
        let api = format!("http://127.0.0.1:{}", self.twin.api_port());
        tell.heading("The device stays up; try, in another terminal:");
        tell.command("what it does, why, and what comes next", &format!("{ctl} --socket {socket} status"));
        tell.command("the same again, step by step", &format!("{ctl} --socket {socket} rotate-now --wait"));
        tell.command(
            "all of it in a browser: open the link that this prints",
            &format!("{ctl} --socket {socket} console"),
        );
        tell.command(
            "is everything well, and what clears it if not",
            &format!("{ctl} --socket {socket} check"),
        );
        tell.command("what has happened to the identity", &format!("{ctl} --socket {socket} history"));
        tell.command("without certrotctl", &format!("curl --unix-socket {socket} http://certrotd/v1/status"));
        tell.command(
            "events as they happen",
            &format!("curl -N --unix-socket {socket} http://certrotd/v1/events"),
        );
        tell.command(
            "the cloud's side, in AWS's own paths",
            &format!("curl {api}/things/{SERIAL}/principals"),
        );
        tell.command(
            "break it: switch the certificate in use off, look at status; ACTIVE heals it",
            &format!(
                "id=$(curl -s {api}/things/{SERIAL}/principals | grep -o '[0-9a-f]\\{{64\\}}')\n  \
                 curl -X PUT \"{api}/certificates/$id?newStatus=INACTIVE\""
            ),
        );
        tell.command(
            "break it: the next RegisterThing gets no answer, then rotate",
            &format!(
                "curl {api}/twin/faults -d '{{\"on\": \"register\", \"effect\": \"drop\", \"times\": 1}}'\n  \
                 {ctl} --socket {socket} rotate-now --wait"
            ),
        );
        let log = self.daemon.as_ref().map(|d| shell(d.log())).unwrap_or_default();
        tell.command("the daemon's log", &format!("tail -f {log}"));
        tell.note("\nCtrl-C ends daemon and twin.");
    }
}

/// The pair that the rotation replaces.
struct Old {
    id: String,
    pair: Pair,
}

fn is_session(event: &Event, id: &str) -> bool {
    matches!(event, Event::Connect { client, principal, refused: None, .. } if client == SERIAL && principal == id)
}

fn is_end(event: &Event, id: &str) -> bool {
    matches!(event, Event::Closed { client, principal, .. } if client == SERIAL && principal == id)
}

fn wrong(step: &'static str, error: &std::io::Error) -> DemoError {
    DemoError::Wrong { step, what: error.to_string() }
}

/// What a problem document says.
fn problem(answer: &Answer) -> String {
    format!("{}: {}", answer.status, text(&answer.body["detail"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// The beginning of a certificate id.
fn short(id: &str) -> String {
    format!("{}…", id.get(..12).unwrap_or(id))
}

/// A path as a word of the shell.
fn shell(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+');
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        assert_eq!(shell(Path::new("/tmp/a-b.c")), "/tmp/a-b.c");
        assert_eq!(shell(Path::new("/tmp/it's here")), r"'/tmp/it'\''s here'");
    }
}
