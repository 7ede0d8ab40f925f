//! The beginning, which every other step needs, and the end: install, no network, provision, reload; imaging, removal.

use serde_json::json;

use super::Step;
use crate::container::Container;
use crate::lab::{Lab, SERIAL, network};

/// Every run begins with these.
pub const FIRST: &[Step] = &[
    ("a fresh box boots, and certrotd is installed and not enabled", installed),
    ("enabled without a network it is up, says so, and holds up nothing", without_a_network),
    ("with the network it provisions, and is connected", provisions),
];

/// Every run ends with these.
pub const LAST: &[Step] = &[
    ("every unit is in order for systemd, and the score is 1.5 or better", units_are_in_order),
    ("reload takes a good configuration, refuses a bad one, and systemd sees both end", reloads),
    (
        "a start with a bad configuration fails at once, is tried again, and stop means stop",
        bad_configuration,
    ),
    ("a claim key that was taken away does not stop the unit, and an encrypted one is read", claim_key),
    (
        "a second identity lives beside the first, with its own store, socket and root-only serial",
        second_identity,
    ),
    (
        "a copy of the disk with another machine id says so; with the same id one of the two sees it, and neither storms",
        copied,
    ),
    ("certrotd-forget leaves a box without an identity, and the next start asks for a new one", forgets),
];

fn installed(lab: &mut Lab) {
    match lab.deb.clone() {
        Some(deb) => {
            lab.container.boot();
            super::install(lab, &super::package::with_version(&deb, "0.0.1"));
        }
        None => {
            lab.install_by_hand();
            lab.container.boot();
        }
    }
    lab.container.sh("test $(systemctl is-enabled certrotd) = disabled && ! systemctl is-active certrotd");
    lab.configure();
    lab.container.sh("certrotd --check-config");
}

fn without_a_network(lab: &mut Lab) {
    // What would hang a boot: somebody's network and time services that never come to an end.
    for unit in ["network-online", "time-sync"] {
        let text = format!(
            "[Unit]\nBefore={unit}.target\nWants={unit}.target\n[Service]\nType=oneshot\nExecStart=/bin/sleep 5\n\
             [Install]\nWantedBy=multi-user.target\n"
        );
        lab.container.write(&format!("/etc/systemd/system/slow-{unit}.service"), &text);
    }
    // Time never comes: who is ordered after it would wait for ever.
    lab.container.sh("sed -i 's/sleep 5/sleep infinity/' /etc/systemd/system/slow-time-sync.service");
    lab.container.sh("systemctl daemon-reload; systemctl enable certrotd slow-network-online slow-time-sync");
    lab.container.off();
    lab.container.boot_in_the_middle();
    network(false).expect("no network");
    lab.container.until("systemctl is-active certrotd");
    network(false).expect("no network");
    let status = lab.wait("its word on the network", |s| s["connected"] == false && !s["why"].is_null());
    assert!(status["certificate"].is_null(), "{status:#}");
    assert!(lab.container.is("test $(systemctl is-active slow-time-sync) = activating"));
    assert!(lab.container.sh("systemctl status certrotd --no-pager").contains("Status: \""));
    lab.container.sh("systemctl disable --now slow-network-online; systemctl disable slow-time-sync");
    lab.container.sh("systemctl stop slow-time-sync");
    let status = lab.wait("why it is not connected", |s| {
        s["why"].as_str().is_some_and(|w| w.contains("cannot be reached"))
    });
    assert_eq!(status["connected"], false);
}

fn provisions(lab: &mut Lab) {
    network(true).expect("a network");
    lab.container.sh("certrotctl connect");
    let status = lab.steady(1);
    assert_eq!((&status["thingName"], &status["serial"]), (&json!(SERIAL), &json!(SERIAL)));
    lab.container.sh("test $(stat -c %a:%U /var/lib/certrotd) = 700:certrotd");
    lab.container.sh("certrotctl wait --for connected --timeout 5s && certrotctl check");
    let fields = lab.container.sh("journalctl -u certrotd -o verbose --no-pager");
    for field in ["    GENERATION=1", "    CERTIFICATE_ID=", "    THING=SN-SYSTEM"] {
        assert!(fields.contains(field), "journal fields: no {field}");
    }
}

