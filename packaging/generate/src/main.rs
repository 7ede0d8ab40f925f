//! Makes what the packages hold beside the programs, each from the one place where it is written:
//!
//! ```text
//! src/ctl/args.rs, provisioning/fleet/src/arguments.rs (clap) ─┐
//! src/arguments.rs (certrotd's --help), src/exit.rs            ├─▶ man pages, completions
//! etc/config.toml ─────────────────────────────────────────────┘
//! Cargo.lock, the crates' own licence files ─────────────────────▶ copyright, third-party licences, CycloneDX
//! [package.metadata.deb] of a Cargo.toml ────────────────────────▶ the same for cargo-generate-rpm
//! ```
//! It is not packed itself, and the programs do not depend on it. `packaging/build` calls it.

mod arguments;
mod bill;
mod config_page;
mod licences;
mod man;
mod programs;
mod rpm;
mod tree;

/// What certrotd's own file of arguments takes from its configuration; a test in that file holds it against the help.
mod config {
    pub const DEFAULT_PATH: &str = "/etc/certrotd/config.toml";
}

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

/// Makes what the packages hold beside the programs.
#[derive(Parser)]
struct Words {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Man pages, by section: DIR/certrotd.8 and so on
    Man { dir: PathBuf },
    /// Completions for bash, zsh and fish, under the names that the shells look for
    Completions { dir: PathBuf },
    /// The copyright file and the licences of what is linked into a package's programs
    Licences {
        /// Where `copyright` and `THIRD-PARTY` go
        dir: PathBuf,
        /// Members of the workspace whose programs the package holds; the first names it
        #[arg(required = true)]
        members: Vec<String>,
    },
    /// The bill of materials, CycloneDX 1.5 in JSON
    Bill {
        file: PathBuf,
        #[arg(required = true)]
        members: Vec<String>,
    },
    /// What cargo-generate-rpm is told, from `[package.metadata.deb]`
    Rpm {
        /// The package's Cargo.toml
        manifest: PathBuf,
        /// Where the scripts post, preun, postun and posttrans are; those that are there count
        scripts: PathBuf,
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Words::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("certrot-generate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Man { dir } => {
            for mut program in programs::all() {
                let page = man::page(&mut program);
                write(&dir.join(format!("{}.8", program.get_name())), page.as_bytes())?;
            }
            write(&dir.join("config.toml.5"), config_page::page(CONFIG)?.as_bytes())
        }
        Command::Completions { dir } => {
            for program in programs::all() {
                let name = program.get_name().to_owned();
                for (shell, file) in [
                    (Shell::Bash, format!("bash/{name}")),
                    (Shell::Zsh, format!("zsh/_{name}")),
                    (Shell::Fish, format!("fish/{name}.fish")),
                ] {
                    let mut text = Vec::new();
                    clap_complete::generate(shell, &mut program.clone(), &name, &mut text);
                    write(&dir.join(file), &text)?;
                }
            }
            Ok(())
        }
        Command::Licences { dir, members } => {
            let tree = tree::linked(&members)?;
            write(&dir.join("copyright"), licences::copyright(&members[0]).as_bytes())?;
            write(&dir.join("THIRD-PARTY"), licences::third_party(&members[0], &tree)?.as_bytes())
        }
        Command::Bill { file, members } => {
            let bill = bill::of(&tree::linked(&members)?, &fs::read_to_string("Cargo.lock")?)?;
            write(&file, bill.as_bytes())
        }
        Command::Rpm { manifest, scripts, file } => {
            write(&file, rpm::metadata(&fs::read_to_string(&manifest)?, &scripts)?.as_bytes())
        }
    }
}

// These files live as long as one build: there is nothing to survive a power cut.
#[allow(clippy::disallowed_methods)]
fn write(path: &Path, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(named)?;
    Ok(fs::write(path, bytes).map_err(named)?)
}

/// The commented configuration.
const CONFIG: &str = include_str!("../../../etc/config.toml");

/// Cargo, as cargo names itself to what it runs.
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
