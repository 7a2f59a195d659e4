//! One process per edge: a file lock in the data folder, and a lease of the name at the broker for processes of other hosts. And the signs of
//! life of this process for central.

mod bucket;
mod heartbeat;
mod lease;
mod lock;

pub use heartbeat::HeartbeatWriter;
pub use lease::{LeaseTimes, NameLease};
pub use lock::{InstanceLock, host_name, twin_text};
