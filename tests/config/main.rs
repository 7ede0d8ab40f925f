//! Golden reports: every configuration in `cases/` and, word for word, what is said of it.
//!
//! `cases/NAME.toml` begins with a comment of its facts; `cases/NAME.txt` is the report. `@DIR@` is a directory with the
//! files that `fixtures` makes. After a wanted change: `CERTROTD_UPDATE_GOLDEN=1 cargo test --test config`, and read
//! the difference.

use certrotd::config::{Config, Duration, Facts, Purpose};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[test]
fn every_configuration_gets_its_report_word_for_word() {
    let directory = tempfile::tempdir().unwrap();
    fixtures(directory.path());
    let update = std::env::var_os("CERTROTD_UPDATE_GOLDEN").is_some();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/cases");
    let mut names: Vec<PathBuf> = std::fs::read_dir(&cases).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    names.sort();
    assert!(names.len() >= 25, "the cases are gone");

    let mut failed = Vec::new();
    for case in names {
        let said = report(&case, directory.path());
        let golden = case.with_extension("txt");
        if update {
            put(&golden, said.as_bytes(), 0o644);
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if said != expected {
            failed.push(format!("{}\n--- expected\n{expected}--- said\n{said}", case.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn a_file_that_is_not_there_is_a_report_too() {
    let file = Path::new("/nonexistent/config.toml");
    let facts = Facts::gather(file, Purpose::Check);
    assert!(!facts.identity_present);
    let said = Config::load(file, &facts).unwrap_err().to_string();
    assert!(said.contains("cannot be read: no such file or directory"), "{said}");
}

#[test]
fn an_identity_in_the_store_is_seen_where_the_file_says_the_store_is() {
    let directory = tempfile::tempdir().unwrap();
    fixtures(directory.path());
    let (store, file) = (directory.path().join("store"), directory.path().join("config.toml"));
    let text = format!("[identity]\ndirectory = {:?}\n", store.to_str().unwrap());
    put(&file, text.as_bytes(), 0o644);
    assert!(!Facts::gather(&file, Purpose::Run).identity_present);

    std::fs::create_dir_all(store.join("generations/0001")).unwrap();
    std::os::unix::fs::symlink("generations/0001", store.join("current")).unwrap();
    assert!(!Facts::gather(&file, Purpose::Run).identity_present, "a directory alone is no identity");
    std::fs::copy(directory.path().join("claim.cert.pem"), store.join("current/device.cert.pem")).unwrap();
    let facts = Facts::gather(&file, Purpose::Run);
    assert!(facts.identity_present);
    assert_eq!(facts.certificate_lifetime, Some(Duration::from_secs(7 * 86_400)));
}

#[test]
fn a_reload_names_the_keys_that_wait_for_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    fixtures(directory.path());
    let read = |more: &str| {
        let text = format!(
            "[aws]\nendpoint = \"a.example\"\nroot-ca = \"@DIR@/root.pem\"\n[claim]\ncertificate = \
             \"@DIR@/claim.cert.pem\"\nprivate-key = \"@DIR@/claim.key.pem\"\n{more}"
        );
        let text = text.replace("@DIR@", directory.path().to_str().unwrap());
        Config::parse(&text, Path::new("c"), &facts_of("", directory.path())).unwrap().0
    };
    let old = read("");
    assert!(old.changes_that_need_restart(&old).is_empty());
    let soft =
        read("[rotation]\nmax-age = \"1d\"\n[session]\nkeep-alive = \"90s\"\n[log]\nlevel = \"debug\"\n");
    assert_ne!(soft, old);
    assert!(old.changes_that_need_restart(&soft).is_empty());
    let hard = read(
        "[identity]\ndirectory = \"/srv/id\"\n[control]\nsocket = \"/run/x\"\n[device]\nserial = \"SN-2\"\n",
    );
    assert_eq!(
        old.changes_that_need_restart(&hard),
        ["device.serial", "identity.directory", "control.socket"]
    );
}

#[test]
fn the_root_certificate_that_is_shipped_is_amazon_root_ca_1() {
    let pem = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/AmazonRootCA1.pem")).unwrap();
    let all: Vec<_> = rustls_pemfile::certs(&mut pem.as_slice()).collect::<Result<_, _>>().unwrap();
    assert_eq!(all.len(), 1);
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let digest = suite.common.hash_provider.hash(&all[0]);
    let shown: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(
        shown.join(":"),
        "8E:CD:E6:88:4F:3D:87:B1:12:5B:A3:1A:C3:FC:B1:3D:70:16:DE:7F:57:CC:90:4F:E1:CB:97:C6:AE:98:19:6E"
    );
}

/// What is said of a case: the report, or the warnings and `ok`.
fn report(case: &Path, directory: &Path) -> String {
    let here = directory.to_str().unwrap();
    let text = std::fs::read_to_string(case).unwrap();
    let facts = facts_of(text.lines().next().unwrap_or_default(), directory);
    let said = match Config::parse(&text.replace("@DIR@", here), Path::new("config.toml"), &facts) {
        Err(report) => report.to_string(),
        Ok((_, warnings)) => {
            let mut said: String = warnings.iter().map(|w| format!("warning, {w}\n\n")).collect();
            said.push_str("ok\n");
            said
        }
    };
    said.replace(here, "@DIR@")
}

/// Reads the facts out of the first line: `# facts: identity credentials run lifetime=7d`.
fn facts_of(line: &str, directory: &Path) -> Facts {
    let mut facts = Facts {
        identity_present: false,
        certificate_lifetime: None,
        credentials_directory: None,
        purpose: Purpose::Check,
    };
    for word in line.strip_prefix("# facts:").unwrap_or_default().split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("identity", _) => facts.identity_present = true,
            ("credentials", _) => facts.credentials_directory = Some(directory.join("credentials")),
            ("run", _) => facts.purpose = Purpose::Run,
            ("lifetime", text) => facts.certificate_lifetime = Some(Duration::parse(text).unwrap()),
            _ => panic!("no such fact: {word}"),
        }
    }
    facts
}

/// Makes the files that the cases name.
fn fixtures(directory: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2026, 1, 8);
    let certificate = parameters.self_signed(&key).unwrap().pem();
    let other = KeyPair::generate().unwrap().serialize_pem();
    let key = key.serialize_pem();
    std::fs::create_dir(directory.join("credentials")).unwrap();
    for (name, content, mode) in [
        ("root.pem", certificate.as_str(), 0o644),
        ("writable-root.pem", &certificate, 0o666),
        ("claim.cert.pem", &certificate, 0o644),
        ("claim.key.pem", &key, 0o600),
        ("other.key.pem", &other, 0o600),
        ("group.key.pem", &key, 0o640),
        ("world.key.pem", &key, 0o604),
        ("credentials/claim.key", &key, 0o440),
        ("words.txt", "not PEM\n", 0o600),
        ("empty.txt", "\n", 0o644),
        ("placeholder.txt", "To Be Filled By O.E.M.\n", 0o644),
        ("serial.txt", "  SN-0042\0\n", 0o644),
    ] {
        put(&directory.join(name), content.as_bytes(), mode);
    }
}

fn put(path: &Path, content: &[u8], mode: u32) {
    let mut file = File::create(path).unwrap();
    file.write_all(content).unwrap();
    file.set_permissions(Permissions::from_mode(mode)).unwrap();
}
