//! `certrot-fleet` against an account: the twin for IoT, moto for IAM, STS, Lambda's configuration, SQS and the logs,
//! the real program and the unchanged SDK.

mod cleanup;
mod devices;
mod gateway;
mod lab;
mod refusals;
mod setup;
mod story;
