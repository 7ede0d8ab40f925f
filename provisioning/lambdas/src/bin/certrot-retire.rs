//! The program of the retire handler, invoked by the topic rule on commits. Packed as `bootstrap`.

use std::env;
use std::time::Duration;

use certrot_lambdas::log::{Level, tell};
use certrot_lambdas::registry::Registry;
use certrot_lambdas::retire::{self, ATTEMPT};
use certrot_lambdas::sdk;
use jiff::Timestamp;
use lambda_runtime::{Context, Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};
use tokio::time::Instant;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let thing_type = env::var("CERTROT_THING_TYPE").ok();
    let registry = Registry::new(&sdk::loader(ATTEMPT).load().await);
    let (thing_type, registry) = (thing_type.as_deref(), &registry);
    run(service_fn(move |event: LambdaEvent<Value>| async move {
        let (now, end) = (Timestamp::now(), end(&event.context));
        let registry =
            registry.beside(&event.context.invoked_function_arn).ok_or("no ARN of this function")?;
        let handled = retire::handle(&event.payload, thing_type, &registry, now, end).await;
        let reply = handled.inspect_err(|error| tell(Level::Error, "failed", &[("why", error)]))?;
        Ok::<Value, Error>(json!({ "accepted": reply.is_accepted() }))
    }))
    .await
}

/// When the invocation must be over, as Lambda says in milliseconds since the epoch.
fn end(context: &Context) -> Instant {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    Instant::now() + Duration::from_millis(context.deadline.saturating_sub(now))
}
