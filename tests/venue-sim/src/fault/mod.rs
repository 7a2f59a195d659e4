//! Faults on command, with filters and counts.

mod corrupt;
mod registry;
mod spec;

pub use corrupt::{corrupted, garbage_binary};
pub use registry::{Faults, FrameFacts, RestEffect, RestFacts};
pub use spec::{FaultAction, FaultError, FaultId, FaultSpec, FaultStatus};
