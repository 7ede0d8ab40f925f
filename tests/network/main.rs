//! The network cut, garbled, slowed and silenced at every byte: whatever it does, the device comes back by itself.
//!
//! ```text
//! a whole run through a proxy ─▶ its bytes, counted ─▶ two cases for each (case) ─▶ the proxy does it ─▶ judged
//! ```
//! On each commit one of 200 cases runs, others each day; all of them with `CERTROT_NETWORK=all`. A case that failed is run
//! alone by `CERTROT_NETWORK=CASE`, as its line has it. How often a device knocks where it is refused: see [`paced`].

#![allow(clippy::disallowed_methods, reason = "a test's file need not survive anything")]

#[path = "../support/mod.rs"]
mod support;

mod case;
mod paced;
mod proxy;

use case::Case;
use support::matrix::{self, Choice, Scene};

#[test]
fn the_network_fails_at_each_byte_of_a_first_provisioning() {
    bytes(Scene::First);
}

#[test]
fn the_network_fails_at_each_byte_of_a_rotation() {
    bytes(Scene::Rotation);
}

fn bytes(scene: Scene) {
    let all = Case::all(scene);
    let head = format!("{scene}, network: {} bytes seen", all.len() / 2);
    matrix::run(&head, &all, &Choice::from_env("CERTROT_NETWORK"), 200, Case::run);
}
