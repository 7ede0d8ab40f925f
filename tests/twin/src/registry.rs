//! Things, certificates, policies and what is attached to what; ownership tokens.
//!
//! Plain data under one lock (`cloud.rs` holds it), written to `registry.json` after each change. No clock of its
//! own: the time is an argument. Ordered maps only, so lists come in the same order each time.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub mod certificates;
pub mod control;
pub mod kinds;
pub mod versions;

use certificates::Certificates;
use control::{Policy, Rule, Template};
use kinds::{Group, ThingType};

/// A certificate's status, in AWS's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// In use.
    Active,
    /// Switched off; can be undone.
    Inactive,
    /// Switched off for good.
    Revoked,
    /// Made, and waiting for RegisterThing.
    PendingActivation,
    /// Being given to another account.
    PendingTransfer,
}

impl Status {
    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::Revoked => "REVOKED",
            Self::PendingActivation => "PENDING_ACTIVATION",
            Self::PendingTransfer => "PENDING_TRANSFER",
        }
    }

    /// Reads AWS's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Active, Self::Inactive, Self::Revoked, Self::PendingActivation, Self::PendingTransfer]
            .into_iter()
            .find(|s| s.as_str() == word)
    }
}

/// A registered certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Lower-case hex SHA-256 of the DER.
    pub id: String,
    /// PEM.
    pub pem: String,
    /// Status.
    pub status: Status,
    /// `creationDate`, twin milliseconds since the epoch.
    pub created_ms: i64,
    /// `lastModifiedDate`, twin milliseconds since the epoch.
    pub modified_ms: i64,
    /// Start of validity, seconds since the epoch.
    pub not_before: i64,
    /// End of validity, seconds since the epoch.
    pub not_after: i64,
    /// Attached policies, each with the time from which the broker sees it (milliseconds).
    pub policies: BTreeMap<String, i64>,
    /// Things it is attached to, each with the time from which the broker sees it (milliseconds).
    pub things: BTreeMap<String, i64>,
}

/// A registered thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thing {
    /// Its name.
    pub name: String,
    /// An opaque id, a UUID as AWS's.
    pub id: String,
    /// Attributes.
    pub attributes: BTreeMap<String, String>,
    /// Its type, where it has one.
    pub type_name: Option<String>,
    /// Groups it is in.
    pub groups: BTreeSet<String>,
    /// Counts up with each change.
    pub version: u64,
}

/// An ownership token that is still good for one RegisterThing.
#[derive(Clone, Serialize, Deserialize)]
pub struct Token {
    /// The certificate that it speaks for.
    pub certificate_id: String,
    /// Its end, twin milliseconds since the epoch.
    pub ends_ms: i64,
    /// The connection that got it.
    pub connection: u64,
}

/// A change that the registry does not allow, in the words of AWS's errors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No such thing, certificate or policy.
    #[error("{0} not found")]
    NotFound(String),
    /// It is there already, and different.
    #[error("{0} already exists")]
    Exists(String),
    /// A certificate in this status cannot be treated so.
    #[error("{0}")]
    State(String),
    /// A certificate that is still attached or ACTIVE cannot be deleted.
    #[error("{0}")]
    Conflict(String),
    /// An argument is out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// The expected version is not the thing's.
    #[error("{0}")]
    Version(String),
    /// There are as many versions as AWS keeps.
    #[error("{0}")]
    Versions(String),
    /// A quota of AWS's.
    #[error("{0}")]
    Limit(String),
}

/// The whole registry.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Registry {
    /// By name.
    pub things: BTreeMap<String, Thing>,
    /// By id.
    pub certificates: Certificates,
    /// By name.
    #[serde(default, rename = "policiesWithVersions")]
    pub policies: BTreeMap<String, Policy>,
    /// Live tokens, by value.
    pub tokens: BTreeMap<String, Token>,
    /// By name.
    #[serde(default)]
    pub templates: BTreeMap<String, Template>,
    /// By name.
    #[serde(default)]
    pub rules: BTreeMap<String, Rule>,
    /// By name.
    #[serde(default)]
    pub types: BTreeMap<String, ThingType>,
    /// By name.
    #[serde(default)]
    pub groups: BTreeMap<String, Group>,
    /// By ARN.
    #[serde(default)]
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
}

impl Registry {
    /// Finds a certificate.
    pub fn certificate(&self, id: &str) -> Result<&Certificate, RegistryError> {
        self.certificates.get(id).ok_or_else(|| missing_certificate(id))
    }

    /// Finds a certificate, to change it.
    pub fn certificate_mut(&mut self, id: &str) -> Result<&mut Certificate, RegistryError> {
        self.certificates.get_mut(id).ok_or_else(|| missing_certificate(id))
    }

    /// Takes in a certificate that was made elsewhere; `false` where it is known.
    pub fn adopt(&mut self, certificate: Certificate) -> bool {
        let known = self.certificates.contains_key(&certificate.id);
        if !known {
            self.certificates.insert(certificate.id.clone(), certificate);
        }
        !known
    }

