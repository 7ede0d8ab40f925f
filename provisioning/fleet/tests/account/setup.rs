//! Setup, again, after being killed, after drift; and cleanup.

use std::sync::mpsc;
use std::time::Duration;

use crate::gateway::Fate;
use crate::lab::{Lab, PATIENCE, Ran};

#[test]
fn a_setup_makes_everything_and_the_second_changes_nothing() {
    let lab = Lab::new();
    lab.must(&["setup"]);
    assert_eq!(lab.planned(), Vec::<String>::new());
    lab.gateway.calls();
    let out = lab.must(&["setup"]);
    assert!(out.contains("nothing to do"), "{out}");
    let changes: Vec<_> = lab.gateway.calls().into_iter().filter(|c| c.changes).collect();
    assert_eq!(changes, []);
    let private: Vec<_> = lab.files().into_iter().filter(|(_, mode)| *mode == 0o600).map(|(f, _)| f).collect();
    assert_eq!(private, ["claims/first/claim.key", "ledger.json"]);
}

#[test]
fn a_setup_that_is_killed_in_each_change_is_finished_by_the_next() {
    let lab = Lab::new();
    let (mut kills, mut last) = (0, String::new());
    loop {
        let (tell, told) = mpsc::channel();
        let mut done = false;
        // The change is made, and its answer never comes: the worst moment.
        lab.gateway.each(move |call| {
            if done || !call.changes || call.service == "sts" {
                return Fate::Pass;
            }
            done = true;
            let _gone = tell.send(call.clone());
            Fate::Lose
        });
        let mut child = lab.start(&["setup"]);
        let killed = loop {
            match told.recv_timeout(Duration::from_millis(20)) {
                Ok(call) => {
                    last = format!("{call:?}");
                    // The gateway plays the call before it holds the answer back.
                    std::thread::sleep(Duration::from_millis(150));
                    child.kill().unwrap();
                    break true;
                }
                Err(_) if child.try_wait().unwrap().is_some() => break false,
                Err(_) => {}
            }
        };
        let ran = Ran(child.wait_with_output().unwrap());
        if !killed {
            assert_eq!(ran.code(), 0, "{}{}", ran.out(), ran.err());
            break;
        }
        kills += 1;
        assert!(kills < 100, "it never comes to an end: {last} {}{}", ran.out(), ran.err());
    }
    lab.gateway.pass();
    assert!(kills > 25, "{kills}");
    assert_eq!(lab.planned(), Vec::<String>::new());
    let certificates = lab.iot().into_iter().filter(|i| i.starts_with("iot certificates")).count();
    assert_eq!(certificates, 1, "one claim certificate, and no orphan: {:?}", lab.iot());
    assert!(PATIENCE > Duration::ZERO);
}
