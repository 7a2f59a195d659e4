//! marketprism-bench.
fn main() {}
