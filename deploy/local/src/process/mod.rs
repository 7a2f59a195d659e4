//! Processes of this machine: identity, owner of a port, starting and stopping the stack's own.

mod control;
mod port;
mod record;

pub use control::{Program, StopResult, keep_sections, rotate, spawn, stop, tail, tail_indented};
pub use port::{PortHolder, holder_of, is_free};
pub use record::{ProcessIdentity, ProcessRecord, ProcessState, command_of, memory_bytes};
