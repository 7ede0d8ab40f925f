//! `/twin/`: what AWS has not. Faults, time, allow-list, events, connections, for tests in any language.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, put};
use serde::Deserialize;
use serde_json::json;

use super::{App, Reply, body, done, ok};
use crate::broker::sessions::Close;
use crate::cloud::{CLAIM_CERTIFICATE, CLAIM_KEY, Cloud, Validity, lock};
use crate::faults::Fault;

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/twin/info", get(info))
        .route("/twin/events", get(events))
        .route("/twin/faults", get(faults).post(put_fault).delete(clear_faults))
        .route("/twin/time", get(time).post(set_time))
        .route("/twin/validity", put(set_validity))
        .route("/twin/allow-list", get(allow_list).put(set_allow_list))
        .route("/twin/connections", get(connections))
        .route("/twin/connections/{client}", delete(kick))
}

async fn info(State(cloud): App) -> Reply {
    let dir = &cloud.options.dir;
    ok(json!({
        "mqtt": *lock(&cloud.endpoint),
        "ca": dir.join("ca.pem"),
        "claimCertificate": dir.join(CLAIM_CERTIFICATE),
        "claimKey": dir.join(CLAIM_KEY),
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

#[derive(Deserialize)]
struct Since {
    #[serde(default)]
    since: usize,
}

async fn events(State(cloud): App, Query(from): Query<Since>) -> Reply {
    ok(json!(cloud.events.since(from.since)))
}

async fn faults(State(cloud): App) -> Reply {
    ok(json!(cloud.faults.list()))
}

async fn put_fault(State(cloud): App, bytes: Bytes) -> Reply {
    let fault: Fault = body(&bytes)?;
    cloud.faults.put(fault);
    done()
}

async fn clear_faults(State(cloud): App) -> Reply {
    cloud.faults.clear();
    done()
}

async fn time(State(cloud): App) -> Reply {
    ok(json!({ "nowMs": cloud.clock.now_ms() }))
}

/// Orders to the clock; each is optional, and they are done in this order.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct SetTime {
    set_ms: Option<i64>,
    advance_ms: Option<u64>,
    rate: Option<f64>,
}

async fn set_time(State(cloud): App, bytes: Bytes) -> Reply {
    let order: SetTime = body(&bytes)?;
    if let Some(ms) = order.set_ms {
        cloud.clock.set_ms(ms);
    }
    if let Some(ms) = order.advance_ms {
        cloud.clock.advance(Duration::from_millis(ms));
    }
    if let Some(rate) = order.rate {
        cloud.clock.set_rate(rate);
    }
    ok(json!({ "nowMs": cloud.clock.now_ms() }))
}

/// Validity of certificates that are made from now on; without `lifeSeconds` they end in 2049.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetValidity {
    backdate_seconds: u64,
    life_seconds: Option<u64>,
}

async fn set_validity(State(cloud): App, bytes: Bytes) -> Reply {
    let order: SetValidity = body(&bytes)?;
    *lock(&cloud.validity) = Validity {
        backdate: Duration::from_secs(order.backdate_seconds),
        life: order.life_seconds.map(Duration::from_secs),
    };
    done()
}

async fn allow_list(State(cloud): App) -> Reply {
    ok(json!(*lock(&cloud.allow_list)))
}

/// A list of serials, or `null` for no list.
async fn set_allow_list(State(cloud): App, bytes: Bytes) -> Reply {
    *lock(&cloud.allow_list) = body(&bytes)?;
    done()
}

async fn connections(State(cloud): App) -> Reply {
    ok(json!(cloud.sessions(|s| s.connected())))
}

async fn kick(State(cloud): App, Path(client): Path<String>) -> Reply {
    cloud.sessions(|s| s.close_client(&Close::Order, &client));
    done()
}
