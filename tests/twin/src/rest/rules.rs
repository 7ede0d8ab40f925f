//! Topic rules. One that is not there is answered as AWS does: `UnauthorizedException`, for a reader and a remover alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::{delete, get, patch, post};
use serde_json::{Value, json};

use super::{App, Page, Problem, Reply, body, done, ok, op, seconds};
use crate::cloud::Cloud;
use crate::registry::control::Rule;
use crate::registry::{RegistryError, arn};
use crate::sql::Sql;

pub(super) fn routes(cloud: &Arc<Cloud>) -> Router<Arc<Cloud>> {
    let op = |name, handler| op(cloud, name, handler);
    Router::new()
        .route("/rules", op("ListTopicRules", get(list)))
        .route("/rules/{name}", op("GetTopicRule", get(describe)))
        .route("/rules/{name}", op("CreateTopicRule", post(create)))
        .route("/rules/{name}", op("ReplaceTopicRule", patch(replace)))
        .route("/rules/{name}", op("DeleteTopicRule", delete(remove)))
        .route("/rules/{name}/enable", op("EnableTopicRule", post(enable)))
        .route("/rules/{name}/disable", op("DisableTopicRule", post(disable)))
}

async fn list(State(cloud): App, Query(page): Query<Page>) -> Reply {
    let all = cloud.registry(|r| r.rules.iter().map(|(n, rule)| (n.clone(), rule.clone())).collect());
    let (found, next): (Vec<(String, Rule)>, _) = page.cut(all);
    let listed: Vec<Value> = found
        .iter()
        .map(|(name, rule)| {
            json!({
                "ruleArn": rule_arn(name),
                "ruleName": name,
                "topicPattern": Sql::parse(rule.sql()).map(|s| s.filter().to_owned()).ok(),
                "createdAt": seconds(rule.created_ms),
                "ruleDisabled": rule.is_disabled(),
            })
        })
        .collect();
    ok(json!({ "rules": listed, "nextToken": next }))
}

async fn describe(State(cloud): App, Path(name): Path<String>) -> Reply {
    let rule = cloud.registry(|r| r.rules.get(&name).cloned()).ok_or_else(|| missing(&name))?;
    let mut shown = rule.payload.clone();
    shown["ruleName"] = json!(name);
    shown["createdAt"] = json!(seconds(rule.created_ms));
    shown["ruleDisabled"] = json!(rule.is_disabled());
    ok(json!({ "ruleArn": rule_arn(&name), "rule": shown }))
}

async fn create(State(cloud): App, Path(name): Path<String>, headers: HeaderMap, bytes: Bytes) -> Reply {
    // AWS's model: RuleName.
    if !(1..=128).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(Problem::invalid("ruleName must match [a-zA-Z0-9_]{1,128}"));
    }
    let payload = payload(&bytes)?;
    let tags = tags(&headers)?;
    let created_ms = cloud.clock.now_ms();
    cloud.change(|r| {
        if r.rules.contains_key(&name) {
            return Err(RegistryError::Exists(format!("Rule {name}")));
        }
        r.rules.insert(name.clone(), Rule { payload, created_ms });
        r.tag(&rule_arn(&name), tags)
    })?;
    done()
}

async fn replace(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    let payload = payload(&bytes)?;
    changed(&cloud, &name, |rule| rule.payload = payload)
}

async fn enable(State(cloud): App, Path(name): Path<String>) -> Reply {
    changed(&cloud, &name, |rule| rule.payload["ruleDisabled"] = json!(false))
}

async fn disable(State(cloud): App, Path(name): Path<String>) -> Reply {
    changed(&cloud, &name, |rule| rule.payload["ruleDisabled"] = json!(true))
}

async fn remove(State(cloud): App, Path(name): Path<String>) -> Reply {
    let known = cloud.change(|r| {
        r.tags.remove(&rule_arn(&name));
        r.rules.remove(&name).is_some()
    });
    if known { done() } else { Err(missing(&name)) }
}

fn changed(cloud: &Cloud, name: &str, change: impl FnOnce(&mut Rule)) -> Reply {
    let known = cloud.change(|r| r.rules.get_mut(name).map(change).is_some());
    if known { done() } else { Err(missing(name)) }
}

/// `topicRulePayload` is the body itself; the SDKs send it so.
fn payload(bytes: &[u8]) -> Result<Value, Problem> {
    let payload: Value = body(bytes)?;
    let rule = Rule { payload, created_ms: 0 };
    Sql::parse(rule.sql()).map_err(|e| Problem::new(400, "SqlParseException", e.to_string()))?;
    if !rule.payload.get("actions").is_some_and(Value::is_array) {
        return Err(Problem::invalid("actions is missing"));
    }
    Ok(rule.payload)
}

/// `x-amz-tagging: key=value&…`.
fn tags(headers: &HeaderMap) -> Result<Vec<(String, String)>, Problem> {
    let Some(text) = headers.get("x-amz-tagging").and_then(|v| v.to_str().ok()) else { return Ok(vec![]) };
    let uri: axum::http::Uri =
        format!("/?{text}").parse().map_err(|_| Problem::invalid("x-amz-tagging cannot be read"))?;
    let tags: Query<BTreeMap<String, String>> =
        Query::try_from_uri(&uri).map_err(|e| Problem::invalid(e.to_string()))?;
    Ok(tags.0.into_iter().collect())
}

fn missing(name: &str) -> Problem {
    Problem::new(401, "UnauthorizedException", format!("Access to topic rule '{name}' was denied"))
}

fn rule_arn(name: &str) -> String {
    arn(&format!("rule/{name}"))
}