    /// Finds a thing.
    pub fn thing(&self, name: &str) -> Result<&Thing, RegistryError> {
        self.things.get(name).ok_or_else(|| RegistryError::NotFound(format!("Thing {name}")))
    }

    /// Ids of the certificates attached to a thing, in id order as AWS gives no other.
    pub fn principals(&self, thing: &str) -> Vec<&Certificate> {
        self.certificates.of_thing(thing).collect()
    }

    /// A registry that holds of certificates, tokens and things only these, to try a change on: what fails there fails
    /// here, and leaves no trace.
    pub fn part(&self, certificate: &str, token: &str, thing: Option<&str>) -> Registry {
        let mut part = Registry {
            policies: self.policies.clone(),
            types: self.types.clone(),
            groups: self.groups.clone(),
            ..Registry::default()
        };
        if let Some(found) = self.certificates.get(certificate) {
            part.certificates.insert(certificate.to_owned(), found.clone());
        }
        part.tokens.extend(self.tokens.get(token).map(|t| (token.to_owned(), t.clone())));
        if let Some((name, found)) = thing.and_then(|name| self.things.get_key_value(name)) {
            part.things.insert(name.clone(), found.clone());
        }
        part
    }

    /// Makes a thing, or says that it is there.
    pub fn create_thing(
        &mut self,
        name: &str,
        attributes: BTreeMap<String, String>,
    ) -> Result<(), RegistryError> {
        let shaped = (1..=128).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-'));
        if !shaped {
            return Err(RegistryError::Invalid("thingName must match [a-zA-Z0-9:_-]{1,128}".into()));
        }
        match self.things.get(name) {
            Some(thing) if thing.attributes == attributes => Ok(()),
            Some(_) => Err(RegistryError::Exists(format!("Thing {name}"))),
            None => {
                self.things.insert(
                    name.to_owned(),
                    Thing {
                        name: name.to_owned(),
                        id: uuid(),
                        attributes,
                        type_name: None,
                        groups: BTreeSet::new(),
                        version: 1,
                    },
                );
                Ok(())
            }
        }
    }

    /// Sets and (with an empty value) removes attributes; `merge` keeps those that are not named.
    pub fn set_attributes(
        &mut self,
        thing: &str,
        attributes: &BTreeMap<String, String>,
        merge: bool,
    ) -> Result<(), RegistryError> {
        let thing =
            self.things.get_mut(thing).ok_or_else(|| RegistryError::NotFound(format!("Thing {thing}")))?;
        let mut next = if merge { thing.attributes.clone() } else { BTreeMap::new() };
        for (name, value) in attributes {
            if value.is_empty() {
                next.remove(name);
            } else {
                next.insert(name.clone(), value.clone());
            }
        }
        // Without a thing type AWS takes three attributes and no more, with one 50.
        let most = if thing.type_name.is_none() { 3 } else { 50 };
        if next.len() > most {
            return Err(RegistryError::Invalid(format!(
                "a thing of this kind has at most {most} attributes"
            )));
        }
        thing.attributes = next;
        thing.version += 1;
        Ok(())
    }

    /// UpdateThing: attributes as in `set_attributes`, refused unless the version is the expected one.
    pub fn update_thing(
        &mut self,
        thing: &str,
        attributes: &BTreeMap<String, String>,
        merge: bool,
        expected_version: Option<i64>,
    ) -> Result<(), RegistryError> {
        let version = self.thing(thing)?.version;
        if expected_version.is_some_and(|e| u64::try_from(e) != Ok(version)) {
            return Err(RegistryError::Version(format!("thing {thing} is at version {version}")));
        }
        self.set_attributes(thing, attributes, merge)
    }

    /// Changes a certificate's status; answers whether it changed.
    pub fn set_status(&mut self, id: &str, status: Status, now_ms: i64) -> Result<bool, RegistryError> {
        let certificate = self.certificate_mut(id)?;
        if certificate.status == status {
            return Ok(false);
        }
        certificate.status = status;
        certificate.modified_ms = now_ms;
        Ok(true)
    }

    /// Attaches a certificate to a thing, seen from `seen_ms` on.
    pub fn attach_thing(&mut self, thing: &str, id: &str, seen_ms: i64) -> Result<(), RegistryError> {
        self.thing(thing)?;
        if self.certificates.attach(id, thing, seen_ms) { Ok(()) } else { Err(missing_certificate(id)) }
    }

    /// Detaches a certificate from a thing.
    pub fn detach_thing(&mut self, thing: &str, id: &str) -> Result<(), RegistryError> {
        self.thing(thing)?;
        if self.certificates.detach(id, thing) { Ok(()) } else { Err(missing_certificate(id)) }
    }

    /// Attaches a policy to a certificate, seen from `seen_ms` on.
    pub fn attach_policy(&mut self, policy: &str, id: &str, seen_ms: i64) -> Result<(), RegistryError> {
        self.policy(policy)?;
        let certificate = self.certificate_mut(id)?;
        // AWS IoT quota: policies attached to a certificate.
        if certificate.policies.len() >= 10 && !certificate.policies.contains_key(policy) {
            return Err(RegistryError::Limit("a certificate has at most 10 policies".into()));
        }
        certificate.policies.entry(policy.to_owned()).or_insert(seen_ms);
        Ok(())
    }

