//! The program `certrot-twin`.
fn main() {}
