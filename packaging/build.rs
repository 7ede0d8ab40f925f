//! Build script: what the linker leaves out of the released programs.
//!
//! Every page that the daemon maps is resident on the device for ever. A panic aborts in a release (`[profile.release]`
//! in Cargo.toml), so nothing reads the unwind tables, an eighth of the file: the linker drops them from the daemon.
//! (Cargo has no stable setting for `-C force-unwind-tables=no` in one profile, and the standard library comes with its
//! tables.) What the standard library calls of the unwinder comes from the compiler's archive instead of the shared
//! `libgcc_s`: one mapped library less (`unwinder.rs` answers what that asks of the C library). `tests/bench` shows what each is worth.

// What is written here lives as long as one build: there is nothing to survive a power cut.
#![allow(clippy::disallowed_methods)]

use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=packaging/build.rs");
    println!("cargo::rustc-check-cfg=cfg(static_unwinder)");
    let released = env::var("PROFILE")? == "release";
    if !released || env::var("CARGO_CFG_TARGET_OS")? != "linux" || env::var("CARGO_CFG_TARGET_ENV")? != "gnu"
    {
        return Ok(());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let tables = out.join("no-unwind-tables.ld");
    fs::write(&tables, NO_UNWIND_TABLES)?;
    println!("cargo::rustc-link-arg-bin=certrotd=-Wl,-T,{}", tables.display());
    println!("cargo::rustc-link-arg-bin=certrotd=-Wl,--no-eh-frame-hdr");

    fs::write(out.join("libgcc_s.so"), STATIC_UNWINDER)?;
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-cfg=static_unwinder");
    Ok(())
}

/// `INSERT` leaves the linker's own layout as it is. GNU ld and lld understand it.
const NO_UNWIND_TABLES: &str = "\
SECTIONS { /DISCARD/ : { *(.eh_frame) *(.gcc_except_table .gcc_except_table.*) } }
INSERT AFTER .text;
";
/// Stands before the system's `libgcc_s.so`, which is such a script too, in the linker's search path.
const STATIC_UNWINDER: &str = "INPUT ( -lgcc_eh -lgcc )\n";
