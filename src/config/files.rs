//! The files that a configuration names: that they are there, readable, private where they must be, and fit together.
//!
//! Read once and only looked at: what was read is dropped (keys zeroized) before the next check. No text of a file
//! comes into a fault, but the serial.

use super::facts::Facts;
use super::names::Serial;
use super::problem::Fault;
use super::units::AbsolutePath;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// A path that may begin with `${CREDENTIALS_DIRECTORY}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// The path is known.
    At(AbsolutePath),
    /// Only systemd knows where it is, and this process was not started by it.
    Elsewhere,
}

impl Credential {
    /// Reads such a path.
    pub(super) fn parse(text: &str, facts: &Facts) -> Result<Self, Fault> {
        let Some(rest) = text.strip_prefix(VARIABLE) else {
            if text.contains("${") {
                return Err(Fault::new(
                    "${CREDENTIALS_DIRECTORY} is the only variable, and stands at the beginning",
                    "write \"${CREDENTIALS_DIRECTORY}/name\", or the path from /",
                ));
            }
            return AbsolutePath::parse(text).map(Self::At);
        };
        let name = rest.strip_prefix('/').unwrap_or_default();
        if name.is_empty() || name.contains('/') || name == "." || name == ".." || name.contains("${") {
            return Err(Fault::new(
                "after ${CREDENTIALS_DIRECTORY} comes / and the credential's name",
                "write \"${CREDENTIALS_DIRECTORY}/claim.key\" and LoadCredential=claim.key:PATH in the unit",
            ));
        }
        match &facts.credentials_directory {
            None => Ok(Self::Elsewhere),
            Some(directory) => AbsolutePath::parse(&directory.join(name).to_string_lossy()).map(Self::At),
        }
    }
}

/// Checks that the file holds certificates that can be roots of trust, and that not everybody may change it.
pub(super) fn check_root_ca(path: &AbsolutePath) -> Result<(), Fault> {
    let (pem, mode) = read(path, "the root certificates")?;
    if mode & 0o002 != 0 {
        return Err(Fault::new(
            format!("whoever writes {path} says which server is AWS, and its mode {mode:04o} lets everybody"),
            format!("chmod o-w {path}"),
        ));
    }
    let fetch = format!(
        "put AmazonRootCA1.pem there (certrotd ships it in certs/): install -m 0644 AmazonRootCA1.pem {path}"
    );
    let certificates = certificates(&pem);
    if certificates.is_empty() {
        return Err(Fault::new(format!("{path} holds no certificate in PEM"), fetch));
    }
    let mut roots = rustls::RootCertStore::empty();
    let count = certificates.len();
    let (good, _) = roots.add_parsable_certificates(certificates);
    if good < count {
        return Err(Fault::new(
            format!("{} of the {count} certificates in {path} cannot be read", count - good),
            fetch,
        ));
    }
    Ok(())
}

/// Checks that the file holds a certificate, and gives its PEM.
pub(super) fn read_certificate(path: &AbsolutePath) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let (pem, _) = read(path, "the claim certificate")?;
    let fix = "put the certificate in PEM there, as AWS IoT gave it";
    let certificates = certificates(&pem);
    let Some(first) = certificates.first() else {
        return Err(Fault::new(format!("{path} holds no certificate in PEM"), fix));
    };
    if x509_parser::parse_x509_certificate(first).is_err() {
        return Err(Fault::new(format!("the certificate in {path} cannot be read"), fix));
    }
    Ok(pem)
}

/// Checks that the file holds a private key that only its owner can read, and gives its PEM.
///
/// Modes below `$CREDENTIALS_DIRECTORY` are systemd's and are not judged.
pub(super) fn read_key(path: &AbsolutePath, facts: &Facts) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let (pem, mode) = read(path, "the claim key")?;
    let systemds = facts.credentials_directory.as_ref().is_some_and(|d| path.as_path().starts_with(d));
    if mode & 0o077 != 0 && !systemds {
        let whom = if mode & 0o007 != 0 { "every user" } else { "its group" };
        return Err(Fault::new(
            format!(
                "a private key is its owner's alone, and the mode {mode:04o} of {path} opens it to {whom}"
            ),
            format!("chmod 0600 {path}; if others could read it, make a new claim certificate"),
        ));
    }
    match rustls_pemfile::private_key(&mut pem.as_slice()) {
        Ok(Some(_)) => Ok(pem),
        Ok(None) | Err(_) => Err(Fault::new(
            format!("{path} holds no private key in PEM (PKCS#8, PKCS#1 or SEC1, without a passphrase)"),
            "put the claim's private key there, as AWS IoT gave it",
        )),
    }
}

/// Says whether the key is the certificate's; if not, why. For EC and RSA keys.
pub(super) fn pair_matches(certificate_pem: &[u8], key_pem: &[u8]) -> Result<(), String> {
    let key = rustls_pemfile::private_key(&mut &*key_pem)
        .map_err(|_| "the key is not PEM".to_owned())?
        .ok_or("there is no private key")?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key)
        .map_err(|_| "the key is of a kind that TLS does not use here".to_owned())?;
    let pair = CertifiedKey::new(certificates(certificate_pem), key);
    pair.keys_match().map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "the key belongs to another certificate".to_owned(),
        _ => "the certificate cannot be read".to_owned(),
    })
}

/// Reads the serial out of a file, without the white space (and the NULs of device trees) around it.
pub(super) fn read_serial(path: &AbsolutePath) -> Result<Serial, Fault> {
    let (bytes, _) = read(path, "the serial")?;
    let elsewhere = "name a file that holds the serial alone, or write device.serial";
    let text =
        std::str::from_utf8(&bytes).map_err(|_| Fault::new(format!("{path} is not text"), elsewhere))?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    if text.is_empty() {
        return Err(Fault::new(format!("{path} is empty: it holds no serial"), elsewhere));
    }
    Serial::parse(text).map_err(|fault| {
        let shown: String = text.chars().take(40).collect();
        Fault::new(format!("{path} says {shown:?}: {}", fault.rule), fault.fix)
    })
}

