//! The AWS SDK on ring: the SDK's own default brings a second crypto provider, which this workspace does not have.
//!
//! Retries are off: `registry` backs off by itself, because only it knows how much of an invocation's time is left.

use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader};
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

/// An HTTPS client on ring, with the machine's roots. Plain `http://` endpoints work as well (emulators).
pub fn http_client() -> SharedHttpClient {
    Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https()
}

/// A configuration to be loaded: region, credentials and endpoints as every AWS tool finds them, no retries, and
/// `attempt` for one request.
pub fn loader(attempt: Duration) -> ConfigLoader {
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(attempt).build();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
}

/// Within one region a connection takes a few milliseconds.
const CONNECT: Duration = Duration::from_millis(1000);