    /// Detaches a policy from a certificate.
    pub fn detach_policy(&mut self, policy: &str, id: &str) -> Result<(), RegistryError> {
        self.certificate_mut(id)?.policies.remove(policy);
        Ok(())
    }

    /// Deletes a certificate; refused while it is ACTIVE or anything is attached, as on AWS.
    pub fn delete_certificate(&mut self, id: &str, force: bool) -> Result<(), RegistryError> {
        let certificate = self.certificate(id)?;
        if matches!(certificate.status, Status::Active | Status::PendingTransfer) {
            return Err(RegistryError::State(format!(
                "Certificate must be deactivated (not ACTIVE) before deletion. certificateId: {id}"
            )));
        }
        let attached = !certificate.things.is_empty() || (!force && !certificate.policies.is_empty());
        if attached {
            return Err(RegistryError::Conflict(format!(
                "Things or policies must be detached before deletion (arn: {})",
                certificate_arn(id)
            )));
        }
        self.certificates.remove(id);
        self.tokens.retain(|_, t| t.certificate_id != id);
        Ok(())
    }

    /// Removes tokens that have ended, and certificates that waited for them; answers whether anything went.
    pub fn sweep(&mut self, now_ms: i64) -> bool {
        let before = self.tokens.len();
        let (certificates, tokens) = (&mut self.certificates, &mut self.tokens);
        tokens.retain(|_, token| {
            let alive = token.ends_ms > now_ms;
            let waits = certificates
                .get(&token.certificate_id)
                .is_some_and(|c| c.status == Status::PendingActivation);
            if !alive && waits {
                certificates.remove(&token.certificate_id);
            }
            alive
        });
        tokens.len() != before
    }
}

/// The ARN of a certificate in the twin's account.
pub fn certificate_arn(id: &str) -> String {
    arn(&format!("cert/{id}"))
}

/// An ARN in the twin's account.
pub fn arn(resource: &str) -> String {
    format!("arn:aws:iot:{REGION}:{ACCOUNT}:{resource}")
}

/// The region of every ARN of the twin.
pub const REGION: &str = "eu-west-1";
/// The account of every ARN of the twin.
pub const ACCOUNT: &str = "123456789012";

fn missing_certificate(id: &str) -> RegistryError {
    RegistryError::NotFound(format!("The certificate {id}"))
}

fn uuid() -> String {
    let n = fastrand::u128(..);
    let h = format!("{n:032x}");
    format!("{}-{}-4{}-a{}-{}", &h[..8], &h[8..12], &h[13..16], &h[17..20], &h[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(id: &str, status: Status) -> Certificate {
        Certificate {
            id: id.into(),
            pem: String::new(),
            status,
            created_ms: 0,
            modified_ms: 0,
            not_before: 0,
            not_after: i64::MAX,
            policies: BTreeMap::new(),
            things: BTreeMap::new(),
        }
    }

    fn with(id: &str, status: Status) -> Registry {
        let mut registry = Registry::default();
        registry.certificates.insert(id.into(), certificate(id, status));
        registry
    }

    #[test]
    fn an_active_or_attached_certificate_is_not_deleted() {
        let mut registry = with("a", Status::Active);
        assert!(matches!(registry.delete_certificate("a", true), Err(RegistryError::State(_))));
        registry.create_thing("t", BTreeMap::new()).unwrap();
        registry.attach_thing("t", "a", 0).unwrap();
        registry.set_status("a", Status::Revoked, 1).unwrap();
        assert!(matches!(registry.delete_certificate("a", true), Err(RegistryError::Conflict(_))));
        registry.detach_thing("t", "a").unwrap();
        assert_eq!(registry.delete_certificate("a", false), Ok(()));
    }

    #[test]
    fn a_token_that_ends_takes_its_pending_certificate_along_and_no_other() {
        let mut registry = with("a", Status::PendingActivation);
        registry.certificates.insert("b".into(), certificate("b", Status::Active));
        for id in ["a", "b"] {
            let token = Token { certificate_id: id.into(), ends_ms: 10, connection: 0 };
            registry.tokens.insert(format!("token-{id}"), token);
        }
        assert!(!registry.sweep(9));
        assert!(registry.sweep(10));
        assert_eq!(registry.certificates.keys().collect::<Vec<_>>(), ["b"]);
        assert!(registry.tokens.is_empty());
    }

    #[test]
    fn a_fourth_attribute_needs_a_thing_type() {
        let mut registry = Registry::default();
        registry.create_thing("t", BTreeMap::new()).unwrap();
        let four = ["a", "b", "c", "d"].map(|k| (k.to_owned(), "1".to_owned())).into_iter().collect();
        assert!(matches!(registry.set_attributes("t", &four, false), Err(RegistryError::Invalid(_))));
    }
}
