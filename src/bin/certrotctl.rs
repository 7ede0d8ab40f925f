//! The program `certrotctl`.

use std::process::ExitCode;

#[cfg(static_unwinder)]
#[path = "../../packaging/unwinder.rs"]
mod unwinder;

fn main() -> ExitCode {
    certrotd::ctl::main()
}
