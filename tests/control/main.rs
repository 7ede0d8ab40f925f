//! The control socket from outside: the real server on a real socket, a fake engine behind it, raw bytes, the client
//! and the real `certrotctl` in front of it.

mod fake;
mod limits;
mod messages;
mod paths;
mod program;
mod socket;
mod strangers;
