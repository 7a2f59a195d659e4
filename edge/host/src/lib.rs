//! The host of adapters: it runs WebAssembly components that turn a venue's frames into events, and survives
//! whatever they do.
//!
//! An [`Adapter`] is a compiled component. A [`Sandbox`] is one instance of it under [`Limits`]: every call
//! has a deadline, memory is capped, and what comes back is checked before anybody uses it. [`Supervised`] is
//! what a pipeline uses: it replaces an instance that faulted, keeps the frame that made it fault, and goes
//! on with the next one.
//!
//! Everything is synchronous: a call takes microseconds. Call it from a thread of its own or from
//! `block_in_place`.

#![warn(missing_docs)]

mod adapter;
mod circuit;
mod error;
mod frames;
mod limiter;
mod limits;
mod logging;
mod merge;
mod quarantine;
mod rate;
mod references;
mod rounds;
mod runtime;
mod sandbox;
mod stats;
mod supervised;
mod v1;
mod validate;
mod version;

pub mod contract;
#[cfg(feature = "fixtures")]
pub mod fixtures;

pub use adapter::Adapter;
pub use circuit::{FaultPolicy, Health};
pub use error::{CallError, Fault, FaultCause, LoadError};
pub use frames::{Frame, FrameBatch, MAX_BATCH_BYTES, MAX_BATCH_FRAMES, MAX_FRAME_BYTES, PushError};
pub use limits::Limits;
pub use quarantine::{Origin, Quarantine, QuarantineError, Suspect};
pub use rounds::InstrumentRounds;
pub use runtime::{Engine, EngineError};
pub use sandbox::Sandbox;
pub use stats::{Stats, StatsSnapshot};
pub use supervised::{FrameFault, Outcome, Supervised};
