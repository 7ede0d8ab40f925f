//! What a Prometheus server sees: the same on the socket and over TCP, in a format that its own tool takes.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::Device;

#[test]
fn a_scrape_has_the_certificate_what_happened_to_it_and_passes_prometheus_own_check() {
    let mut device = Device::new().start();
    device.wait_steady(1);
    let before = scrape(&device);
    assert!(has(&before, "certrotd_certificate_generation 1"), "{before}");
    assert!(has(&before, "certrotd_rotations_total{result=\"ok\",step=\"\"} 0"), "{before}");
    assert!(has(&before, "certrotd_provisionings_total{result=\"ok\"} 1"), "{before}");

    assert!(device.ctl(&["rotate-now", "--wait"]).status.success());
    device.wait_steady(2);
    let after = scrape(&device);
    for line in [
        "certrotd_connected 1",
        "certrotd_certificate_generation 2",
        "certrotd_certificates_issued_total 2",
        "certrotd_certificates_adopted_total 2",
        "certrotd_rotations_total{result=\"ok\",step=\"\"} 1",
        "certrotd_rotation_overdue_seconds 0",
        "certrotd_retire_pending 0",
    ] {
        assert!(has(&after, line), "{line} is not in\n{after}");
    }
    assert!(after.contains(&device.certificate_id()), "{after}");
    promtool(&after);
    packaged(&after);
    device.terminate();
    device.finish();
}

#[test]
fn metrics_are_served_over_tcp_where_the_configuration_asks_and_a_taken_port_stops_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    let mut device = Device::new().toml(&format!("[control]\nmetrics-listen = \"{address}\"")).start();
    device.wait_steady(1);
    device.wait_until("the taken port is told", || device.log().text().contains("listening for scrapers"));
    device.terminate();

    drop(free);
    device.start();
    device.wait_steady(1);
    device.wait_until("metrics over TCP", || TcpStream::connect(address).is_ok());
    let answer = http(address, "GET /metrics");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(has(&answer, "certrotd_connected 1"), "{answer}");
    assert!(http(address, "GET /v1/status").starts_with("HTTP/1.1 404 "));
    device.terminate();
    device.finish();
}

/// Every metric that the packaged alerts and the dashboard name is one of the daemon's; each file names a good many.
fn packaged(scraped: &str) {
    let there: BTreeSet<String> = scraped
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .flat_map(|(name, kind)| match kind {
            "summary" => vec![format!("{name}_sum"), format!("{name}_count")],
            _ => vec![name.to_owned()],
        })
        .collect();
    for file in ["packaging/prometheus/certrotd.rules.yml", "packaging/grafana/certrotd.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        let named = named(&text);
        assert!(named.len() > 8, "{file} names {named:?}");
        let strange: Vec<_> = named.difference(&there).collect();
        assert!(strange.is_empty(), "{file} names what the daemon does not have: {strange:?}\n{scraped}");
    }
    let dashboard = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/grafana/certrotd.json");
    let dashboard: serde_json::Value = serde_json::from_slice(&std::fs::read(dashboard).unwrap()).unwrap();
    let ids: BTreeSet<_> = dashboard["panels"].as_array().unwrap().iter().map(|p| p["id"].as_u64()).collect();
    assert_eq!(ids.len(), dashboard["panels"].as_array().unwrap().len(), "each panel has an id of its own");
}

/// The words that look like metrics of ours.
fn named(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !word(c)).filter(|w| w.starts_with("certrotd_")).map(str::to_owned).collect()
}

#[test]
fn the_packaged_alerts_fire_where_they_should_and_a_healthy_device_raises_none() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (words, file) in [
        (["check", "rules"], "packaging/prometheus/certrotd.rules.yml"),
        (["test", "rules"], "tests/metrics/certrotd.rules.test.yml"),
    ] {
        let said = tool().args(words).arg(root.join(file)).output().expect(MISSING);
        let words =
            format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success(), "{file}: {words}");
    }
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|has| has.trim_end() == line)
}

fn scrape(device: &Device) -> String {
    let mut stream = std::os::unix::net::UnixStream::connect(device.socket()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: certrotd\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}

fn http(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// `promtool check metrics`: names, units and types by Prometheus's rules. `tests/run` sees that it is there.
fn promtool(text: &str) {
    let mut check = tool()
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(MISSING);
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = check.wait_with_output().unwrap();
    let words = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && words.trim().is_empty(), "{words}\n{text}");
}

fn tool() -> Command {
    Command::new(std::env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into()))
}

const MISSING: &str =
    "promtool (Debian's package prometheus) is not on the path, and PROMTOOL does not name it";
