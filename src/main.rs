//! The `v5gate` command line.
fn main() {}
