//! The package in the hands of dpkg: upgraded in the middle of a rotation, removed, installed again, purged.
//!
//! No release came before this one, so the version before is this package with a lower number.

use std::path::{Path, PathBuf};
use std::process::Command;

use certrot_twin::Effect;

use super::Step;
use crate::base::cache;
use crate::container::command;
use crate::lab::Lab;

/// The steps; they need a package.
pub const STEPS: &[Step] = &[
    (
        "package: upgraded in the middle of a rotation, the rotation is finished and the edited configuration stays",
        upgraded,
    ),
    (
        "package: an upgrade does not restart into a configuration that the new version refuses",
        not_into_a_fault,
    ),
    (
        "package: removed, the identity stays; installed again, it goes on; purged, it is gone and the cloud's rest is named",
        removed_and_purged,
    ),
];

/// Puts a package into the container and installs it as a person would.
pub fn install(lab: &Lab, deb: &Path) -> String {
    std::fs::copy(deb, lab.container.at("/root/certrotd.deb"))
        .unwrap_or_else(|e| panic!("{}: {e}", deb.display()));
    lab.container
        .sh("DEBIAN_FRONTEND=noninteractive apt-get install -y --allow-downgrades /root/certrotd.deb 2>&1")
}

/// The same package with another version.
pub fn with_version(deb: &Path, version: &str) -> PathBuf {
    let dir = cache().join(format!("packages/{version}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a directory");
    let to = dir.join("certrotd.deb");
    let script = "dpkg-deb -R \"$1\" \"$2/tree\" && sed -i \"s/^Version: .*/Version: $3/\" \"$2/tree/DEBIAN/control\" && \
                  dpkg-deb -Znone -b \"$2/tree\" \"$4\"";
    command(Command::new("sh").args(["-ec", script, "sh"]).arg(deb).arg(&dir).arg(version).arg(&to))
        .unwrap_or_else(|e| panic!("{e}"));
    to
}

fn deb(lab: &Lab) -> PathBuf {
    lab.deb.clone().expect("the package")
}

fn upgraded(lab: &mut Lab) {
    let generation = lab.generation();
    let started = lab.container.sh("systemctl show -P ExecMainStartTimestampMonotonic certrotd");
    let newer = with_version(&deb(lab), "900.0.0");
    lab.rotate_until("register", Effect::Delay { ms: 2_000 });
    install(lab, &newer);
    lab.twin.clear_faults();
    assert_ne!(
        lab.container.sh("systemctl show -P ExecMainStartTimestampMonotonic certrotd"),
        started,
        "restarted"
    );
    let status = lab.wait("the end of the rotation", |s| {
        s["state"] == "steady" && s["connected"] == true && s["retire"]["pending"] == false
    });
    assert!(status["certificate"]["generation"].as_u64() >= Some(generation), "{status:#}");
    lab.steady(generation + 1);
    lab.container.sh("grep -q '^serial = \"SN-SYSTEM\"' /etc/certrotd/config.toml && test $(systemctl is-enabled certrotd) = enabled");
    assert!(lab.container.sh("dpkg-query -W -f '${Version}' certrotd").contains("900"));
}

fn not_into_a_fault(lab: &mut Lab) {
    let generation = lab.generation();
    lab.edit("s|^endpoint = |endpoimt = |");
    let started = lab.container.sh("systemctl show -P ExecMainStartTimestampMonotonic certrotd");
    let newer = with_version(&deb(lab), "901.0.0");
    let said = install(lab, &newer);
    assert!(said.contains("NOT restarted"), "{said}");
    assert_eq!(lab.container.sh("systemctl show -P ExecMainStartTimestampMonotonic certrotd"), started);
    lab.steady(generation);
    lab.edit("s|^endpoimt = |endpoint = |");
    lab.container.sh("certrotd --check-config; systemctl restart certrotd");
    lab.steady(generation);
}

fn removed_and_purged(lab: &mut Lab) {
    let generation = lab.generation();
    let id = lab.steady(generation)["certificate"]["id"].as_str().unwrap_or_default().to_owned();
    let said = lab.container.sh("apt-get remove -y certrotd 2>&1");
    assert!(said.contains("/var/lib/certrotd"), "it says that the identity stays: {said}");
    lab.container.sh(
        "! systemctl is-active certrotd; test -e /var/lib/certrotd/current && ! test -e /usr/bin/certrotd",
    );
    install(lab, &deb(lab));
    lab.container.sh("systemctl daemon-reload; systemctl start certrotd");
    lab.steady(generation);
    let said = lab.container.sh("apt-get purge -y certrotd 2>&1");
    assert!(said.contains(&id) && said.contains("certrot-fleet"), "it names what lives on: {said}");
    lab.container
        .sh("! test -e /var/lib/certrotd && ! test -e /etc/certrotd && ! test -e /var/lib/certrotd-rotated");
    lab.container.sh("! systemctl is-active certrotd; ! systemctl cat certrotd >/dev/null 2>&1");
}
