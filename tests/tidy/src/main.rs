//! marketprism-tidy.
fn main() {}
