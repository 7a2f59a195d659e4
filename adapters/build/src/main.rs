//! marketprism-adapter-build.
fn main() {}
