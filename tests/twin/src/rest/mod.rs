//! The REST side: AWS IoT's own control plane as far as it is used here, and `/twin/` for tests in any language.
//!
//! Requests are taken signed or not: nothing here checks a signature, and nothing here listens beyond loopback.

use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cloud::Cloud;

/// Serves until `stop` says so.
pub async fn serve(cloud: Arc<Cloud>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let router: Router = Router::new().with_state(cloud);
    let stopped = async move {
        let _dropped = stop.wait_for(|s| *s).await;
    };
    tokio::select! {
        served = axum::serve(listener, router) => drop(served),
        () = stopped => {}
    }
}
