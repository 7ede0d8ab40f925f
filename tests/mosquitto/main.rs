//! The cloud adapter against a real broker (a plain mosquitto over mutual TLS) and against one that misbehaves.
//!
//! mosquitto shows that what goes over the wire is MQTT and TLS as others speak them; the broker in `fake` does what
//! mosquitto never would. Loopback only; without mosquitto installed the tests fail and say so.

mod broker;
mod fake;
mod misbehaving;
mod pki;
mod real;
mod resumption;
mod take_over;
