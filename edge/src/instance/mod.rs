//! One process per edge: a file lock in the data folder, and a lease of the name at the broker for processes of other hosts.

mod lease;
mod lock;

pub use lease::{LeaseTimes, NameLease};
pub use lock::{InstanceLock, twin_text};
