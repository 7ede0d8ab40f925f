//! Things, their attributes, and which certificates are attached to them; the account's endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::{delete, get, patch, post, put};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Page, Problem, Reply, body, done, ok, op, principal};
use crate::cloud::Cloud;
use crate::registry::{RegistryError, Thing, arn, certificate_arn};

pub(super) fn routes(cloud: &Arc<Cloud>) -> Router<Arc<Cloud>> {
    let op = |name, handler| op(cloud, name, handler);
    Router::new()
        .route("/endpoint", op("DescribeEndpoint", get(endpoint)))
        .route("/things", op("ListThings", get(list)))
        .route("/things/{name}", op("DescribeThing", get(describe)))
        .route("/things/{name}", op("CreateThing", post(create)))
        .route("/things/{name}", op("UpdateThing", patch(update)))
        .route("/things/{name}", op("DeleteThing", delete(remove)))
        .route("/things/{name}/principals", op("ListThingPrincipals", get(principals)))
        .route("/things/{name}/principals", op("AttachThingPrincipal", put(attach)))
        .route("/things/{name}/principals", op("DetachThingPrincipal", delete(detach)))
        .route("/principals/things", op("ListPrincipalThings", get(things_of)))
}

async fn endpoint() -> Reply {
    // A name without a port, as AWS answers; `/twin/info` has the port.
    ok(json!({ "endpointAddress": "localhost" }))
}

async fn describe(State(cloud): App, Path(name): Path<String>) -> Reply {
    let thing = cloud.registry(|r| r.thing(&name).cloned())?;
    ok(json!({
        "defaultClientId": thing.name,
        "thingName": thing.name,
        "thingId": thing.id,
        "thingArn": thing_arn(&thing),
        "thingTypeName": thing.type_name,
        "attributes": thing.attributes,
        "version": thing.version,
    }))
}

/// Which things are listed.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wanted {
    thing_type_name: Option<String>,
    attribute_name: Option<String>,
    attribute_value: Option<String>,
}

impl Wanted {
    fn takes(&self, thing: &Thing) -> bool {
        let attribute = self.attribute_name.as_ref().map(|n| thing.attributes.get(n).map(String::as_str));
        self.thing_type_name.as_deref().is_none_or(|t| thing.type_name.as_deref() == Some(t))
            && attribute.is_none_or(|found| found == self.attribute_value.as_deref())
    }
}

async fn list(State(cloud): App, Query(page): Query<Page>, Query(wanted): Query<Wanted>) -> Reply {
    let all = cloud.registry(|r| r.things.values().filter(|t| wanted.takes(t)).cloned().collect());
    let (found, next): (Vec<Thing>, _) = page.cut(all);
    let listed: Vec<Value> = found
        .iter()
        .map(|t| {
            json!({
                "thingName": t.name,
                "thingArn": thing_arn(t),
                "thingTypeName": t.type_name,
                "attributes": t.attributes,
                "version": t.version,
            })
        })
        .collect();
    ok(json!({ "things": listed, "nextToken": next }))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Attributes {
    attributes: BTreeMap<String, String>,
    merge: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Update {
    attribute_payload: Option<Attributes>,
    expected_version: Option<i64>,
    thing_type_name: Option<String>,
    remove_thing_type: bool,
}

async fn create(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    let wanted: Update = body(&bytes)?;
    let attributes = wanted.attribute_payload.unwrap_or_default().attributes;
    let thing = cloud.change(|r| {
        if let Some(kind) = &wanted.thing_type_name {
            r.thing_type(kind)?;
        }
        if let Ok(old) = r.thing(&name)
            && old.type_name != wanted.thing_type_name
        {
            return Err(RegistryError::Exists(format!("Thing {name} with another type")));
        }
        let fresh = !r.things.contains_key(&name);
        r.create_thing(&name, attributes)?;
        if fresh && wanted.thing_type_name.is_some() {
            r.set_type(&name, wanted.thing_type_name.as_deref())?;
        }
        r.thing(&name).cloned()
    })?;
    ok(json!({ "thingName": thing.name, "thingArn": thing_arn(&thing), "thingId": thing.id }))
}

async fn update(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    let wanted: Update = body(&bytes)?;
    let payload = wanted.attribute_payload.unwrap_or(Attributes { merge: true, ..Attributes::default() });
    cloud.change(|r| {
        r.update_thing(&name, &payload.attributes, payload.merge, wanted.expected_version)?;
        if wanted.remove_thing_type || wanted.thing_type_name.is_some() {
            r.set_type(&name, wanted.thing_type_name.as_deref())?;
        }
        Ok::<(), RegistryError>(())
    })?;
    done()
}

async fn remove(State(cloud): App, Path(name): Path<String>) -> Reply {
    cloud.change(|r| {
        if !r.principals(&name).is_empty() {
            return Err(Problem::invalid(format!(
                "Cannot delete. Thing {name} is still attached to one or more principals"
            )));
        }
        r.things.remove(&name);
        Ok(())
    })?;
    done()
}

async fn principals(State(cloud): App, Path(name): Path<String>, Query(page): Query<Page>) -> Reply {
    let all = cloud.registry(|r| {
        r.thing(&name)?;
        Ok::<_, Problem>(r.principals(&name).into_iter().map(|c| certificate_arn(&c.id)).collect())
    })?;
    let (found, next): (Vec<String>, _) = page.cut(all);
    ok(json!({ "principals": found, "nextToken": next }))
}

async fn attach(State(cloud): App, Path(name): Path<String>, headers: HeaderMap) -> Reply {
    let (id, seen_ms) = (principal(&headers)?, cloud.seen_ms());
    cloud.change(|r| r.attach_thing(&name, &id, seen_ms))?;
    done()
}

async fn detach(State(cloud): App, Path(name): Path<String>, headers: HeaderMap) -> Reply {
    let id = principal(&headers)?;
    cloud.change(|r| r.detach_thing(&name, &id))?;
    done()
}

async fn things_of(State(cloud): App, headers: HeaderMap, Query(page): Query<Page>) -> Reply {
    let id = principal(&headers)?;
    let all = cloud.registry(|r| r.certificate(&id).map(|c| c.things.keys().cloned().collect()))?;
    let (found, next): (Vec<String>, _) = page.cut(all);
    ok(json!({ "things": found, "nextToken": next }))
}

fn thing_arn(thing: &Thing) -> String {
    arn(&format!("thing/{}", thing.name))
}
