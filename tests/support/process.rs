//! The daemon's process: started, signalled, killed, ended.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Device, PATIENCE, TICK, real_ms};

impl Device {
    /// The daemon's command line and environment, not started.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certrotd"));
        command.arg("--config").arg(self.config_path()).stdin(Stdio::null());
        for name in ["NOTIFY_SOCKET", "JOURNAL_STREAM", "CREDENTIALS_DIRECTORY", "WATCHDOG_USEC"] {
            command.env_remove(name);
        }
        if self.rate != 1 {
            command.env("CERTROTD_CLOCK_RATE", self.rate.to_string());
            // A restart begins at the real time again, and the cloud's clock has run ahead of that.
            let ahead = self.twin.as_ref().map_or(0, |t| t.clock().now_ms() - real_ms()) / 1000;
            command.env("CERTROTD_CLOCK_OFFSET", ahead.to_string());
        }
        command.envs(self.env.iter().map(|(n, v)| (n, v)));
        command
    }

    /// Starts the daemon and waits until its control socket answers.
    pub fn start(&mut self) {
        self.launch();
        let end = Instant::now() + PATIENCE;
        while self.try_status().is_none() {
            if let Some(status) = self.exited() {
                panic!("certrotd ended at its start: {status}\n{}", self.log());
            }
            assert!(Instant::now() < end, "certrotd's control socket does not answer\n{}", self.log());
            sleep(TICK);
        }
    }

    /// Starts the daemon and waits for nothing.
    pub fn launch(&mut self) {
        self.launch_as(self.command());
    }

    /// The same under another program, which becomes the daemon (`strace -D`).
    pub fn launch_under(&mut self, mut program: Command) {
        let daemon = self.command();
        program.arg(daemon.get_program()).args(daemon.get_args()).stdin(Stdio::null());
        for (name, value) in daemon.get_envs() {
            match value {
                Some(value) => program.env(name, value),
                None => program.env_remove(name),
            };
        }
        self.launch_as(program);
    }

    fn launch_as(&mut self, mut command: Command) {
        assert!(self.process.is_none(), "it runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log file");
        let out = log.try_clone().expect("a second handle");
        let child = command.stdout(out).stderr(log).spawn();
        self.process =
            Some(child.unwrap_or_else(|e| panic!("{}: {e}", command.get_program().to_string_lossy())));
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Whether the daemon's process is there.
    pub fn is_running(&mut self) -> bool {
        self.process.is_some() && self.exited().is_none()
    }

    /// How the daemon ended, where it did by itself; it may be started again then.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.exited()?;
        self.process = None;
        Some(status)
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.try_wait().expect("its own child")
    }

    /// Ends the daemon at once, as a power cut would.
    pub fn kill9(&mut self) {
        self.learn_secrets();
        let mut child = self.process.take().expect("it runs");
        child.kill().expect("its own child");
        let status = child.wait().expect("its own child");
        assert_eq!(status.signal(), Some(9), "it had ended before: {status}\n{}", self.log());
    }

    /// Switched off and on again so much later, by both clocks.
    pub fn ages(&mut self, time: Duration) {
        self.kill9();
        self.twin().clock().advance(time);
        self.start();
    }

    /// Sends a signal to the daemon: `TERM`, `HUP`, `STOP`.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(done.expect("kill(1)").success(), "kill -{name}");
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.learn_secrets();
        self.signal("TERM");
        self.wait_exit()
    }

    /// Waits until the daemon has ended by itself.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE * 2;
        loop {
            if let Some(status) = self.exited() {
                self.process = None;
                return status;
            }
            assert!(Instant::now() < end, "certrotd does not end\n{}", self.log());
            sleep(TICK);
        }
    }
}
