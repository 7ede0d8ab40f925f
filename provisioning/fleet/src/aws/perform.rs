//! Does what a step says. What it needs beyond the step stands in `Desired`.

use std::collections::BTreeMap;

use super::Aws;
use crate::aws::error::{CallError, Refusal};
use crate::calls;
use crate::desired::Desired;
use crate::model::{Body, Id, Kind};
use crate::plan::Act;

impl Aws {
    /// Does one act, but for `Act::CheckPolicy`, which is `check.rs`'s. `zips` are the functions' code by name.
    pub async fn perform(
        &self,
        act: &Act,
        desired: &Desired,
        zips: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), CallError> {
        match act {
            Act::Create(id) => match desired.resources.get(id) {
                Some(want) => self.make(id, want, zips).await,
                None => Ok(()),
            },
            Act::Update(id, fields) => match desired.resources.get(id) {
                Some(want) => self.set(id, want, fields, zips).await,
                None => Ok(()),
            },
            Act::Tag(id) => self.tag(id).await,
            Act::CreateVersion(id, document) if id.kind == Kind::Policy => {
                self.make_policy_version(&id.name, document).await
            }
            Act::CreateVersion(id, document) => self.make_template_version(&id.name, document).await,
            Act::UseVersion(id, number) if id.kind == Kind::Policy => {
                self.use_policy_version(&id.name, *number).await
            }
            Act::UseVersion(id, number) => self.use_template_version(&id.name, *number).await,
            Act::DeleteVersion(id, number) if id.kind == Kind::Policy => {
                self.delete_policy_version(&id.name, *number).await
            }
            Act::DeleteVersion(id, number) => self.delete_template_version(&id.name, *number).await,
            Act::CheckPolicy(_) => Ok(()),
            Act::MoveClaim { certificate, from, to } => {
                self.attach_policy(to, certificate).await?;
                for (batch, id) in self.claim_batches(from).await? {
                    if id == *certificate {
                        self.note_batch(to, &batch, &id).await?;
                    }
                }
                self.detach_policy(from, certificate).await
            }
            Act::Delete(id) => self.delete(id).await,
        }
    }

    async fn make(&self, id: &Id, want: &Body, zips: &BTreeMap<String, Vec<u8>>) -> Result<(), CallError> {
        let name = id.name.as_str();
        let zip = || zips.get(name).map_or(&[][..], Vec::as_slice);
        let made = match (id.kind, want) {
            (Kind::ThingType, _) => self.make_thing_type(name).await,
            (Kind::ThingGroup, _) => self.make_thing_group(name).await,
            (Kind::Role, _) => self.make_role(name, want).await,
            (Kind::Queue, _) => self.make_queue(name, want).await,
            (Kind::LogGroup, _) => self.make_log_group(name, want).await,
            (Kind::Function, _) => self.make_function(name, want, zip()).await,
            (Kind::Permission, _) => self.make_permission(name, want).await,
            (Kind::Policy, Body::Policy { document }) => self.make_policy(name, document).await,
            (Kind::Policy, _) => Ok(()),
            (Kind::Template, _) => self.make_template(name, want).await,
            (Kind::Rule, _) => self.make_rule(name, want).await,
        };
        match made {
            // The answer to our own was lost, and the call was sent again: the next look sees whether it is right.
            Err(error) if error.refusal == Refusal::Exists && self.is_ours(id).await? => Ok(()),
            other => other,
        }
    }

    async fn is_ours(&self, id: &Id) -> Result<bool, CallError> {
        Ok(self.see(id).await?.is_some_and(|s| s.tagged))
    }

    async fn set(
        &self,
        id: &Id,
        want: &Body,
        fields: &[String],
        zips: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), CallError> {
        let name = id.name.as_str();
        match id.kind {
            Kind::ThingType => self.deprecate_thing_type(name, true).await,
            Kind::ThingGroup | Kind::Policy => Ok(()),
            Kind::Role => self.set_role(name, want, fields).await,
            Kind::Queue => self.set_queue(name, want).await,
            Kind::LogGroup => self.set_log_group(name, want).await,
            Kind::Function => {
                self.set_function(name, want, fields, zips.get(name).map_or(&[][..], Vec::as_slice)).await
            }
            Kind::Permission => self.set_permission(name, want).await,
            Kind::Template => self.set_template(name, want).await,
            Kind::Rule => self.set_rule(name, want).await,
        }
    }

    async fn tag(&self, id: &Id) -> Result<(), CallError> {
        let name = id.name.as_str();
        match id.kind {
            Kind::ThingType | Kind::ThingGroup => self.tag_iot(&calls::TAG_TYPE, &self.iot_arn(id)).await,
            Kind::Policy => self.tag_iot(&calls::TAG_POLICY, &self.iot_arn(id)).await,
            Kind::Template => self.tag_iot(&calls::TAG_TEMPLATE, &self.iot_arn(id)).await,
            Kind::Rule => self.tag_iot(&calls::TAG_RULE, &self.iot_arn(id)).await,
            Kind::Role => self.tag_role(name).await,
            Kind::Queue => self.tag_queue(name).await,
            Kind::LogGroup => self.tag_log_group(name).await,
            Kind::Function => self.tag_function(name).await,
            Kind::Permission => Ok(()),
        }
    }

    /// Deletes a resource with what is part of it; one that is gone already is fine.
    pub async fn delete(&self, id: &Id) -> Result<(), CallError> {
        let name = id.name.as_str();
        match id.kind {
            Kind::ThingType => self.delete_thing_type(name).await,
            Kind::ThingGroup => self.delete_thing_group(name).await,
            Kind::Role => self.delete_role(name).await,
            Kind::Queue => self.delete_queue(name).await,
            Kind::LogGroup => self.delete_log_group(name).await,
            Kind::Function => self.delete_function(name).await,
            Kind::Permission => self.delete_permission(name).await,
            Kind::Policy => self.delete_policy(name).await,
            Kind::Template => self.delete_template(name).await,
            Kind::Rule => self.delete_rule(name).await,
        }
    }
}
