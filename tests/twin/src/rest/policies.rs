//! Policies and their targets; publishing over HTTPS (the data plane's one call that tests use).

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post, put};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Page, Problem, Reply, body, certificate_of, done, gate, ok};
use crate::broker::topic;
use crate::cloud::Cloud;
use crate::policy::Policy;
use crate::registry::{RegistryError, arn};

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/policies", get(list))
        .route("/policies/{name}", get(describe).post(create))
        .route("/policies/{name}/version", post(replace))
        .route("/target-policies/{name}", put(attach).post(detach))
        .route("/attached-policies/{target}", post(attached))
        .route("/topics/{*topic}", post(publish))
}

async fn list(State(cloud): App, Query(page): Query<Page>) -> Reply {
    gate(&cloud, "ListPolicies").await?;
    let (found, next): (Vec<String>, _) = page.cut(cloud.registry(|r| r.policies.keys().cloned().collect()));
    ok(json!({ "policies": named(&found), "nextMarker": next }))
}

async fn describe(State(cloud): App, Path(name): Path<String>) -> Reply {
    gate(&cloud, "GetPolicy").await?;
    let document = cloud.registry(|r| r.policies.get(&name).cloned()).ok_or_else(|| missing(&name))?;
    ok(json!({
        "policyName": name,
        "policyArn": policy_arn(&name),
        "policyDocument": document,
        "defaultVersionId": "1",
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    policy_document: String,
}

impl Document {
    fn read(bytes: &[u8]) -> Result<String, Problem> {
        let document: Self = body(bytes)?;
        Policy::parse(&document.policy_document)
            .map_err(|e| Problem::new(400, "MalformedPolicyException", e.to_string()))?;
        Ok(document.policy_document)
    }
}

async fn create(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    gate(&cloud, "CreatePolicy").await?;
    let document = Document::read(&bytes)?;
    let exists = cloud.change(|r| match r.policies.get(&name) {
        Some(old) if *old != document => true,
        _ => {
            r.policies.insert(name.clone(), document.clone());
            false
        }
    });
    if exists {
        return Err(RegistryError::Exists(format!("Policy {name}")).into());
    }
    ok(json!({
        "policyName": name,
        "policyArn": policy_arn(&name),
        "policyDocument": document,
        "policyVersionId": "1",
    }))
}

/// CreatePolicyVersion; the twin keeps the newest version alone and makes it the default.
async fn replace(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    gate(&cloud, "CreatePolicyVersion").await?;
    let document = Document::read(&bytes)?;
    let known = cloud.change(|r| r.policies.get_mut(&name).map(|old| old.clone_from(&document)).is_some());
    if !known {
        return Err(missing(&name));
    }
    ok(json!({
        "policyArn": policy_arn(&name),
        "policyDocument": document,
        "policyVersionId": "1",
        "isDefaultVersion": true,
    }))
}

#[derive(Deserialize)]
struct Target {
    target: String,
}

async fn attach(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    gate(&cloud, "AttachPolicy").await?;
    let target: Target = body(&bytes)?;
    let seen_ms = cloud.seen_ms();
    cloud.change(|r| r.attach_policy(&name, &certificate_of(&target.target), seen_ms))?;
    done()
}

async fn detach(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    gate(&cloud, "DetachPolicy").await?;
    let target: Target = body(&bytes)?;
    cloud.change(|r| r.detach_policy(&name, &certificate_of(&target.target)))?;
    done()
}

async fn attached(State(cloud): App, Path(target): Path<String>, Query(page): Query<Page>) -> Reply {
    gate(&cloud, "ListAttachedPolicies").await?;
    let id = certificate_of(&target);
    let all = cloud.registry(|r| r.certificate(&id).map(|c| c.policies.keys().cloned().collect()))?;
    let (found, next): (Vec<String>, _) = page.cut(all);
    ok(json!({ "policies": named(&found), "nextMarker": next }))
}

#[derive(Deserialize)]
struct Publish {
    #[serde(default)]
    retain: bool,
}

/// Publish of the data plane; `qos` may be given and is taken as 1.
async fn publish(
    State(cloud): App,
    Path(name): Path<String>,
    Query(how): Query<Publish>,
    bytes: Bytes,
) -> Reply {
    gate(&cloud, "Publish").await?;
    if !topic::is_publishable(&name) {
        return Err(Problem::invalid("topic"));
    }
    cloud.publish(&name, &bytes, how.retain);
    ok(json!({ "message": "OK", "traceId": "twin" }))
}

fn named(names: &[String]) -> Vec<Value> {
    names.iter().map(|n| json!({ "policyName": n, "policyArn": policy_arn(n) })).collect()
}

fn policy_arn(name: &str) -> String {
    arn(&format!("policy/{name}"))
}

fn missing(name: &str) -> Problem {
    RegistryError::NotFound(format!("Policy {name}")).into()
}
