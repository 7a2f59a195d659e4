//! Leases: work that only one of several centrals may do at a time.
//!
//! A lease is a key of a JetStream KV bucket, written by compare-and-swap on its revision, so the broker decides who holds
//! it. Clocks of machines are never compared: the holder counts from the *start* of its last successful renewal, by the longer of its
//! monotonic and its wall clock, as the first stops with a machine that is suspended, and stops before the lease time is over; a waiting
//! process counts the same time, or that of the holder, which is in the claim, where that is longer, from when it *saw* the revision,
//! which is later.
//!
//! A process that restarts under the same name (host and listening address; the address is bound before any lease, so the
//! earlier process is dead) reclaims its lease at once.

mod bucket;
mod leases;
mod renewal;

pub use bucket::{BUCKET, BUCKET_DESCRIPTION, LeaseProblem};
pub use leases::{Holder, Leases};
pub use renewal::Lease;
