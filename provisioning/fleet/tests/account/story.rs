//! The whole story with what was deployed: setup, the generated `config.toml`, the real `certrotd`, a rotation, a
//! stranger who is refused, cleanup, nothing left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::Lab;

#[test]
fn the_deployed_fleet_provisions_and_rotates_a_device_and_goes_without_a_trace() {
    let lab = Lab::with(1.0);
    real_programs(&lab);
    let list = lab.path("list");
    fs::write(&list, "SN-0001\n").unwrap();
    let before = lab.holdings();
    let (port, root) = (lab.twin.port().to_string(), lab.path("twin/ca.pem"));
    let words = [
        "setup",
        "--port",
        &port,
        "--root-ca",
        root.to_str().unwrap(),
        "--allow-list",
        list.to_str().unwrap(),
    ];
    lab.must(&words);

    let device = Device::start(&lab, "SN-0001");
    let status = device.until("provisioned", |s| s["connected"] == true && s["retire"]["pending"] == false);
    let first = status["certificate"]["id"].as_str().unwrap().to_owned();
    device.ctl(&["rotate-now", "--wait"]);
    let status = device
        .until("rotated", |s| s["certificate"]["id"] != first.as_str() && s["retire"]["pending"] == false);
    let second = status["certificate"]["id"].as_str().unwrap().to_owned();
    device.until("the old one is gone", |_| !lab.iot().iter().any(|i| i.contains(&first)));
    let thing = lab.twin_http("GET", "/things/SN-0001", "");
    assert!(thing.contains("\"thingTypeName\":\"certrot\"") && thing.contains(&second), "{thing}");

    // Not on the list: the deployed hook says no, and nothing is left of the try.
    let stranger = Device::start(&lab, "SN-0002");
    stranger.until("refused", |_| stranger.log().contains("ACCESS_DENIED") || stranger.log().contains("403"));
    drop(stranger);
    assert!(!lab.iot().contains(&"iot things SN-0002".to_owned()));

    let view: Value = serde_json::from_str(&lab.must(&["status", "--json"])).unwrap();
    assert_eq!((&view["things"], &view["certificates"]["ACTIVE"]), (&1.into(), &1.into()), "{view}");
    drop(device);
    lab.twin.clock().set_rate(400.0);
    lab.must(&["cleanup", "--things", "--yes"]);
    let left: Vec<String> = lab.holdings().into_iter().filter(|i| !before.contains(i)).collect();
    // The stranger's certificate waits for its token's end, and then AWS deletes it.
    assert!(left.iter().all(|i| i.starts_with("iot certificates")) && left.len() <= 1, "{left:?}");
}

/// The programs of this build, without their symbols: AWS takes 50 MB.
pub fn real_programs(lab: &Lab) {
    for name in ["certrot-hook", "certrot-retire"] {
        let to = lab.path("lambdas").join(name);
        let from = built(name);
        let ran = Command::new("strip").arg("-o").arg(&to).arg(&from).status();
        if !ran.is_ok_and(|s| s.success()) {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// A program of the workspace, beside the tool.
fn built(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_certrot-fleet")).with_file_name(name);
    assert!(path.exists(), "{} is not there: cargo build --workspace makes it", path.display());
    path
}

/// The real daemon with the generated configuration.
struct Device {
    dir: PathBuf,
    child: Child,
}

impl Device {
    fn start(lab: &Lab, serial: &str) -> Self {
        let dir = lab.path(serial);
        fs::create_dir_all(&dir).unwrap();
        let claims = lab.path("fleet/claims/first");
        // What an installer does: the files go to their places, the serial in.
        let config = fs::read_to_string(lab.path("fleet/config.toml")).unwrap();
        let set = |config: String, key: &str, value: &str| {
            let (from, to) = (format!("# {key} = "), format!("{key} = \"{value}\""));
            let lines: Vec<String> = config
                .lines()
                .map(|l| if l.starts_with(&from) { to.clone() } else { l.to_owned() })
                .collect();
            lines.join("\n") + "\n"
        };
        let word = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut config = set(config, "serial", serial);
        for (key, value) in [
            ("root-ca", word(lab.path("fleet/AmazonRootCA1.pem"))),
            ("certificate", word(claims.join("claim.cert.pem"))),
            ("private-key", word(claims.join("claim.key"))),
            ("directory", word(dir.join("store"))),
            ("socket", word(dir.join("control.sock"))),
        ] {
            config = set(config, key, &value);
        }
        let path = dir.join("config.toml");
        fs::write(&path, config).unwrap();
        let checked = Command::new(built("certrotd"))
            .arg("--check-config")
            .arg("--config")
            .arg(&path)
            .output()
            .unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let log = fs::File::create(dir.join("log")).unwrap();
        let child = Command::new(built("certrotd"))
            .arg("--config")
            .arg(&path)
            .env_remove("JOURNAL_STREAM")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Device { dir, child }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    fn ctl(&self, words: &[&str]) -> String {
        let ran = Command::new(built("certrotctl"))
            .arg("--socket")
            .arg(self.dir.join("control.sock"))
            .args(words)
            .output()
            .unwrap();
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }

    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let status = serde_json::from_str(&self.ctl(&["--json", "status"])).unwrap_or(Value::Null);
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < end, "never {what}: {status}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
