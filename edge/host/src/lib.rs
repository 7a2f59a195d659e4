//! Runs adapters: WebAssembly components that turn a venue's frames into events.
//! An [`Adapter`] is a compiled component. A [`Sandbox`] is one instance of it under [`Limits`]: calls have
//! deadlines, memory is capped, results are checked. An [`AdapterSupervisor`] replaces faulted instances,
//! stores the frame that caused the fault and continues with the next frame.
//! Calls are synchronous and take microseconds: use a thread of their own or `block_in_place`.

#![warn(missing_docs)]

mod adapter;
mod circuit_breaker;
mod comparison;
mod compile_cache;
mod error;
mod exports;
mod frames;
mod host_limit;
mod index;
mod limits;
mod logging;
mod mapping;
mod quarantine;
mod reference_answers;
mod runtime;
mod sandbox;
mod signature;
mod stats;
mod supervisor;
mod v1;
mod validate;
mod version1;

pub mod contract;
#[cfg(feature = "fixtures")]
pub mod fixtures;

pub use adapter::Adapter;
pub use circuit_breaker::{FaultPolicy, Health};
pub use comparison::{
    DIFFERENCE_EXAMPLES, DifferenceExample, DifferenceKind, Differences, KindDifferences, add_differences,
    plan_difference, venue_difference,
};
pub use error::{CallError, Fault, LoadError};
pub use frames::{Frame, FrameBatch, MAX_BATCH_BYTES, MAX_BATCH_FRAMES, MAX_FRAME_BYTES, PushError};
pub use host_limit::HostLimit;
pub use index::{FrameIndex, InstrumentIndex, PlanSource, ResyncIndex, SourceIndex, StreamIndex};
pub use limits::Limits;
pub use marketprism_schema::{
    GOLDEN_SECTION, SIGNATURE_SECTION, SignatureError, VerifyingKey, component_digest, custom_section,
    verify_signature, with_custom_section,
};
pub use quarantine::{Quarantine, QuarantineError, QuarantinedFrame};
pub use runtime::{Engine, EngineError};
pub use sandbox::{InstrumentRounds, Sandbox};
pub use signature::SigningKey;
pub use stats::{FaultCause, Stats, StatsSnapshot};
pub use supervisor::{
    AdapterSupervisor, FrameFault, NormalizedBatch, Successor, SuccessorError, SuccessorSeed, TrialMonitor,
    TrialReport,
};
pub use validate::{plan_problems, request_problems};
