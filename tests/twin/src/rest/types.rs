//! Thing types.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Page, Reply, Tag, body, done, ok, op, pairs, seconds};
use crate::cloud::Cloud;
use crate::registry::arn;
use crate::registry::kinds::ThingType;

pub(super) fn routes(cloud: &Arc<Cloud>) -> Router<Arc<Cloud>> {
    let op = |name, handler| op(cloud, name, handler);
    Router::new()
        .route("/thing-types", op("ListThingTypes", get(list)))
        .route("/thing-types/{name}", op("DescribeThingType", get(describe)))
        .route("/thing-types/{name}", op("CreateThingType", post(create)))
        .route("/thing-types/{name}", op("DeleteThingType", delete(remove)))
        .route("/thing-types/{name}/deprecate", op("DeprecateThingType", post(deprecate)))
}

async fn list(State(cloud): App, Query(page): Query<Page>) -> Reply {
    let all = cloud.registry(|r| r.types.iter().map(|(n, t)| (n.clone(), t.clone())).collect());
    let (found, next): (Vec<(String, ThingType)>, _) = page.cut(all);
    let listed: Vec<Value> = found.iter().map(|(name, kind)| shown(name, kind)).collect();
    ok(json!({ "thingTypes": listed, "nextToken": next }))
}

async fn describe(State(cloud): App, Path(name): Path<String>) -> Reply {
    let kind = cloud.registry(|r| r.thing_type(&name).cloned())?;
    let mut answer = shown(&name, &kind);
    answer["thingTypeId"] = json!(kind.id);
    ok(answer)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Create {
    thing_type_properties: Properties,
    tags: Vec<Tag>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Properties {
    thing_type_description: Option<String>,
    searchable_attributes: Vec<String>,
}

async fn create(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    let wanted: Create = body(&bytes)?;
    let properties = wanted.thing_type_properties;
    let now_ms = cloud.clock.now_ms();
    let id = cloud.change(|r| {
        r.create_type(&name, properties.thing_type_description, properties.searchable_attributes, now_ms)?;
        r.tag(&type_arn(&name), pairs(wanted.tags))?;
        r.thing_type(&name).map(|t| t.id.clone())
    })?;
    ok(json!({ "thingTypeName": name, "thingTypeArn": type_arn(&name), "thingTypeId": id }))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Deprecate {
    undo_deprecate: bool,
}

async fn deprecate(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    let wanted: Deprecate = body(&bytes)?;
    let now_ms = cloud.clock.now_ms();
    cloud.change(|r| r.deprecate_type(&name, wanted.undo_deprecate, now_ms))?;
    done()
}

async fn remove(State(cloud): App, Path(name): Path<String>) -> Reply {
    let now_ms = cloud.clock.now_ms();
    cloud.change(|r| r.delete_type(&name, now_ms))?;
    done()
}

fn shown(name: &str, kind: &ThingType) -> Value {
    let mut metadata = json!({
        "deprecated": kind.deprecated_ms.is_some(),
        "creationDate": seconds(kind.created_ms),
    });
    if let Some(at) = kind.deprecated_ms {
        metadata["deprecationDate"] = json!(seconds(at));
    }
    json!({
        "thingTypeName": name,
        "thingTypeArn": type_arn(name),
        "thingTypeProperties": {
            "thingTypeDescription": kind.description,
            "searchableAttributes": kind.searchable,
        },
        "thingTypeMetadata": metadata,
    })
}

fn type_arn(name: &str) -> String {
    arn(&format!("thingtype/{name}"))
}
