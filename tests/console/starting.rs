//! How the console starts, and when it must not.

use std::path::Path;
use std::process::Command;

use crate::served::{Served, program};

fn ended(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("it runs");
    (output.status.code().expect("it ends by itself"), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn console(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certrotctl"));
    command.arg("console").args(words).env_remove("API_TOKEN").env_remove("SKIP_AUTH");
    command
}

#[test]
fn what_would_open_the_door_too_far_ends_with_64_and_the_fix() {
    let far = ["--listen", "0.0.0.0:0"];
    for (command, word) in [
        (console(&far).env("SKIP_AUTH", "1"), "loopback"),
        (console(&[]).env("SKIP_AUTH", "yes"), "SKIP_AUTH"),
        (console(&[]).env("API_TOKEN", "short"), "API_TOKEN"),
        (
            console(&["--listen", "127.0.0.1:0", "--allow-host", "http://x"]).env("API_TOKEN", ""),
            "--allow-host",
        ),
        (console(&["--listen", "192.0.2.1:0"]).env("API_TOKEN", ""), "listening"),
    ] {
        let (code, said) = ended(command);
        assert_eq!(code, 64, "{said}");
        assert!(said.contains(word) && said.contains("fix:"), "{said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    assert_eq!(ended(&mut console(&["--listen", &at])).0, 75);
}

#[test]
fn with_skip_auth_this_machine_gets_in_and_others_by_a_proxy_are_asked() {
    let socket = Path::new("/nonexistent/socket");
    let served =
        Served::started(program(socket).args(["--allow-host", "preview.example"]).env("SKIP_AUTH", "1"));
    assert!(!served.link.contains('#'), "{}", served.link);
    let near = served.ask("GET", "/console/session", &[], "");
    assert!(near.body.contains("\"signedIn\":true") && near.body.contains("\"skipAuth\":true"), "{near:?}");
    assert_eq!(served.ask("GET", "/v1/status", &[], "").status, 502, "let in; only the daemon is not there");
    let far = [("host", "preview.example")];
    assert!(served.ask("GET", "/console/session", &far, "").body.contains("\"signedIn\":false"));
    assert_eq!(served.ask("GET", "/v1/status", &far, "").status, 401);
    let origin = [("origin", "http://evil.example"), ("content-type", "application/json")];
    assert_eq!(
        served.ask("POST", "/v1/rotate", &origin, "{}").status,
        403,
        "other pages are kept out all the same"
    );
}

#[test]
fn a_token_that_was_made_here_is_shown_once_and_opens_the_door() {
    let socket = Path::new("/nonexistent/socket");
    let mut child = program(socket).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let token = said["token"].as_str().expect("it is shown where it was made here");
    assert!(token.len() == 64 && !said["link"].as_str().unwrap().contains(token), "{said}");
}
