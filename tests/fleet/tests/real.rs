//! Two hundred real devices against the twin: each gets a certificate, connects again, rotates, and has one in the end.

use certrot_scale::real::run::Run;

#[test]
fn two_hundred_devices_provision_connect_and_rotate_and_each_has_one_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run {
        program: env!("CARGO_BIN_EXE_certrot-scale").into(),
        devices: 200,
        shards: 2,
        lanes: 8,
        directory: directory.path().to_owned(),
    };
    let measured = run.run(|line| println!("{line}")).unwrap();
    assert!(measured.kept(200), "{measured:#?}");
}
