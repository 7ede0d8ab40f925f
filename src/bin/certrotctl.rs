//! The program `certrotctl`.
fn main() {}
