//! The program `certrotctl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    certrotd::ctl::main()
}
