//! marketprism-local.
fn main() {}
