//! What systemd is told: ready, status in words, reloading, stopping, and that the main loop turns (sd_notify(3)).
//!
//! Without `NOTIFY_SOCKET`, as on a terminal, everything here does nothing. A message that cannot be sent is logged and
//! never holds anything up: systemd draws its own conclusions.

use sd_notify::NotifyState;
use std::time::Duration;

/// The line to the service manager.
#[derive(Clone, Copy, Debug)]
pub struct Notify {
    watchdog: Option<Duration>,
}

impl Notify {
    /// Looks in the environment whether a manager listens and wants a watchdog (`WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub fn from_environment() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero()) }
    }

    /// Half of the manager's time-out, as sd_watchdog_enabled(3) advises: how often `watchdog` is to be called.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|timeout| timeout / 2)
    }

    /// Says that the service is up: the control socket answers and the store is open. Also ends a reload.
    pub fn ready(&self) {
        send(&[NotifyState::Ready]);
    }

    /// Says in words what the daemon does; one line, for `systemctl status`.
    pub fn status(&self, words: &str) {
        let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        send(&[NotifyState::Status(&line)]);
    }

    /// Says that the configuration is being read again; `ready` must follow, also when it was refused.
    ///
    /// The time lets systemd 253 and newer tell this reload from an earlier one (`Type=notify-reload`).
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(_) => send(&[NotifyState::Reloading]),
        }
    }

    /// Says that the service is on its way down.
    pub fn stopping(&self) {
        send(&[NotifyState::Stopping]);
    }

    /// Says that the main loop turns; to be called from the main loop alone.
    pub fn watchdog(&self) {
        if self.watchdog.is_some() {
            send(&[NotifyState::Watchdog]);
        }
    }
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell systemd what the service does");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    /// Sends one of each; run by the tests below in a process of its own, whose environment is theirs to choose.
    #[test]
    fn child_sends_one_of_each() {
        let notify = Notify::from_environment();
        notify.ready();
        notify.status("steady\nREADY=0\tnow");
        notify.reloading();
        notify.ready();
        notify.watchdog();
        notify.stopping();
    }

    fn run(environment: &[(&str, &str)]) -> bool {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "notify::tests::child_sends_one_of_each"])
            .env_remove("WATCHDOG_PID")
            .env_remove("WATCHDOG_USEC")
            .env_remove("NOTIFY_SOCKET")
            .envs(environment.iter().copied())
            .output()
            .unwrap()
            .status
            .success()
    }

    #[test]
    fn a_manager_hears_each_word_and_a_status_never_smuggles_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        assert!(run(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "180000000")]));

        socket.set_nonblocking(true).unwrap();
        let mut heard = Vec::new();
        let mut buffer = [0; 512];
        while let Ok(n) = socket.recv(&mut buffer) {
            heard.push(String::from_utf8(buffer[..n].to_vec()).unwrap());
        }
        assert_eq!(heard.len(), 6, "{heard:?}");
        assert_eq!(heard[0], "READY=1\n");
        assert_eq!(heard[1], "STATUS=steady READY=0 now\n");
        let usec = heard[2].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim();
        assert!(usec.parse::<u64>().unwrap() > 0);
        assert_eq!(heard[3..], ["READY=1\n", "WATCHDOG=1\n", "STOPPING=1\n"]);
    }

    #[test]
    fn without_a_manager_nothing_happens_and_nothing_fails() {
        assert!(run(&[]));
        assert!(run(&[("NOTIFY_SOCKET", "/nonexistent/notify")]));
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time_out() {
        assert_eq!(
            Notify { watchdog: Some(Duration::from_secs(180)) }.watchdog_interval(),
            Some(Duration::from_secs(90))
        );
        assert_eq!(Notify { watchdog: None }.watchdog_interval(), None);
    }
}
