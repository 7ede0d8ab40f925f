//! moto as a program beside this one: IAM, STS, Lambda's configuration, SQS and the logs.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// moto, for as long as this lives; when this program dies, it ends too.
pub struct Moto {
    /// `127.0.0.1:PORT`.
    pub address: String,
    child: Child,
}

impl Moto {
    /// Starts it and waits until it answers; the first time its environment is made, which takes a minute or two.
    pub fn start() -> Self {
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
        let address = format!("127.0.0.1:{port}");
        let end = Instant::now() + Duration::from_secs(300);
        while TcpStream::connect(&address).is_err() {
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < end,
                "moto never came up: run {} moto {port}",
                script.display()
            );
            sleep(Duration::from_millis(100));
        }
        Moto { address, child }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // The shell ends moto, and then itself.
        drop(self.child.stdin.take());
        let _gone = self.child.wait();
    }
}
