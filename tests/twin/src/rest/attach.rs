//! Which policies are attached to what, and what they allow (TestAuthorization, by the broker's own engine).

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::{post, put};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::policies::named;
use super::{App, Page, Problem, Reply, body, certificate_of, done, ok, op};
use crate::access::{self, Action};
use crate::cloud::Cloud;
use crate::policy::Decision;
use crate::registry::certificate_arn;

pub(super) fn routes(cloud: &Arc<Cloud>) -> Router<Arc<Cloud>> {
    let op = |name, handler| op(cloud, name, handler);
    Router::new()
        .route("/target-policies/{name}", op("AttachPolicy", put(attach)))
        .route("/target-policies/{name}", op("DetachPolicy", post(detach)))
        .route("/attached-policies/{target}", op("ListAttachedPolicies", post(attached)))
        .route("/policy-targets/{name}", op("ListTargetsForPolicy", post(targets)))
        .route("/test-authorization", op("TestAuthorization", post(test)))
}

#[derive(Deserialize)]
struct Target {
    target: String,
}

async fn attach(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    let target: Target = body(&bytes)?;
    let seen_ms = cloud.seen_ms();
    cloud.change(|r| r.attach_policy(&name, &certificate_of(&target.target), seen_ms))?;
    done()
}

async fn detach(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    let target: Target = body(&bytes)?;
    cloud.change(|r| r.detach_policy(&name, &certificate_of(&target.target)))?;
    done()
}

async fn attached(State(cloud): App, Path(target): Path<String>, Query(page): Query<Page>) -> Reply {
    let id = certificate_of(&target);
    let all = cloud.registry(|r| r.certificate(&id).map(|c| c.policies.keys().cloned().collect()))?;
    let (found, next): (Vec<String>, _) = page.cut(all);
    ok(json!({ "policies": named(&found), "nextMarker": next }))
}

async fn targets(State(cloud): App, Path(name): Path<String>, Query(page): Query<Page>) -> Reply {
    let all = cloud.registry(|r| r.policy(&name).map(|_| r.targets(&name)))?;
    let (found, next): (Vec<String>, _) = page.cut(all);
    let arns: Vec<String> = found.iter().map(|id| certificate_arn(id)).collect();
    ok(json!({ "targets": arns, "nextMarker": next }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    principal: Option<String>,
    auth_infos: Vec<AuthInfo>,
    #[serde(default)]
    policy_names_to_add: Vec<String>,
    #[serde(default)]
    policy_names_to_skip: Vec<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthInfo {
    action_type: String,
    resources: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AsClient {
    client_id: String,
}

async fn test(State(cloud): App, Query(client): Query<AsClient>, bytes: Bytes) -> Reply {
    let test: Test = body(&bytes)?;
    let principal = test.principal.as_deref().map(certificate_of).unwrap_or_default();
    cloud.registry(|r| {
        r.certificate(&principal)?;
        test.policy_names_to_add.iter().try_for_each(|name| r.policy(name).map(drop))
    })?;
    let mut results = Vec::new();
    for info in &test.auth_infos {
        results.push(tried(&cloud, &test, &principal, &client.client_id, info)?);
    }
    ok(json!({ "authResults": results }))
}

/// One answer for all resources of an entry: the worst, as a request is as good as its worst part.
fn tried(
    cloud: &Cloud,
    test: &Test,
    principal: &str,
    client: &str,
    info: &AuthInfo,
) -> Result<Value, Problem> {
    let action = match info.action_type.as_str() {
        "CONNECT" => Action::Connect,
        "PUBLISH" => Action::Publish,
        "SUBSCRIBE" => Action::Subscribe,
        "RECEIVE" => Action::Receive,
        other => return Err(Problem::invalid(format!("actionType {other}"))),
    };
    let (add, skip) = (&test.policy_names_to_add, &test.policy_names_to_skip);
    let (mut worst, mut rests) = (Decision::Allow, Vec::new());
    for resource in &info.resources {
        let one = access::tried(cloud, principal, client, action, resource, add, skip);
        let (decision, names) = one.ok_or_else(|| Problem::invalid("a policy document cannot be read"))?;
        let graver = match (worst, decision) {
            (_, Decision::Allow) => worst == Decision::Allow,
            (Decision::ExplicitDeny, _) => false,
            _ => true,
        };
        if graver {
            (worst, rests) = (decision, names);
        }
    }
    let none: Vec<Value> = Vec::new();
    let (word, allowed, denied) = match worst {
        Decision::Allow => ("ALLOWED", named(&rests), none),
        Decision::ExplicitDeny => ("EXPLICIT_DENY", none, named(&rests)),
        Decision::ImplicitDeny => ("IMPLICIT_DENY", none, vec![]),
    };
    Ok(json!({
        "authInfo": info,
        "allowed": { "policies": allowed },
        "denied": {
            "implicitDeny": { "policies": [] },
            "explicitDeny": { "policies": denied },
        },
        "authDecision": word,
        "missingContextValues": [],
    }))
}
