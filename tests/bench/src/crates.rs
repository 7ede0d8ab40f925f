//! The daemon's code by crate, from the symbols of an unstripped build with the profile that is shipped.
//!
//! A function belongs to the crate that its path begins with, an implementation to its type's. What a crate's generics
//! become in another crate's hands is counted where it was written (`core`, `alloc`, `tokio`), not where it was used.

use std::collections::BTreeMap;
use std::process::Command;

use crate::run::BenchError;

/// Builds it beside the shipped one and prints the table.
pub fn crates() -> Result<(), BenchError> {
    let machine = |what| move |source| BenchError::Machine { what, source };
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "--quiet", "--package", "certrotd", "--bin", "certrotd"])
        .args(["--config", "profile.release.strip=\"none\"", "--target-dir", DIRECTORY])
        .status()
        .map_err(machine("run cargo"))?;
    let program = format!("{DIRECTORY}/release/certrotd");
    if !built.success() {
        return Err(BenchError::Missing(program.into()));
    }
    let read = |tool: &'static str, words: &[&str]| {
        let done = Command::new(tool).args(words).arg(&program).output();
        let remedy = "apt-get install binutils";
        done.map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
            .map_err(|_| BenchError::Needed { what: tool, remedy })
    };
    let sizes = by_crate(&read("nm", &["--print-size", "--demangle", "--defined-only"])?);
    let all: u64 = sizes.values().sum();
    let mut rows: Vec<(&String, &u64)> = sizes.iter().collect();
    rows.sort_by_key(|(_, size)| std::cmp::Reverse(**size));
    println!("\ncode of certrotd by crate, bytes of {all}");
    let (shown, rest) = rows.split_at(rows.len().min(SHOWN));
    for (name, size) in shown {
        println!("{name:<34} {size:>9}  {:>5.1} %", **size as f64 * 100.0 / all as f64);
    }
    let others: u64 = rest.iter().map(|(_, size)| **size).sum();
    println!(
        "{:<34} {others:>9}  {:>5.1} %",
        format!("{} others", rest.len()),
        others as f64 * 100.0 / all as f64
    );
    println!("sections, bytes");
    for line in read("size", &["--format=sysv"])?.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(size)) = (words.next(), words.next())
            && size.parse::<u64>().is_ok_and(|s| s >= 10_000)
            && name.starts_with('.')
            && !name.starts_with(".debug")
        {
            println!("{name:<34} {size:>9}");
        }
    }
    Ok(())
}

/// Bytes of functions by crate.
fn by_crate(symbols: &str) -> BTreeMap<String, u64> {
    let mut sizes = BTreeMap::new();
    for line in symbols.lines() {
        let mut words = line.splitn(4, ' ');
        let (Some(_), Some(size), Some(kind), Some(name)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (true, Ok(size)) = ("tTwW".contains(kind), u64::from_str_radix(size, 16)) else { continue };
        *sizes.entry(owner(name)).or_default() += size;
    }
    sizes
}

fn owner(name: &str) -> String {
    let path = name.trim_start_matches(['<', '&', '[', '(', '*']);
    let path =
        ["mut ", "const ", "dyn "].iter().fold(path, |path, word| path.strip_prefix(word).unwrap_or(path));
    match path.split_once("::") {
        Some((first, _)) if first.chars().all(|c| c.is_alphanumeric() || c == '_') => first.to_owned(),
        _ if path.starts_with("ring_core") => "ring (C and assembly)".to_owned(),
        Some(_) => "core".to_owned(),
        None => "no crate (C, start-up)".to_owned(),
    }
}

/// So that it does not take the place of the stripped one.
const DIRECTORY: &str = "target/unstripped";
/// Crates that have a line of their own.
const SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_belongs_to_the_crate_of_its_path_or_of_its_type() {
        let symbols = "0000000000001000 0000000000000010 t <rustls::conn::A as core::fmt::Debug>::fmt\n\
                       0000000000001010 0000000000000020 T certrotd::engine::run\n\
                       0000000000001030 0000000000000003 t ring_core_0_17_14__x25519\n\
                       0000000000001040 0000000000000001 t _start\n\
                       0000000000002000 0000000000000100 r certrotd::TABLE\n\
                       0000000000003000 B bss\n";
        let sizes = by_crate(symbols);
        assert_eq!(sizes.get("rustls"), Some(&16));
        assert_eq!(sizes.get("certrotd"), Some(&32));
        assert_eq!(sizes.get("ring (C and assembly)"), Some(&3));
        assert_eq!(sizes.get("no crate (C, start-up)"), Some(&1));
        assert_eq!(owner("<&mut tokio::x::Y as core::fmt::Write>::write_str"), "tokio");
    }
}
