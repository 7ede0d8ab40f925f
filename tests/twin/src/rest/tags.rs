//! Tags of policies, templates, rules, thing types and thing groups.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Page, Problem, Reply, Tag, body, done, ok, op, pairs};
use crate::cloud::Cloud;

pub(super) fn routes(cloud: &Arc<Cloud>) -> Router<Arc<Cloud>> {
    let op = |name, handler| op(cloud, name, handler);
    Router::new()
        .route("/tags", op("ListTagsForResource", get(list)))
        .route("/tags", op("TagResource", post(tag)))
        .route("/untag", op("UntagResource", post(untag)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource_arn: String,
}

async fn list(State(cloud): App, Query(resource): Query<Resource>, Query(page): Query<Page>) -> Reply {
    let arn = resource.resource_arn;
    let all = cloud.registry(|r| {
        r.check_taggable(&arn)?;
        let tags = r.tags.get(&arn).into_iter().flatten();
        Ok::<_, Problem>(tags.map(|(key, value)| json!({ "Key": key, "Value": value })).collect())
    })?;
    let (found, next): (Vec<Value>, _) = page.cut(all);
    ok(json!({ "tags": found, "nextToken": next }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Add {
    resource_arn: String,
    tags: Vec<Tag>,
}

async fn tag(State(cloud): App, bytes: Bytes) -> Reply {
    let wanted: Add = body(&bytes)?;
    cloud.change(|r| {
        r.check_taggable(&wanted.resource_arn)?;
        r.tag(&wanted.resource_arn, pairs(wanted.tags))
    })?;
    done()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remove {
    resource_arn: String,
    tag_keys: Vec<String>,
}

async fn untag(State(cloud): App, bytes: Bytes) -> Reply {
    let wanted: Remove = body(&bytes)?;
    cloud.change(|r| {
        r.check_taggable(&wanted.resource_arn)?;
        if let Some(tags) = r.tags.get_mut(&wanted.resource_arn) {
            tags.retain(|key, _| !wanted.tag_keys.contains(key));
        }
        Ok::<(), Problem>(())
    })?;
    done()
}
