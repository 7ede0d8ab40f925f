//! Hooks on a real systemd: each switch is seen once at least, whatever falls in between; who fails is named.

use super::Step;
use super::people::has_the_pair_in_use;
use crate::container::Container;
use crate::lab::{Lab, source};

/// The steps.
pub const STEPS: &[Step] = &[
    ("hooks: the shipped examples export the pair and restart the application after a rotation", examples),
    ("hooks: one that fails and one that hangs are named, stop nobody, and are run again alone", failing),
    ("hooks: two switches in a row, and one that falls into a power cut, are all seen", none_missed),
];

fn install(lab: &Lab, name: &str, edits: &[(&str, &str)]) {
    let mut text =
        std::fs::read_to_string(source(&format!("packaging/hooks.d/{name}"))).expect("the example");
    for (from, to) in edits {
        assert!(text.contains(from), "{name} has {from}");
        text = text.replace(from, to);
    }
    hook(&lab.container, name, &text);
}

fn hook(container: &Container, name: &str, text: &str) {
    container.write(&format!("/etc/certrotd/hooks.d/{name}"), text);
    container.sh(&format!("chmod 755 /etc/certrotd/hooks.d/{name}"));
}

/// Every certificate that a hook saw, the last at the end.
const NOTE: &str = "#!/bin/sh\necho $CERTROTD_CERTIFICATE_ID >> /root/noted\n";

fn examples(lab: &mut Lab) {
    // The application of the step before need not be there.
    lab.container.sh("id myapp >/dev/null 2>&1 || useradd -r myapp");
    install(lab, "10-export-pair", &[]);
    install(lab, "20-restart-units", &[]);
    hook(&lab.container, "30-note", NOTE);
    let before = lab.generation();
    let id = lab.steady(before)["certificate"]["id"].clone();
    lab.rotate();
    let status = lab.wait("every hook's word", |s| {
        s["hooks"]["certificateId"] == s["certificate"]["id"] && all_have_said(s, 3)
    });
    assert_ne!(status["certificate"]["id"], id);
    assert!(
        status["hooks"]["results"].as_array().into_iter().flatten().all(|r| r["ok"] == true),
        "{status:#}"
    );
    assert_eq!(status["hooks"]["generation"], before + 1);
    lab.container.until(
        "cmp /var/lib/certrotd-export/myapp/current/device.key.pem /var/lib/certrotd/current/device.key.pem",
    );
    lab.container.sh(
        "cmp /var/lib/certrotd-export/myapp/current/device.cert.pem /var/lib/certrotd/current/device.cert.pem
         test $(stat -Lc %a:%U /var/lib/certrotd-export/myapp/current/device.key.pem) = 400:myapp
         test $(ls /var/lib/certrotd-export/myapp | wc -l) = 2
         runuser -u myapp -- cat /var/lib/certrotd-export/myapp/current/device.key.pem > /dev/null
         ls -A /run/certrotd-rotated | grep -q . && exit 1 || true",
    );
    if lab.container.is("systemctl is-enabled myapp") {
        has_the_pair_in_use(lab);
    }
    let journal = lab.container.sh("journalctl -u certrotd-rotated -o verbose --no-pager");
    assert!(journal.contains("HOOK=10-export-pair") && journal.contains("CERTIFICATE_ID="), "{journal}");
}

fn failing(lab: &mut Lab) {
    let unit = "certrotd-rotated.service";
    hook(&lab.container, "15-fails", "#!/bin/sh\necho what it said >&2\nexit 3\n");
    hook(&lab.container, "16-hangs", "#!/bin/sh\nexec sleep 1000\n");
    lab.drop_in(
        unit,
        "soon",
        "[Service]\nExecStart=\nExecStart=/usr/bin/certrotctl hooks --store /var/lib/certrotd --run /etc/certrotd/hooks.d \
         --results /var/lib/certrotd-rotated/certrotd.json --bell /run/certrotd/rotated --timeout 2s\n",
    );
    lab.drop_in(
        "certrotd-rotated.timer",
        "soon",
        "[Timer]\nOnActiveSec=\nOnActiveSec=2\nAccuracySec=100ms\n",
    );
    lab.rotate();
    let status = lab.wait("their results", |s| {
        s["hooks"]["certificateId"] == s["certificate"]["id"] && all_have_said(s, 5)
    });
    let text = lab.container.sh("certrotctl status");
    assert!(text.contains("15-fails FAILED (it ended with 3)") && text.contains("16-hangs FAILED"), "{text}");
    assert_eq!(status["hooks"]["results"][4]["ok"], true, "the next ones ran: {status:#}");
    lab.container.until("systemctl is-active certrotd-rotated.timer || systemctl is-active certrotd-rotated");
    let journal = "journalctl -u certrotd-rotated -x --no-pager MESSAGE_ID=d33d97cc0631426689e5883cef249add";
    lab.container.until(&format!("{journal} | grep -q '15-fails did not end well'"));
    lab.container.until("journalctl -u certrotd-rotated --no-pager | grep -q 'what it said'");
    // Run again by itself, and nobody else with them.
    let noted = lab.container.sh("wc -l < /root/noted");
    hook(&lab.container, "15-fails", "#!/bin/sh\nexit 0\n");
    hook(&lab.container, "16-hangs", "#!/bin/sh\nexit 0\n");
    lab.wait("a second try", |s| {
        s["hooks"]["results"].as_array().is_some_and(|r| r.iter().all(|r| r["ok"] == true))
    });
    assert_eq!(lab.container.sh("wc -l < /root/noted"), noted);
    lab.container.sh("rm /etc/certrotd/hooks.d/15-fails /etc/certrotd/hooks.d/16-hangs");
    lab.undo_drop_in(unit, "soon");
    lab.undo_drop_in("certrotd-rotated.timer", "soon");
}

/// So many hooks, and none whose turn has not come.
fn all_have_said(status: &serde_json::Value, hooks: usize) -> bool {
    let results = status["hooks"]["results"].as_array();
    results.is_some_and(|r| r.len() == hooks && r.iter().all(|r| r["pending"] == false))
}

fn none_missed(lab: &mut Lab) {
    // The second switch comes while a hook is busy with the first.
    hook(&lab.container, "30-note", "#!/bin/sh\necho $CERTROTD_CERTIFICATE_ID >> /root/noted; sleep 3\n");
    lab.rotate();
    lab.container.until("systemctl is-active certrotd-rotated || test $(systemctl show -P ActiveState certrotd-rotated) = activating");
    lab.rotate();
    seen_by_all(lab);

    // The power goes between the switch and its hooks.
    hook(&lab.container, "30-note", NOTE);
    lab.container.sh("systemctl stop certrotd-rotated.path");
    lab.rotate();
    let noted = lab.container.sh("tail -n 1 /root/noted");
    let generation = lab.generation();
    let id = lab.steady(generation)["certificate"]["id"].to_string();
    assert!(!id.contains(noted.trim()), "no hook has seen it");
    lab.container.cut();
    lab.container.boot();
    seen_by_all(lab);
    lab.container.sh("systemctl is-active certrotd-rotated.path");
}

fn seen_by_all(lab: &mut Lab) {
    let status = lab.wait("hooks that are up to date", |s| {
        s["hooks"]["certificateId"] == s["certificate"]["id"]
            && s["hooks"]["results"].as_array().is_some_and(|r| r.iter().all(|r| r["ok"] == true))
    });
    let noted = lab.container.sh("tail -n 1 /root/noted");
    assert_eq!(status["certificate"]["id"], noted.trim());
}
