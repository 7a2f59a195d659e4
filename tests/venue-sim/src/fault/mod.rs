//! Misbehaviour on command: what is wanted, for whom, how often, and how often it happened.

mod registry;
mod spec;
mod spoil;

pub use registry::{Effect, Faults, FrameFacts, Immediate, RestEffect, RestFacts};
pub use spec::{FaultAction, FaultError, FaultId, FaultSpec, FaultStatus};
pub use spoil::{garbage_binary, garbage_text, half, spoiled, wrong_types};
