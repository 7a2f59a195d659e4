//! Processes of this machine: identity, owner of a port, starting and stopping the stack's own.

mod identity;
mod log;
mod port;
mod record;
mod spawn;
mod stop;

pub use identity::{ProcessIdentity, command_of, memory_bytes};
pub use log::{rotate, tail, tail_indented};
pub use port::{PortHolder, holder_of, is_free};
pub use record::{ProcessRecord, ProcessState};
pub use spawn::{Program, spawn};
pub use stop::{StopResult, stop};
