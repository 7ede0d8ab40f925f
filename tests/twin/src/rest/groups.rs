//! Static thing groups and who is in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, post, put};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Page, Problem, Reply, Tag, body, done, ok, op, pairs, seconds};
use crate::cloud::Cloud;
use crate::registry::arn;
use crate::registry::kinds::Group;

pub(super) fn routes(cloud: &Arc<Cloud>) -> Router<Arc<Cloud>> {
    let op = |name, handler| op(cloud, name, handler);
    Router::new()
        .route("/thing-groups", op("ListThingGroups", get(list)))
        .route("/thing-groups/addThingToThingGroup", op("AddThingToThingGroup", put(add)))
        .route("/thing-groups/removeThingFromThingGroup", op("RemoveThingFromThingGroup", put(take)))
        .route("/thing-groups/{name}", op("DescribeThingGroup", get(describe)))
        .route("/thing-groups/{name}", op("CreateThingGroup", post(create)))
        .route("/thing-groups/{name}", op("DeleteThingGroup", delete(remove)))
        .route("/thing-groups/{name}/things", op("ListThingsInThingGroup", get(things)))
        .route("/things/{name}/thing-groups", op("ListThingGroupsForThing", get(groups)))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wanted {
    name_prefix_filter: String,
    parent_group: Option<String>,
}

async fn list(State(cloud): App, Query(page): Query<Page>, Query(wanted): Query<Wanted>) -> Reply {
    let all = cloud.registry(|r| {
        let fits = |(name, group): &(&String, &Group)| {
            name.starts_with(&wanted.name_prefix_filter)
                && wanted.parent_group.as_ref().is_none_or(|p| group.parent.as_ref() == Some(p))
        };
        r.groups.iter().filter(fits).map(|(name, _)| name.clone()).collect()
    });
    let (found, next): (Vec<String>, _) = page.cut(all);
    ok(json!({ "thingGroups": named(&found), "nextToken": next }))
}

async fn describe(State(cloud): App, Path(name): Path<String>) -> Reply {
    let group = cloud.registry(|r| r.group(&name).cloned())?;
    let mut metadata = json!({ "creationDate": seconds(group.created_ms) });
    if let Some(parent) = &group.parent {
        metadata["parentGroupName"] = json!(parent);
        metadata["rootToParentThingGroups"] = json!(named(std::slice::from_ref(parent)));
    }
    ok(json!({
        "thingGroupName": name,
        "thingGroupId": group.id,
        "thingGroupArn": group_arn(&name),
        "version": 1,
        "thingGroupProperties": {
            "thingGroupDescription": group.description,
            "attributePayload": { "attributes": group.attributes },
        },
        "thingGroupMetadata": metadata,
    }))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Create {
    parent_group_name: Option<String>,
    thing_group_properties: Properties,
    tags: Vec<Tag>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Properties {
    thing_group_description: Option<String>,
    attribute_payload: Attributes,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Attributes {
    attributes: BTreeMap<String, String>,
}

async fn create(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    let wanted: Create = body(&bytes)?;
    let group = Group {
        id: String::new(),
        description: wanted.thing_group_properties.thing_group_description,
        attributes: wanted.thing_group_properties.attribute_payload.attributes,
        parent: wanted.parent_group_name,
        created_ms: cloud.clock.now_ms(),
    };
    let id = cloud.change(|r| {
        r.create_group(&name, group)?;
        r.tag(&group_arn(&name), pairs(wanted.tags))?;
        r.group(&name).map(|g| g.id.clone())
    })?;
    ok(json!({ "thingGroupName": name, "thingGroupArn": group_arn(&name), "thingGroupId": id }))
}

async fn remove(State(cloud): App, Path(name): Path<String>) -> Reply {
    cloud.change(|r| r.delete_group(&name))?;
    done()
}

/// A member, by names or by ARNs.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Member {
    thing_group_name: Option<String>,
    thing_group_arn: Option<String>,
    thing_name: Option<String>,
    thing_arn: Option<String>,
}

impl Member {
    fn read(bytes: &[u8]) -> Result<(String, String), Problem> {
        let member: Self = body(bytes)?;
        let last = |arn: Option<String>| arn.and_then(|a| a.rsplit_once('/').map(|(_, n)| n.to_owned()));
        let group = member.thing_group_name.or_else(|| last(member.thing_group_arn));
        let thing = member.thing_name.or_else(|| last(member.thing_arn));
        group.zip(thing).ok_or_else(|| Problem::invalid("a thing group and a thing must be named"))
    }
}

async fn add(State(cloud): App, bytes: Bytes) -> Reply {
    let (group, thing) = Member::read(&bytes)?;
    cloud.change(|r| r.set_member(&group, &thing, true))?;
    done()
}

async fn take(State(cloud): App, bytes: Bytes) -> Reply {
    let (group, thing) = Member::read(&bytes)?;
    cloud.change(|r| r.set_member(&group, &thing, false))?;
    done()
}

async fn things(State(cloud): App, Path(name): Path<String>, Query(page): Query<Page>) -> Reply {
    let all = cloud.registry(|r| {
        r.group(&name)?;
        let members = r.things.values().filter(|t| t.groups.contains(&name));
        Ok::<_, Problem>(members.map(|t| t.name.clone()).collect())
    })?;
    let (found, next): (Vec<String>, _) = page.cut(all);
    ok(json!({ "things": found, "nextToken": next }))
}

async fn groups(State(cloud): App, Path(name): Path<String>, Query(page): Query<Page>) -> Reply {
    let all = cloud.registry(|r| r.thing(&name).map(|t| t.groups.iter().cloned().collect()))?;
    let (found, next): (Vec<String>, _) = page.cut(all);
    ok(json!({ "thingGroups": named(&found), "nextToken": next }))
}

fn named(names: &[String]) -> Vec<Value> {
    names.iter().map(|n| json!({ "groupName": n, "groupArn": group_arn(n) })).collect()
}

fn group_arn(name: &str) -> String {
    arn(&format!("thinggroup/{name}"))
}
