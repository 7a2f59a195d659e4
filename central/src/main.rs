//! marketprism-central.
fn main() {}
