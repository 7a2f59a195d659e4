//! Faults on command, with filters and counts.

mod registry;
mod spec;

pub use registry::{Faults, FrameFacts, RestEffect, RestFacts};
pub use spec::{FaultAction, FaultError, FaultId, FaultSpec, FaultStatus, corrupted, garbage_binary};
