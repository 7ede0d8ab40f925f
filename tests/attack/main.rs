//! Attacks on the identity of a device, each against a twin of its own: refused, or without effect on the victim.
//!
//! The attacker holds what attackers hold: the claim pair (every device has it), a device's own pair, a network. Each
//! test ends with the same question: are the victim's certificates, thing, session and inbox as they were? The
//! protections under test are the documents and rules of `provisioning/` and the daemon; the twin only obeys them.

mod applications;
mod commits;
mod connecting;
mod daemon;
mod malformed;
mod provisioning;
mod quarantine;
mod raw;
#[path = "../twin/tests/support/mod.rs"]
mod support;
mod topics;
mod victim;
