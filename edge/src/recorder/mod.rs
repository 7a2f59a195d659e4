//! Writing down what venues send.

mod files;
mod session;
mod tap;

pub use session::record;
