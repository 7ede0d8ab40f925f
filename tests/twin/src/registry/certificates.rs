//! The registry's certificates, by id, with what makes ten thousand of them bearable: who is attached to a thing without
//! looking at all, and what has been touched since somebody asked.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use serde::{Deserialize, Serialize, Serializer};

use super::{Certificate, Status};

/// Certificates by id; read it as the map it is, change it by its own words.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "BTreeMap<String, Certificate>")]
pub struct Certificates {
    all: BTreeMap<String, Certificate>,
    of_thing: BTreeMap<String, BTreeSet<String>>,
    touched: BTreeMap<String, Option<Status>>,
}

impl Deref for Certificates {
    type Target = BTreeMap<String, Certificate>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl From<BTreeMap<String, Certificate>> for Certificates {
    fn from(all: BTreeMap<String, Certificate>) -> Self {
        let mut certificates = Certificates::default();
        for (id, certificate) in all {
            certificates.insert(id, certificate);
        }
        certificates.touched.clear();
        certificates
    }
}

impl Serialize for Certificates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.all.serialize(serializer)
    }
}

impl Certificates {
    /// Adds one, or takes the place of the one with its id.
    pub fn insert(&mut self, id: String, certificate: Certificate) {
        self.remove(&id);
        for thing in certificate.things.keys() {
            self.of_thing.entry(thing.clone()).or_default().insert(id.clone());
        }
        self.all.insert(id, certificate);
    }

    /// Removes one.
    pub fn remove(&mut self, id: &str) -> Option<Certificate> {
        self.touch(id);
        let certificate = self.all.remove(id)?;
        for thing in certificate.things.keys() {
            self.unlist(thing, id);
        }
        Some(certificate)
    }

    /// Finds one, to change it; attachments to things are changed by [`Certificates::attach`] and
    /// [`Certificates::detach`] alone.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Certificate> {
        self.touch(id);
        self.all.get_mut(id)
    }

    /// Attaches one to a thing, seen from `seen_ms` on; says whether there is such a certificate.
    pub fn attach(&mut self, id: &str, thing: &str, seen_ms: i64) -> bool {
        let Some(certificate) = self.all.get_mut(id) else { return false };
        certificate.things.entry(thing.to_owned()).or_insert(seen_ms);
        self.of_thing.entry(thing.to_owned()).or_default().insert(id.to_owned());
        true
    }

    /// Detaches one from a thing; says whether there is such a certificate.
    pub fn detach(&mut self, id: &str, thing: &str) -> bool {
        let Some(certificate) = self.all.get_mut(id) else { return false };
        certificate.things.remove(thing);
        self.unlist(thing, id);
        true
    }

    /// Those that are attached to a thing, in the order of their ids.
    pub fn of_thing(&self, thing: &str) -> impl Iterator<Item = &Certificate> {
        self.of_thing.get(thing).into_iter().flatten().filter_map(|id| self.all.get(id))
    }

    /// What may have changed since the last call: each id, and its status then (`None`: it was not there).
    pub fn take_touched(&mut self) -> BTreeMap<String, Option<Status>> {
        std::mem::take(&mut self.touched)
    }

    fn touch(&mut self, id: &str) {
        if !self.touched.contains_key(id) {
            self.touched.insert(id.to_owned(), self.all.get(id).map(|c| c.status));
        }
    }

    fn unlist(&mut self, thing: &str, id: &str) {
        if let Some(ids) = self.of_thing.get_mut(thing) {
            ids.remove(id);
            if ids.is_empty() {
                self.of_thing.remove(thing);
            }
        }
    }
}
