//! Processes of this machine: who is who, who holds a port, starting and stopping ours and only ours.

mod identity;
mod log;
mod port;
mod record;
mod spawn;
mod stop;

pub use identity::{Identity, command_of, memory_bytes};
pub use log::{rotate, tail, tail_indented};
pub use port::{PortHolder, holder_of, is_free};
pub use record::{Liveness, Record};
pub use spawn::{Program, spawn};
pub use stop::{Stopped, stop};
