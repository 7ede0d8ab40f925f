//! Looks at an account: every resource that a fleet has or wants, and policies of its earlier days.

use std::collections::BTreeSet;

use super::Aws;
use crate::aws::error::CallError;
use crate::desired::Desired;
use crate::model::{Id, Kind, Observed, Seen};

impl Aws {
    /// Looks at everything that `desired` names, and at older policies of the fleet; `tell` hears of each before.
    pub async fn observe(&self, desired: &Desired, mut tell: impl FnMut(&Id)) -> Result<Observed, CallError> {
        let mut ids: BTreeSet<Id> = desired.resources.keys().cloned().collect();
        for prefix in [self.fleet.device_policy_prefix(), self.fleet.claim_policy_prefix()] {
            let named = self.policies_of_fleet(&prefix).await?;
            ids.extend(named.into_iter().map(|name| Id::new(Kind::Policy, name)));
        }
        let mut observed = Observed::default();
        for id in ids {
            tell(&id);
            if let Some(seen) = self.see(&id).await? {
                observed.resources.insert(id, seen);
            }
        }
        Ok(observed)
    }

    /// Names of the policies of one kind: the prefix and a hash.
    pub async fn policies_of_fleet(&self, prefix: &str) -> Result<Vec<String>, CallError> {
        let hashed = |name: &String| {
            name.len() == prefix.len() + HASH && name[prefix.len()..].bytes().all(|b| b.is_ascii_hexdigit())
        };
        Ok(self.policies_with(prefix).await?.into_iter().filter(hashed).collect())
    }

    /// Looks at one resource.
    pub async fn see(&self, id: &Id) -> Result<Option<Seen>, CallError> {
        let name = id.name.as_str();
        match id.kind {
            Kind::ThingType => self.see_thing_type(name).await,
            Kind::ThingGroup => self.see_thing_group(name).await,
            Kind::Role => self.see_role(name).await,
            Kind::Queue => self.see_queue(name).await,
            Kind::LogGroup => self.see_log_group(name).await,
            Kind::Function => self.see_function(name).await,
            Kind::Permission => self.see_permission(name).await,
            Kind::Policy => self.see_policy(name).await,
            Kind::Template => self.see_template(name).await,
            Kind::Rule => self.see_rule(name).await,
        }
    }
}

/// Digits of the hash in a policy's name (`desired::short_hash`).
const HASH: usize = 8;
