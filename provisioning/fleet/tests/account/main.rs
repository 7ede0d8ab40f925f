//! `certrot-fleet` against an account: the twin for IoT, moto for IAM, STS, Lambda's configuration, SQS and the logs,
//! the real program and the unchanged SDK.

#![allow(clippy::disallowed_methods, reason = "a test's file need not survive anything")]

mod cleanup;
mod devices;
mod gateway;
mod holdings;
mod lab;
mod moto;
mod refusals;
mod setup;
mod story;
mod verify;