fn units_are_in_order(lab: &mut Lab) {
    let said = lab.container.sh(
        "cd /usr/lib/systemd/system; systemd-analyze verify --man=no certrotd.service certrotd-*.service certrotd-*.path \
         certrotd-*.timer certrotd@x.service certrotd-rotated@x.service certrotd-rotated@x.path certrotd-forget@x.service \
         certrotd-wait-online@x.service certrotd-retry@x.timer certrotd-rotated@x.timer 2>&1",
    );
    assert!(!said.contains("certrotd"), "systemd-analyze verify: {said}");
    for unit in ["certrotd.service", "certrotd@x.service"] {
        lab.container.sh(&format!("systemd-analyze security --no-pager --threshold=15 {unit}"));
    }
    // What a newer release knows would be told in the journal of an older one.
    let (_, told) = lab
        .container
        .ran("journalctl --no-pager -b _PID=1 | grep -i 'unknown key\\|unknown section' | grep certrotd");
    assert_eq!(told, "");
}

fn reloads(lab: &mut Lab) {
    lab.edit("s|^# level = .*|level = \"debug\"|");
    lab.container.sh("systemctl reload certrotd");
    lab.wait("the reload", |s| s["configuration"]["loadedAt"].is_string());
    lab.container.until("test $(systemctl is-active certrotd) = active");
    lab.edit("s|^level = .*|level = \"loud\"|");
    assert!(!lab.container.is("systemctl reload certrotd"), "systemctl says that it was refused");
    lab.container.sh("journalctl -u certrotd --no-pager | grep -q '\"loud\"'");
    assert_eq!(lab.container.ran("certrotctl reload").0, Some(78));
    // The catalogue explains it, with what to do.
    lab.container.until("journalctl -u certrotd -x --no-pager MESSAGE_ID=cfb3b07faf384e5c823c7bd1844338a3 | grep -q 'certrotd --check-config'");
    lab.edit("s|^level = .*|# level = \"info\"|");
    lab.container.sh("systemctl reload certrotd");
    let generation = lab.generation();
    lab.steady(generation);
}

fn bad_configuration(lab: &mut Lab) {
    let generation = lab.generation();
    lab.drop_in("certrotd-retry.timer", "soon", "[Timer]\nOnActiveSec=\nOnActiveSec=2\nAccuracySec=100ms\n");
    lab.edit("s|^endpoint = |endpoimt = |");
    for _ in 0..7 {
        assert!(!lab.container.is("systemctl restart certrotd"), "it does not hang and does not pretend");
    }
    lab.container.sh("test $(systemctl show -P ExecMainStatus certrotd) = 78");
    // Tried more than once.
    lab.container.until("test $(journalctl -b -u certrotd --no-pager MESSAGE_ID=cfb3b07faf384e5c823c7bd1844338a3 -o cat | grep -c endpoimt) -ge 3");
    lab.container.sh("systemctl stop certrotd");
    assert!(!lab.container.is("systemctl is-active certrotd-retry.timer"), "stop stops the timer");
    lab.container.sh("systemctl start certrotd || true");
    lab.edit("s|^endpoimt = |endpoint = |");
    lab.container.until("systemctl is-active certrotd");
    lab.steady(generation);
    lab.undo_drop_in("certrotd-retry.timer", "soon");
}

fn claim_key(lab: &mut Lab) {
    let generation = lab.generation();
    lab.container.sh("mv /etc/certrotd/certs/claim.key /opt/claim.key; systemctl restart certrotd");
    lab.steady(generation);
    // As the example says, to the letter.
    let from = crate::lab::source("systemd/examples/claim-key-encrypted.conf");
    let text = std::fs::read_to_string(from).expect("the example");
    lab.container.sh(
        "systemd-creds encrypt --name=claim.key /opt/claim.key /etc/certrotd/certs/claim.key.cred 2>/dev/null",
    );
    lab.drop_in("certrotd.service", "claim-key-encrypted", &text);
    lab.container.sh("systemctl restart certrotd");
    lab.steady(generation);
    let read = "nsenter -t $(systemctl show -P MainPID certrotd) -m cmp /opt/claim.key /run/credentials/certrotd.service/claim.key";
    lab.container.sh(read);
    lab.undo_drop_in("certrotd.service", "claim-key-encrypted");
    lab.container
        .sh("install -m 0600 /opt/claim.key /etc/certrotd/certs/claim.key; systemctl restart certrotd");
    lab.steady(generation);
}

