//! Things, their attributes, and which certificates are attached to them; the account's endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Page, Problem, Reply, body, done, gate, ok, principal};
use crate::cloud::Cloud;
use crate::registry::{Thing, arn, certificate_arn};

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/endpoint", get(endpoint))
        .route("/things", get(list))
        .route("/things/{name}", get(describe).post(create).patch(update).delete(delete))
        .route("/things/{name}/principals", get(principals).put(attach).delete(detach))
        .route("/principals/things", get(things_of))
}

async fn endpoint(State(cloud): App) -> Reply {
    gate(&cloud, "DescribeEndpoint").await?;
    // A name without a port, as AWS answers; `/twin/info` has the port.
    ok(json!({ "endpointAddress": "localhost" }))
}

async fn describe(State(cloud): App, Path(name): Path<String>) -> Reply {
    gate(&cloud, "DescribeThing").await?;
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

async fn list(State(cloud): App, Query(page): Query<Page>) -> Reply {
    gate(&cloud, "ListThings").await?;
    let (found, next): (Vec<Thing>, _) = page.cut(cloud.registry(|r| r.things.values().cloned().collect()));
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
    attribute_payload: Attributes,
    expected_version: Option<i64>,
}

async fn create(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    gate(&cloud, "CreateThing").await?;
    let wanted: Update = body(&bytes)?;
    let thing = cloud.change(|r| {
        r.create_thing(&name, wanted.attribute_payload.attributes)?;
        r.thing(&name).cloned()
    })?;
    ok(json!({ "thingName": thing.name, "thingArn": thing_arn(&thing), "thingId": thing.id }))
}

async fn update(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    gate(&cloud, "UpdateThing").await?;
    let wanted: Update = body(&bytes)?;
    let payload = &wanted.attribute_payload;
    cloud.change(|r| r.update_thing(&name, &payload.attributes, payload.merge, wanted.expected_version))?;
    done()
}

async fn delete(State(cloud): App, Path(name): Path<String>) -> Reply {
    gate(&cloud, "DeleteThing").await?;
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
    gate(&cloud, "ListThingPrincipals").await?;
    let all = cloud.registry(|r| {
        r.thing(&name)?;
        Ok::<_, Problem>(r.principals(&name).into_iter().map(|c| certificate_arn(&c.id)).collect())
    })?;
    let (found, next): (Vec<String>, _) = page.cut(all);
    ok(json!({ "principals": found, "nextToken": next }))
}

async fn attach(State(cloud): App, Path(name): Path<String>, headers: HeaderMap) -> Reply {
    gate(&cloud, "AttachThingPrincipal").await?;
    let (id, seen_ms) = (principal(&headers)?, cloud.seen_ms());
    cloud.change(|r| r.attach_thing(&name, &id, seen_ms))?;
    done()
}

async fn detach(State(cloud): App, Path(name): Path<String>, headers: HeaderMap) -> Reply {
    gate(&cloud, "DetachThingPrincipal").await?;
    let id = principal(&headers)?;
    cloud.change(|r| r.detach_thing(&name, &id))?;
    done()
}

async fn things_of(State(cloud): App, headers: HeaderMap, Query(page): Query<Page>) -> Reply {
    gate(&cloud, "ListPrincipalThings").await?;
    let id = principal(&headers)?;
    let all = cloud.registry(|r| r.certificate(&id).map(|c| c.things.keys().cloned().collect()))?;
    let (found, next): (Vec<String>, _) = page.cut(all);
    ok(json!({ "things": found, "nextToken": next }))
}

fn thing_arn(thing: &Thing) -> String {
    arn(&format!("thing/{}", thing.name))
}
