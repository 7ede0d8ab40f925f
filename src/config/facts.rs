//! What a configuration is judged against beside its own text: the store and systemd's credentials.
//!
//! The daemon must read the configuration to know where the store is, and must look at the store to judge the
//! configuration: `Facts::gather` takes a first look at `identity.directory` alone. It changes nothing.

use super::defaults;
use super::raw::Raw;
use super::units::{AbsolutePath, Duration};
use std::path::{Path, PathBuf};

/// What the judgement of a configuration depends on beside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The store holds an identity: faults of the claim, and of the serial's file, are warnings.
    pub identity_present: bool,
    /// How long the certificate in use is valid in all (notAfter − notBefore), where there is one.
    pub certificate_lifetime: Option<Duration>,
    /// `$CREDENTIALS_DIRECTORY`, as systemd sets it for a service.
    pub credentials_directory: Option<PathBuf>,
    /// What the configuration is read for.
    pub purpose: Purpose,
}

/// What a configuration is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `--check-config`: nothing will use it, so what only systemd can show is reported as not checkable.
    Check,
    /// The daemon starts, or reloads.
    Run,
}

impl Facts {
    /// Looks at the environment, and at the store that the file names.
    pub fn gather(file: &Path, purpose: Purpose) -> Self {
        let certificate = identity_directory(file)
            .and_then(|directory| std::fs::read(directory.as_path().join("current/device.cert.pem")).ok());
        Self {
            identity_present: certificate.is_some(),
            certificate_lifetime: certificate.as_deref().and_then(lifetime),
            credentials_directory: std::env::var_os("CREDENTIALS_DIRECTORY")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            purpose,
        }
    }
}

/// Reads `identity.directory` alone: the default where the file has no such key, `None` where its value is wrong.
pub fn identity_directory(file: &Path) -> Option<AbsolutePath> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    Raw::parse(&text).text_or("identity.directory", defaults::IDENTITY_DIRECTORY, AbsolutePath::parse)
}

fn lifetime(pem: &[u8]) -> Option<Duration> {
    let der = rustls_pemfile::certs(&mut &*pem).next()?.ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
    let validity = certificate.validity();
    let seconds = validity.not_after.timestamp().checked_sub(validity.not_before.timestamp())?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}
