//! Policies and their versions.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, patch, post};
use certrot_rules::documents::POLICY_LIMIT;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Page, Problem, Reply, Tag, body, done, ok, op, pairs, seconds};
use crate::cloud::Cloud;
use crate::policy;
use crate::registry::control::Policy;
use crate::registry::{RegistryError, arn};

pub(super) fn routes(cloud: &Arc<Cloud>) -> Router<Arc<Cloud>> {
    let op = |name, handler| op(cloud, name, handler);
    Router::new()
        .route("/policies", op("ListPolicies", get(list)))
        .route("/policies/{name}", op("GetPolicy", get(describe)))
        .route("/policies/{name}", op("CreatePolicy", post(create)))
        .route("/policies/{name}", op("DeletePolicy", delete(remove)))
        .route("/policies/{name}/version", op("ListPolicyVersions", get(versions)))
        .route("/policies/{name}/version", op("CreatePolicyVersion", post(add)))
        .route("/policies/{name}/version/{version}", op("GetPolicyVersion", get(version)))
        .route("/policies/{name}/version/{version}", op("SetDefaultPolicyVersion", patch(set_default)))
        .route("/policies/{name}/version/{version}", op("DeletePolicyVersion", delete(remove_version)))
}

async fn list(State(cloud): App, Query(page): Query<Page>) -> Reply {
    let (found, next): (Vec<String>, _) = page.cut(cloud.registry(|r| r.policies.keys().cloned().collect()));
    ok(json!({ "policies": named(&found), "nextMarker": next }))
}

async fn describe(State(cloud): App, Path(name): Path<String>) -> Reply {
    let policy = cloud.registry(|r| r.policy(&name).cloned())?;
    ok(json!({
        "policyName": name,
        "policyArn": policy_arn(&name),
        "policyDocument": policy.versions.document(),
        "defaultVersionId": policy.versions.default.to_string(),
        "creationDate": seconds(policy.created_ms),
        "lastModifiedDate": seconds(policy.modified_ms),
        "generationId": name,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    policy_document: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

impl Document {
    fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let document: Self = body(bytes)?;
        let malformed = |why: String| Problem::new(400, "MalformedPolicyException", why);
        policy::Policy::parse(&document.policy_document).map_err(|e| malformed(e.to_string()))?;
        // AWS IoT quota: 2048 characters, blanks left out.
        let size = document.policy_document.chars().filter(|c| !c.is_whitespace()).count();
        if size > POLICY_LIMIT {
            return Err(malformed(format!("the document has {size} characters, {POLICY_LIMIT} are allowed")));
        }
        Ok(document)
    }
}

async fn create(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    let Document { policy_document, tags } = Document::read(&bytes)?;
    // AWS's model: PolicyName.
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    if !(1..=128).contains(&name.len()) || !name.bytes().all(letter) {
        return Err(Problem::invalid("policyName must match [\\w+=,.@-]{1,128}"));
    }
    let now_ms = cloud.clock.now_ms();
    cloud.change(|r| {
        if r.policies.contains_key(&name) {
            return Err(RegistryError::Exists(format!("Policy {name}")));
        }
        r.put_policy(&name, &policy_document, now_ms);
        r.tag(&policy_arn(&name), pairs(tags))
    })?;
    ok(json!({
        "policyName": name,
        "policyArn": policy_arn(&name),
        "policyDocument": policy_document,
        "policyVersionId": "1",
    }))
}

async fn remove(State(cloud): App, Path(name): Path<String>) -> Reply {
    cloud.change(|r| r.delete_policy(&name))?;
    done()
}

async fn versions(State(cloud): App, Path(name): Path<String>) -> Reply {
    let policy = cloud.registry(|r| r.policy(&name).cloned())?;
    let listed: Vec<Value> = policy
        .versions
        .all
        .iter()
        .map(|(number, version)| {
            json!({
                "versionId": number.to_string(),
                "isDefaultVersion": *number == policy.versions.default,
                "createDate": seconds(version.created_ms),
            })
        })
        .collect();
    ok(json!({ "policyVersions": listed }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Add {
    #[serde(default)]
    set_as_default: bool,
}

async fn add(State(cloud): App, Path(name): Path<String>, Query(add): Query<Add>, bytes: Bytes) -> Reply {
    let Document { policy_document, .. } = Document::read(&bytes)?;
    let now_ms = cloud.clock.now_ms();
    let number = changed(&cloud, &name, |p| p.versions.add(&policy_document, add.set_as_default, now_ms))?;
    ok(json!({
        "policyArn": policy_arn(&name),
        "policyDocument": policy_document,
        "policyVersionId": number.to_string(),
        "isDefaultVersion": add.set_as_default,
    }))
}

async fn version(State(cloud): App, Path((name, number)): Path<(String, u32)>) -> Reply {
    let policy = cloud.registry(|r| r.policy(&name).cloned())?;
    let version = policy.versions.get(number)?;
    ok(json!({
        "policyArn": policy_arn(&name),
        "policyName": name,
        "policyDocument": version.document,
        "policyVersionId": number.to_string(),
        "isDefaultVersion": number == policy.versions.default,
        "creationDate": seconds(version.created_ms),
        "lastModifiedDate": seconds(version.created_ms),
        "generationId": name,
    }))
}

async fn set_default(State(cloud): App, Path((name, number)): Path<(String, u32)>) -> Reply {
    changed(&cloud, &name, |p| p.versions.set_default(number))?;
    done()
}

async fn remove_version(State(cloud): App, Path((name, number)): Path<(String, u32)>) -> Reply {
    changed(&cloud, &name, |p| p.versions.remove(number))?;
    done()
}

fn changed<T>(
    cloud: &Cloud,
    name: &str,
    change: impl FnOnce(&mut Policy) -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    let now_ms = cloud.clock.now_ms();
    cloud.change(|r| {
        let policy = r.policy_mut(name)?;
        policy.modified_ms = now_ms;
        change(policy)
    })
}

/// Policies as lists show them.
pub(super) fn named(names: &[String]) -> Vec<Value> {
    names.iter().map(|n| json!({ "policyName": n, "policyArn": policy_arn(n) })).collect()
}

fn policy_arn(name: &str) -> String {
    arn(&format!("policy/{name}"))
}
