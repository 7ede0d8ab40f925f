//! Thing types, thing groups and tags: what sorts a fleet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Registry, RegistryError, Thing, arn, uuid};

/// A thing type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThingType {
    /// An opaque id.
    pub id: String,
    /// Words of its maker.
    pub description: Option<String>,
    /// Attributes by which its things can be found.
    pub searchable: Vec<String>,
    /// Since when no thing may take it any more, twin milliseconds since the epoch.
    pub deprecated_ms: Option<i64>,
    /// When it was made.
    pub created_ms: i64,
}

/// A static thing group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// An opaque id.
    pub id: String,
    /// Words of its maker.
    pub description: Option<String>,
    /// Attributes.
    pub attributes: BTreeMap<String, String>,
    /// The group that it is in.
    pub parent: Option<String>,
    /// When it was made, twin milliseconds since the epoch.
    pub created_ms: i64,
}

impl Registry {
    /// Finds a thing type.
    pub fn thing_type(&self, name: &str) -> Result<&ThingType, RegistryError> {
        self.types.get(name).ok_or_else(|| RegistryError::NotFound(format!("Thing type {name}")))
    }

    /// Makes a thing type; one that is there and just the same is no error.
    pub fn create_type(
        &mut self,
        name: &str,
        description: Option<String>,
        searchable: Vec<String>,
        now_ms: i64,
    ) -> Result<(), RegistryError> {
        named("thingTypeName", name)?;
        match self.types.get(name) {
            Some(old) if old.description == description && old.searchable == searchable => Ok(()),
            Some(_) => Err(RegistryError::Exists(format!("Thing type {name}"))),
            None => {
                let made = ThingType {
                    id: uuid(),
                    description,
                    searchable,
                    deprecated_ms: None,
                    created_ms: now_ms,
                };
                self.types.insert(name.to_owned(), made);
                Ok(())
            }
        }
    }

    /// Deprecates a thing type, or undoes it.
    pub fn deprecate_type(&mut self, name: &str, undo: bool, now_ms: i64) -> Result<(), RegistryError> {
        self.thing_type(name)?;
        if let Some(kind) = self.types.get_mut(name) {
            kind.deprecated_ms = if undo { None } else { kind.deprecated_ms.or(Some(now_ms)) };
        }
        Ok(())
    }

    /// DeleteThingType: deprecated for five minutes, and no thing has it.
    pub fn delete_type(&mut self, name: &str, now_ms: i64) -> Result<(), RegistryError> {
        let waited = self.thing_type(name)?.deprecated_ms.is_some_and(|at| now_ms - at >= TYPE_WAITS_MS);
        if !waited {
            return Err(RegistryError::Invalid(format!(
                "Cannot delete thing type : {name}. You must wait for 5 minutes after deprecation before deleting it."
            )));
        }
        if self.things.values().any(|t| t.type_name.as_deref() == Some(name)) {
            return Err(RegistryError::Invalid(format!("Cannot delete thing type {name}: things have it")));
        }
        self.types.remove(name);
        self.tags.remove(&arn(&format!("thingtype/{name}")));
        Ok(())
    }

    /// Gives a thing a type, or takes it away; a type that is deprecated is given to nobody.
    pub fn set_type(&mut self, thing: &str, kind: Option<&str>) -> Result<(), RegistryError> {
        if let Some(kind) = kind
            && self.thing_type(kind)?.deprecated_ms.is_some()
        {
            return Err(RegistryError::Invalid(format!("Thing type {kind} is deprecated")));
        }
        let thing = self.thing_mut(thing)?;
        thing.type_name = kind.map(str::to_owned);
        thing.version += 1;
        Ok(())
    }

    /// Finds a group.
    pub fn group(&self, name: &str) -> Result<&Group, RegistryError> {
        self.groups.get(name).ok_or_else(|| RegistryError::NotFound(format!("Thing group {name}")))
    }

    /// Makes a group; one that is there and just the same is no error.
    pub fn create_group(&mut self, name: &str, mut group: Group) -> Result<(), RegistryError> {
        named("thingGroupName", name)?;
        if let Some(parent) = &group.parent {
            self.group(parent)?;
        }
        group.id = uuid();
        match self.groups.get(name) {
            Some(old) if (&old.description, &old.attributes) == (&group.description, &group.attributes) => {
                Ok(())
            }
            Some(_) => Err(RegistryError::Exists(format!("Thing group {name}"))),
            None => {
                self.groups.insert(name.to_owned(), group);
                Ok(())
            }
        }
    }

