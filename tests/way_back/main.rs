//! The way back and the way in: what the daemon does when the cloud, the disk, the clock or a person is against it.
//!
//! Real `certrotd`, real disk, real TLS, the twin as its cloud; both clocks run faster, so that the quarters of an hour
//! of the rules pass in seconds. Each file is one trouble; `support` is the harness that all end-to-end tests share.

#[path = "../support/mod.rs"]
mod support;

mod again;
mod alive;
mod claim;
mod clock;
mod contested;
mod damage;
mod fallback;
mod first_boot;
mod machine;
mod neighbours;
mod refused;
mod reload;
mod serial;
mod systemd;
mod tools;
