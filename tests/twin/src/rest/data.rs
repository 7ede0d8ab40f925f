//! Publishing over HTTPS: the data plane's one call that is used here.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::post;
use serde::Deserialize;
use serde_json::json;

use super::{App, Problem, Reply, ok, op};
use crate::broker::topic;
use crate::cloud::Cloud;
use crate::retire;

pub(super) fn routes(cloud: &Arc<Cloud>) -> Router<Arc<Cloud>> {
    Router::new().route("/topics/{*topic}", op(cloud, "Publish", post(publish)))
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
    if !topic::is_publishable(&name) {
        return Err(Problem::invalid("topic"));
    }
    retire::told(&cloud, &name, &bytes);
    cloud.publish(&name, &bytes, how.retain);
    ok(json!({ "message": "OK", "traceId": "twin" }))
}