/// Reads a regular file of at most 64 kB and its permission bits; follows links, as operators use them.
fn read(path: &AbsolutePath, what: &str) -> Result<(Zeroizing<Vec<u8>>, u32), Fault> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, what, &error))?;
    if !metadata.is_file() {
        return Err(Fault::new(format!("{path} is not a file"), format!("name the file that holds {what}")));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST + 1));
    let limit = u64::try_from(LARGEST + 1).unwrap_or(u64::MAX);
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, what, &error))?;
    if bytes.len() > LARGEST {
        return Err(Fault::new(
            format!("{path} is larger than 64 kB"),
            format!("name the file that holds {what}"),
        ));
    }
    Ok((bytes, metadata.mode() & 0o7777))
}

fn unreadable(path: &AbsolutePath, what: &str, error: &std::io::Error) -> Fault {
    let below = |dir: &str| path.as_path().starts_with(Path::new(dir));
    let fix = match error.kind() {
        std::io::ErrorKind::NotFound => format!("put {what} there, or name the file that holds it"),
        std::io::ErrorKind::PermissionDenied if below("/sys") || below("/proc") => format!(
            "it is root's: add LoadCredential=serial:{path} to the unit and name \"{VARIABLE}/serial\" here"
        ),
        std::io::ErrorKind::PermissionDenied => {
            format!(
                "let the daemon's user read it, or hand it over by LoadCredential= and name \"{VARIABLE}/…\" here"
            )
        }
        _ => "see to the file system, then try again".to_owned(),
    };
    Fault::new(format!("{what} cannot be read from {path}: {}", reason(error)), fix)
}

/// The words of the operating system, without its error number.
pub(super) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    let mut rest = pem;
    rustls_pemfile::certs(&mut rest).filter_map(Result::ok).collect()
}

/// How the directory of systemd's credentials is written.
const VARIABLE: &str = "${CREDENTIALS_DIRECTORY}";

/// 64 kB: a bundle of roots fits, an image by mistake does not.
const LARGEST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_key_of_another_certificate_does_not_match() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        assert_eq!(pair_matches(certificate.as_bytes(), key.as_bytes()), Ok(()));
        assert!(pair_matches(certificate.as_bytes(), other.as_bytes()).unwrap_err().contains("another"));
        assert!(pair_matches(certificate.as_bytes(), b"").is_err());
        assert!(pair_matches(b"", key.as_bytes()).is_err());
    }

    #[test]
    fn an_rsa_pair_that_the_cloud_made_matches() {
        let (other, _) = pair();
        assert_eq!(pair_matches(RSA_CERTIFICATE.as_bytes(), RSA_KEY.as_bytes()), Ok(()));
        assert!(pair_matches(other.as_bytes(), RSA_KEY.as_bytes()).is_err());
    }

    #[test]
    fn a_credential_leads_nowhere_but_into_the_credentials_directory() {
        let facts = |directory: Option<&str>| Facts {
            identity_present: false,
            certificate_lifetime: None,
            credentials_directory: directory.map(Into::into),
            purpose: super::super::Purpose::Check,
        };
        let known = facts(Some("/run/credentials/certrotd.service"));
        for bad in [
            "${CREDENTIALS_DIRECTORY}",
            "${CREDENTIALS_DIRECTORY}/../x",
            "${CREDENTIALS_DIRECTORY}/a/b",
            "${CREDENTIALS_DIRECTORY}x",
            "/a/${CREDENTIALS_DIRECTORY}/b",
            "${HOME}/x",
            "claim.key",
        ] {
            assert!(Credential::parse(bad, &known).is_err(), "{bad:?} was read");
        }
        let path = AbsolutePath::parse("/run/credentials/certrotd.service/claim.key").unwrap();
        assert_eq!(Credential::parse("${CREDENTIALS_DIRECTORY}/claim.key", &known), Ok(Credential::At(path)));
        assert_eq!(Credential::parse("${CREDENTIALS_DIRECTORY}/x", &facts(None)), Ok(Credential::Elsewhere));
    }

    #[test]
    fn a_serial_that_only_root_may_read_is_to_be_handed_over_as_a_credential() {
        let path = AbsolutePath::parse("/sys/class/dmi/id/product_serial").unwrap();
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let fault = unreadable(&path, "the serial", &denied);
        assert!(fault.fix.contains("LoadCredential=serial:/sys/class/dmi/id/product_serial"), "{fault}");
    }

    #[test]
    fn a_pipe_or_an_endless_file_in_the_place_of_a_key_does_not_hold_the_start_up() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        for path in [fifo.to_str().unwrap(), "/dev/zero"] {
            let fault = read(&AbsolutePath::parse(path).unwrap(), "the claim key").unwrap_err();
            assert!(fault.rule.contains("is not a file"), "{fault}");
        }
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(1 << 30).unwrap();
        let path = AbsolutePath::parse(image.path().to_str().unwrap()).unwrap();
        assert!(read(&path, "the claim key").unwrap_err().rule.contains("larger than 64 kB"));
    }

    // A throw-away pair for this test, of the kind that CreateKeysAndCertificate answers with (RSA 2048, PKCS#1).
    const RSA_CERTIFICATE: &str = include_str!("../../tests/config/rsa.cert.txt");
    const RSA_KEY: &str = include_str!("../../tests/config/rsa.key.txt");
}
