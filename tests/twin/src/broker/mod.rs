//! The MQTT broker: mTLS in, one task a connection, rights by policy, sessions that outlive connections.
//!
//! ```text
//! socket ─▶ tls ─▶ wire (codec) ─▶ connection ─▶ access (policies)
//!                                      │  ▲
//!                                      ▼  │ Out
//!                                   sessions ◀── provision, rules, REST
//! ```

pub mod connection;
mod entry;
mod index;
pub mod message;
pub mod packets;
pub mod sessions;
pub mod topic;
pub mod wire;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::cloud::Cloud;

/// Accepts connections until `stop` says so.
pub async fn serve(
    cloud: Arc<Cloud>,
    listener: TcpListener,
    tls: TlsAcceptor,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let Ok((socket, _)) = accepted else { continue };
        // Without it Nagle and delayed acknowledgements add 40 ms to each small packet.
        let _best_effort = socket.set_nodelay(true);
        tokio::spawn(connection::run(cloud.clone(), socket, tls.clone()));
    }
}
