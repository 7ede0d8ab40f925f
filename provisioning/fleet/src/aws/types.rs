//! The fleet's thing type and thing group.

use super::{Aws, found, gone_is_fine};
use crate::aws::error::CallError;
use crate::calls::{self, Call};
use crate::model::{Body, Id, Kind, Seen};
use crate::names::TAG;

impl Aws {
    pub(super) async fn see_thing_type(&self, name: &str) -> Result<Option<Seen>, CallError> {
        let asked = self
            .call(&calls::DESCRIBE_THING_TYPE, name, || {
                self.iot.describe_thing_type().thing_type_name(name).send()
            })
            .await;
        let Some(seen) = found(asked)? else { return Ok(None) };
        let deprecated = seen.thing_type_metadata().is_some_and(|m| m.deprecated());
        let tagged =
            self.is_tagged(&calls::LIST_TYPE_TAGS, &self.iot_arn(&Id::new(Kind::ThingType, name))).await?;
        Ok(Some(Seen::plain(Body::ThingType { deprecated }, tagged)))
    }

    pub(super) async fn see_thing_group(&self, name: &str) -> Result<Option<Seen>, CallError> {
        let asked = self
            .call(&calls::DESCRIBE_THING_GROUP, name, || {
                self.iot.describe_thing_group().thing_group_name(name).send()
            })
            .await;
        if found(asked)?.is_none() {
            return Ok(None);
        }
        let tagged =
            self.is_tagged(&calls::LIST_TYPE_TAGS, &self.iot_arn(&Id::new(Kind::ThingGroup, name))).await?;
        Ok(Some(Seen::plain(Body::ThingGroup {}, tagged)))
    }

    pub(super) async fn make_thing_type(&self, name: &str) -> Result<(), CallError> {
        self.call(&calls::CREATE_THING_TYPE, name, || {
            self.iot.create_thing_type().thing_type_name(name).tags(self.iot_tag()).send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn make_thing_group(&self, name: &str) -> Result<(), CallError> {
        self.call(&calls::CREATE_THING_GROUP, name, || {
            self.iot.create_thing_group().thing_group_name(name).tags(self.iot_tag()).send()
        })
        .await
        .map(drop)
    }

    /// Takes a thing type out of use, or back into it; AWS deletes one five minutes after it went out of use.
    pub async fn deprecate_thing_type(&self, name: &str, undo: bool) -> Result<(), CallError> {
        self.call(&calls::DEPRECATE_THING_TYPE, name, || {
            self.iot.deprecate_thing_type().thing_type_name(name).undo_deprecate(undo).send()
        })
        .await
        .map(drop)
    }

    /// Deletes a thing type; refused for five minutes after its deprecation, and while a thing has it.
    pub async fn delete_thing_type(&self, name: &str) -> Result<(), CallError> {
        let sent = self
            .call(&calls::DELETE_THING_TYPE, name, || {
                self.iot.delete_thing_type().thing_type_name(name).send()
            })
            .await;
        gone_is_fine(sent.map(drop))
    }

    pub(super) async fn delete_thing_group(&self, name: &str) -> Result<(), CallError> {
        let sent = self
            .call(&calls::DELETE_THING_GROUP, name, || {
                self.iot.delete_thing_group().thing_group_name(name).send()
            })
            .await;
        gone_is_fine(sent.map(drop))
    }

    /// Says whether an IoT resource carries the fleet's tag.
    pub(super) async fn is_tagged(&self, call: &'static Call, arn: &str) -> Result<bool, CallError> {
        Ok(self.iot_tags(call, arn).await?.iter().any(|(k, v)| k == TAG && v == self.fleet.as_str()))
    }

    /// All tags of an IoT resource.
    pub(super) async fn iot_tags(
        &self,
        call: &'static Call,
        arn: &str,
    ) -> Result<Vec<(String, String)>, CallError> {
        let mut tags = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .call(call, arn, || {
                    self.iot.list_tags_for_resource().resource_arn(arn).set_next_token(token.clone()).send()
                })
                .await?;
            tags.extend(
                page.tags().iter().map(|t| (t.key().to_owned(), t.value().unwrap_or_default().to_owned())),
            );
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(tags);
            }
        }
    }

    /// Tags an IoT resource with the fleet's tag.
    pub(super) async fn tag_iot(&self, call: &'static Call, arn: &str) -> Result<(), CallError> {
        self.call(call, arn, || self.iot.tag_resource().resource_arn(arn).tags(self.iot_tag()).send())
            .await
            .map(drop)
    }

    pub(super) fn iot_tag(&self) -> aws_sdk_iot::types::Tag {
        tag(TAG, self.fleet.as_str())
    }

    /// The ARN of an IoT resource.
    pub(super) fn iot_arn(&self, id: &Id) -> String {
        let word = match id.kind {
            Kind::ThingType => "thingtype",
            Kind::ThingGroup => "thinggroup",
            Kind::Policy => "policy",
            Kind::Template => "provisioningtemplate",
            _ => "rule",
        };
        self.place.arn("iot", &format!("{word}/{}", id.name))
    }
}

/// A tag of an IoT resource.
pub(super) fn tag(key: &str, value: &str) -> aws_sdk_iot::types::Tag {
    // The key is the one thing that the SDK insists on, and it is given.
    aws_sdk_iot::types::Tag::builder().key(key).value(value).build().expect("a tag with a key is whole")
}
