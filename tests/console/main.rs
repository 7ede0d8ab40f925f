//! `certrotctl console` from outside: the real program on a real port, raw bytes in front of it, and behind it the real
//! control socket with a fake engine, or a daemon that means ill. What a browser sees is in `browser.mjs`.

#[path = "../control/fake.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod fake;
mod intruders;
mod openapi;
mod peers;
mod served;
mod starting;
