//! The program of both hooks; `CERTROT_HOOK` says which template it stands before. Packed as `bootstrap`.

use std::env;
use std::fmt::Display;

use certrot_lambdas::allow_list::AllowList;
use certrot_lambdas::hook::{self, ATTEMPT, Post};
use certrot_lambdas::log::{Level, tell};
use certrot_lambdas::registry::Registry;
use certrot_lambdas::sdk;
use certrot_rules::hook::Answer;
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let list =
        AllowList::from_environment(env::var("CERTROT_ALLOW_LIST").ok(), env::var("LAMBDA_TASK_ROOT").ok());
    let word = env::var("CERTROT_HOOK").ok();
    let post =
        Post::from_environment(word.as_deref(), list).ok_or("CERTROT_HOOK is neither claim nor rotate")?;
    let registry = Registry::new(&sdk::loader(ATTEMPT).load().await);
    let (post, registry) = (&post, &registry);
    run(service_fn(move |event: LambdaEvent<Value>| async move {
        // AWS's own words for who asked and what for: an id each, and nothing that a device wrote.
        let id = |field: &str| event.payload[field].as_str().unwrap_or_default().to_owned();
        let (certificate, asker) = (id("certificateId"), id("claimCertificateId"));
        let of = [("certificateId", &certificate as &dyn Display), ("claimCertificateId", &asker)];
        let answer = hook::answer(post, event.payload, registry, Timestamp::now()).await;
        Ok::<Answer, Error>(match answer {
            Ok(answer) => {
                tell(Level::Info, "allowed", &of);
                answer
            }
            Err(why) => {
                tell(Level::Info, "denied", &[of[0], of[1], ("why", &why)]);
                Answer::deny()
            }
        })
    }))
    .await
}
