//! The program `certrotctl`.

use std::process::ExitCode;

#[cfg(static_unwinder)]
include!("../../packaging/unwinder.rs");

fn main() -> ExitCode {
    certrotd::ctl::main()
}
