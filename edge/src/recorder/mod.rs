//! The command `record`: writes what venues send to recordings, publishes nothing.

mod files;
mod session;

pub use session::record;
