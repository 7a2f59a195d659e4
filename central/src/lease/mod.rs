//! Leases: what only one of several centrals may do at a time.
//!
//! A lease is a key of a JetStream KV bucket, written by compare-and-swap on its revision, so that the broker decides who has it. No clock
//! is compared with another: the holder counts from the moment at which it *began* its last successful renewal, and gives up before
//! [`crate::limits::LEASE_TIME`] is over; whoever waits counts the same time from the moment at which it *saw* the revision, which is later.
//!
//! A process that comes back under the same name (host and listening address: the address is taken before any lease, so the one before it
//! is dead) takes up its lease at once.

mod bucket;
mod hold;
mod leases;

pub use hold::Lease;
pub use leases::{Holder, Leases};
