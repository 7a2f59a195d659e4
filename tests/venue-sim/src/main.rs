//! marketprism-venue-sim.
fn main() {}