fn second_identity(lab: &mut Lab) {
    let it = &mut lab.container;
    it.sh(
        "install -d /etc/certrotd@second/hooks.d
         sed -e '/^serial = /d' -e 's|^# serial-file = .*|serial-file = \"${CREDENTIALS_DIRECTORY}/serial\"|' \
             -e 's|^# directory = .*|directory = \"/var/lib/certrotd@second\"|' \
             -e 's|^# socket = .*|socket = \"/run/certrotd@second/control.sock\"|' \
             /etc/certrotd/config.toml > /etc/certrotd@second/config.toml
         printf '#!/bin/sh\\necho $CERTROTD_THING $CERTROTD_STORE >> /root/second\\n' > /etc/certrotd@second/hooks.d/10-note
         chmod 755 /etc/certrotd@second/hooks.d/10-note
         echo SN-BOARD > /root/product_serial; chmod 400 /root/product_serial",
    );
    // The example, with a file in the place of this machine's board.
    let from = crate::lab::source("systemd/examples/product-serial.conf");
    let text = std::fs::read_to_string(from).expect("the example");
    let text = text.replace("/sys/class/dmi/id/product_serial", "/root/product_serial");
    assert!(text.contains("LoadCredential=serial:/root/product_serial"));
    it.write("/etc/systemd/system/certrotd@second.service.d/product-serial.conf", &text);
    it.sh("systemctl daemon-reload; systemctl enable --now certrotd@second");
    it.sh("certrotctl --socket /run/certrotd@second/control.sock wait --for connected --timeout 30s");
    it.sh("systemctl start certrotd-wait-online@second");
    it.until("grep -qx 'SN-BOARD /var/lib/certrotd@second' /root/second");
    it.sh("certrotctl --socket /run/certrotd@second/control.sock status | grep -q SN-BOARD");
    it.sh("! nsenter -t $(systemctl show -P MainPID certrotd@second) -m -S $(id -u certrotd) ls /var/lib/certrotd");
    it.sh("systemctl disable --now certrotd@second; systemctl start certrotd-forget@second; test -z \"$(ls -A /var/lib/certrotd@second)\"");
    let generation = lab.generation();
    lab.steady(generation);
}

fn copied(lab: &mut Lab) {
    let generation = lab.generation();
    lab.container.sh("sync");
    // A board of its own and a machine id of its own: it says so before it does anything else.
    let mut copy = Container::copy_of(&lab.container, lab.release, "copy").expect("a copy of the disk");
    copy.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    lab.container.sh("systemctl stop certrotd");
    copy.boot();
    copy.until("certrotctl --json status | grep -q '\"machine-changed\"'");
    copy.until("journalctl -u certrotd -x --no-pager MESSAGE_ID=b1884d8564c24744aa8fdf1cd5584c67 | grep -q 'certrotctl adopt'");
    drop(copy);

    // The same machine id, as a careless image has it: the two throw each other out, see it, and stop.
    let mut copy = Container::copy_of(&lab.container, lab.release, "twin").expect("a copy of the disk");
    lab.container.sh("systemctl start certrotd");
    let since = lab.twin.event_count();
    copy.boot();
    // Whoever sees it first keeps away for ten minutes, and the other has peace.
    let contested = "certrotctl --json status | grep -q '\"contested\"'";
    let end = std::time::Instant::now() + CONTEST;
    while !copy.is(contested) && !lab.container.is(contested) {
        assert!(std::time::Instant::now() < end, "neither sees the other");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let before = lab.connects_since(since);
    assert!(before < 30, "{before} connections until one of them knew");
    std::thread::sleep(std::time::Duration::from_secs(8));
    let after = lab.connects_since(since);
    assert!(after - before <= 2, "{} connections in the 8 s after one of them knew", after - before);
    let told = "journalctl -u certrotd -x --no-pager MESSAGE_ID=e61b395f03b649498da579c949463400 | grep -q 'client id'";
    assert!(copy.is(told) || lab.container.is(told), "the journal explains it");
    drop(copy);
    lab.container.sh("systemctl restart certrotd");
    lab.steady(generation);
}

fn forgets(lab: &mut Lab) {
    let it = &mut lab.container;
    it.sh("systemctl start certrotd-forget");
    it.sh("! systemctl is-active certrotd && test -z \"$(ls -A /var/lib/certrotd)\" && test ! -e /var/lib/certrotd-rotated/certrotd.json");
    it.sh("test -e /etc/certrotd/certs/claim.key && test -e /etc/certrotd/config.toml");
    // The image's next boot: the cloud lets it in where nothing is left of the old one.
    for id in lab.alive() {
        lab.twin.detach_thing(SERIAL, &id).expect("detached");
        lab.twin.delete_certificate(&id);
    }
    lab.container.reboot();
    lab.steady(1);
}

/// Five early closes, with growing waits in between.
const CONTEST: std::time::Duration = std::time::Duration::from_secs(90);
