//! The program `certrotd`.
fn main() {}
