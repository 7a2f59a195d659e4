//! marketprism-venue-sim.
