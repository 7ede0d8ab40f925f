//! The runner against a store made by hand and hooks that are real scripts.

use super::*;
use rcgen::{CertificateParams, KeyPair};
use std::os::unix::fs::symlink;

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        for name in ["store/generations", "hooks.d", "results"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Place { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What stood in a file that a hook writes.
    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.at(name);
        fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A shell script in hooks.d, with `$box` for this place.
    fn hook(&self, name: &str, script: &str) {
        let place = self.dir.path().display();
        self.write(&format!("hooks.d/{name}"), &format!("#!/bin/sh\nbox={place}\n{script}\n"), 0o755);
    }

    /// Puts a whole pair in place and lets `current` name it.
    fn switch(&self, generation: u32) {
        let name = format!("store/generations/{generation:04}");
        fs::create_dir(self.at(&name)).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        self.write(&format!("{name}/device.cert.pem"), &certificate.pem(), 0o600);
        self.write(&format!("{name}/device.key.pem"), &key.serialize_pem(), 0o600);
        let _ = fs::remove_file(self.at("store/current"));
        symlink(format!("generations/{generation:04}"), self.at("store/current")).unwrap();
    }

    fn run(&self) -> Exit {
        let run = Run {
            store: self.at("store"),
            hooks: self.at("hooks.d"),
            results: self.at("results/certrotd.json"),
            bell: Some(self.at("bell")),
            patience: Duration::from_millis(400),
        };
        all(&run).unwrap()
    }

    fn results(&self) -> Hooks {
        super::super::read(&self.at("results/certrotd.json")).unwrap()
    }
}

#[test]
fn before_there_is_an_identity_nothing_runs_and_nothing_is_said() {
    let the = Place::new();
    the.hook("10-a", "echo ran >> $box/a");
    assert_eq!(the.run(), Exit::Done);
    assert_eq!(the.said("a"), "");
    assert!(!the.at("results/certrotd.json").exists());
}

#[test]
fn each_hook_runs_once_for_each_certificate_with_the_pair_in_its_environment() {
    let the = Place::new();
    the.switch(1);
    the.write("bell", "", 0o600);
    the.hook("20-b", "echo b >> $box/order");
    the.hook(
        "10-a",
        "echo a >> $box/order
         cmp $CERTROTD_CERTIFICATE $CERTROTD_STORE/current/device.cert.pem || exit 1
         cmp $CERTROTD_PRIVATE_KEY $CERTROTD_STORE/current/device.key.pem || exit 2
         test $(stat -c %a $CERTROTD_PRIVATE_KEY) = 600 || exit 3
         echo $CERTROTD_PRIVATE_KEY > $box/key
         echo $CERTROTD_GENERATION $CERTROTD_CERTIFICATE_ID ${CERTROTD_PREVIOUS_CERTIFICATE_ID:-none} >> $box/seen",
    );
    assert_eq!(the.run(), Exit::Done, "{:?}", the.results());
    assert!(!the.at("bell").exists(), "the bell is taken down");
    assert_eq!(the.said("order"), "a\nb\n");
    assert!(!Path::new(the.said("key").trim()).exists(), "the copy goes with the run");
    let first = the.results().certificate_id.unwrap();
    assert_eq!(the.said("seen"), format!("1 {first} none\n"));

    assert_eq!(the.run(), Exit::Done);
    assert_eq!(the.said("order"), "a\nb\n", "they have seen it");

    the.switch(2);
    assert_eq!(the.run(), Exit::Done);
    assert_eq!(the.said("order"), "a\nb\na\nb\n");
    let second = the.results().certificate_id.unwrap();
    assert_eq!(the.said("seen"), format!("1 {first} none\n2 {second} {first}\n"));
}

#[test]
fn a_hook_that_fails_or_hangs_is_named_stops_nobody_and_is_run_again_alone() {
    let the = Place::new();
    the.switch(1);
    the.hook("10-fails", "echo x >> $box/fails; exit 3");
    the.hook("20-hangs", "trap '' TERM; sleep 60 & echo $! > $box/child; wait; sleep 60");
    the.hook("30-good", "echo x >> $box/good");
    assert_eq!(the.run(), Exit::TryAgain);
    let results = the.results().results;
    assert_eq!(results.iter().map(|r| r.ok).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(results[0].text.as_deref(), Some("it ended with 3"));
    assert!(results[1].text.as_deref().unwrap().contains("was killed"), "{results:?}");
    let child = the.said("child");
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "what it started ends with it: {stat}");

    the.hook("10-fails", "echo again >> $box/fails");
    the.hook("20-hangs", "exit 0");
    assert_eq!(the.run(), Exit::Done);
    assert_eq!((the.said("fails"), the.said("good")), ("x\nagain\n".to_owned(), "x\n".to_owned()));
}

#[test]
fn a_power_cut_between_two_hooks_leaves_the_second_as_still_to_run() {
    let the = Place::new();
    the.switch(1);
    the.hook("10-a", "exit 0");
    the.hook("20-b", "cp $box/results/certrotd.json $box/during");
    the.hook("30-c", "exit 0");
    assert_eq!(the.run(), Exit::Done);
    let during = super::super::read(&the.at("during")).unwrap();
    assert_eq!(during.certificate_id, the.results().certificate_id);
    assert_eq!(during.results.iter().map(|r| r.ok).collect::<Vec<_>>(), [true, false, false]);
    assert!(during.results[2].pending && !during.results[2].failed());
    assert!(the.results().results.iter().all(|r| !r.pending));
}

#[test]
fn what_root_alone_does_not_own_is_not_run_and_said() {
    let the = Place::new();
    the.switch(1);
    the.hook("10-open", "echo x >> $box/ran");
    fs::set_permissions(the.at("hooks.d/10-open"), fs::Permissions::from_mode(0o775)).unwrap();
    the.write("hooks.d/20-not-executable", "#!/bin/sh\n", 0o644);
    for left in ["README", ".hidden", "30-a.dpkg-old", "30-b~", "30-c.rpmsave"] {
        the.hook(left, "echo x >> $box/ran");
    }
    assert_eq!(the.run(), Exit::TryAgain);
    assert_eq!(the.said("ran"), "");
    let results = the.results().results;
    assert_eq!(results.len(), 2, "{results:?}");
    assert!(results[0].text.as_deref().unwrap().contains("chmod go-w"), "{results:?}");
    assert!(results[1].text.as_deref().unwrap().contains("chmod 0755"), "{results:?}");
}

#[test]
fn a_link_in_the_store_is_not_followed_and_a_second_name_is_not_read() {
    let the = Place::new();
    the.switch(1);
    the.hook("10-a", "echo ran >> $box/a");
    let key = the.at("store/generations/0001/device.key.pem");
    let kept = the.at("kept");
    fs::rename(&key, &kept).unwrap();
    symlink(&kept, &key).unwrap();
    assert!(InUse::read(&the.at("store")).is_err(), "a link");
    fs::remove_file(&key).unwrap();
    fs::hard_link(&kept, &key).unwrap();
    assert!(InUse::read(&the.at("store")).is_err(), "a file with another name elsewhere");
    fs::remove_file(&kept).unwrap();
    assert_eq!(InUse::read(&the.at("store")).unwrap().unwrap().generation, 1);
}
