//! The program `certrot-fleet`: its command line, its runtime, its exit code; everything else is the library's.

use std::error::Error;
use std::process::ExitCode;

use certrot_fleet::arguments::Arguments;
use certrot_fleet::aws::error::Refusal;
use certrot_fleet::error::{FleetError, SOFTWARE, USAGE};
use clap::Parser;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            let _ignored = error.print();
            return ExitCode::from(code);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("certrot-fleet: cannot start: {error}");
            return ExitCode::from(SOFTWARE);
        }
    };
    runtime.block_on(certrot_fleet::run::run(arguments)).unwrap_or_else(|error| told(&error))
}

/// Three lines: what failed, what it rests on, and what clears it.
fn told(error: &FleetError) -> ExitCode {
    let (red, bold) = (anstyle::AnsiColor::Red.on_default().bold(), anstyle::Style::new().bold());
    anstream::eprintln!("{red}error{red:#} {error}");
    // What AWS answered stands in the error itself; below it the SDK only says it again.
    let answered = matches!(error, FleetError::Call(call) if call.refusal != Refusal::Unreachable);
    let mut cause = error.source().filter(|_| !answered);
    let mut last = error.to_string();
    while let Some(source) = cause {
        let text = source.to_string();
        if !last.contains(&text) {
            anstream::eprintln!("      because: {text}");
        }
        last = text;
        cause = source.source();
    }
    anstream::eprintln!("{bold}fix{bold:#}   {}", error.remedy());
    error.exit()
}
