//! marketprism-edge.
fn main() {}