    /// DeleteThingGroup: its things stay, it only leaves them; one that is not there is no error.
    pub fn delete_group(&mut self, name: &str) -> Result<(), RegistryError> {
        if self.groups.values().any(|g| g.parent.as_deref() == Some(name)) {
            return Err(RegistryError::Invalid(format!(
                "Cannot delete thing group {name}: it has child groups"
            )));
        }
        self.groups.remove(name);
        for thing in self.things.values_mut() {
            thing.groups.remove(name);
        }
        self.tags.remove(&arn(&format!("thinggroup/{name}")));
        Ok(())
    }

    /// Puts a thing into a group, or takes it out.
    pub fn set_member(&mut self, group: &str, thing: &str, member: bool) -> Result<(), RegistryError> {
        self.group(group)?;
        let thing = self.thing_mut(thing)?;
        if member {
            thing.groups.insert(group.to_owned());
        } else {
            thing.groups.remove(group);
        }
        Ok(())
    }

    /// Finds a thing, to change it.
    pub fn thing_mut(&mut self, name: &str) -> Result<&mut Thing, RegistryError> {
        self.things.get_mut(name).ok_or_else(|| RegistryError::NotFound(format!("Thing {name}")))
    }

    /// Says whether an ARN names something that is there and that can be tagged.
    pub fn check_taggable(&self, resource: &str) -> Result<(), RegistryError> {
        let (kind, name) = arn_parts(resource)?;
        let there = match kind {
            "policy" => self.policies.contains_key(name),
            "provisioningtemplate" => self.templates.contains_key(name),
            "rule" => self.rules.contains_key(name),
            "thinggroup" => self.groups.contains_key(name),
            "thingtype" => self.types.contains_key(name),
            _ => return Err(RegistryError::Invalid(format!("{resource} cannot be tagged"))),
        };
        if there { Ok(()) } else { Err(RegistryError::NotFound(resource.to_owned())) }
    }

    /// Adds tags, 50 at most.
    pub fn tag(&mut self, resource: &str, tags: Vec<(String, String)>) -> Result<(), RegistryError> {
        if tags.is_empty() {
            return Ok(());
        }
        let mut all = self.tags.get(resource).cloned().unwrap_or_default();
        all.extend(tags);
        if all.len() > MOST_TAGS {
            return Err(RegistryError::Limit(format!("{resource} has at most {MOST_TAGS} tags")));
        }
        self.tags.insert(resource.to_owned(), all);
        Ok(())
    }
}

fn arn_parts(resource: &str) -> Result<(&str, &str), RegistryError> {
    let invalid = || RegistryError::Invalid(format!("{resource} is no ARN of this account"));
    resource.strip_prefix(arn("").as_str()).and_then(|r| r.split_once('/')).ok_or_else(invalid)
}

fn named(field: &str, name: &str) -> Result<(), RegistryError> {
    let shaped = (1..=128).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-'));
    if shaped {
        Ok(())
    } else {
        Err(RegistryError::Invalid(format!("{field} must match [a-zA-Z0-9:_-]{{1,128}}")))
    }
}

/// Developer guide, “Thing types”: a deprecated type is deleted five minutes later at the soonest.
const TYPE_WAITS_MS: i64 = 300_000;

/// AWS IoT quota: tags of a resource.
const MOST_TAGS: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_goes_five_minutes_after_it_was_deprecated_and_when_no_thing_has_it() {
        let mut registry = Registry::default();
        registry.create_type("t", None, vec![], 0).unwrap();
        registry.create_thing("a", BTreeMap::new()).unwrap();
        registry.set_type("a", Some("t")).unwrap();
        registry.deprecate_type("t", false, 1000).unwrap();
        assert!(registry.set_type("a", Some("t")).is_err());
        assert!(matches!(registry.delete_type("t", 300_999), Err(RegistryError::Invalid(_))));
        assert!(matches!(registry.delete_type("t", 301_000), Err(RegistryError::Invalid(_))));
        registry.set_type("a", None).unwrap();
        assert_eq!(registry.delete_type("t", 301_000), Ok(()));
    }

    #[test]
    fn what_is_not_there_or_takes_no_tags_is_not_tagged() {
        let registry = Registry::default();
        assert!(matches!(registry.check_taggable(&arn("policy/p")), Err(RegistryError::NotFound(_))));
        assert!(matches!(registry.check_taggable(&arn("cert/c")), Err(RegistryError::Invalid(_))));
        assert!(matches!(registry.check_taggable("x"), Err(RegistryError::Invalid(_))));
    }
}
