//! The whole system on one machine: installs missing parts, starts them, reports their state, stops them.
//!
//! It writes only to `.marketprism/` in the repository, and stops only processes that it started: each is
//! identified by process id, start time and program, so that a reused process id is never mistaken for one
//! of its own.

pub mod cli;
mod client;
mod console;
pub mod install;
mod limits;
mod paths;
pub mod process;
mod settings;
pub mod stack;
mod venues;

pub use client::Client;
pub use console::Console;
use paths::lock;
pub use paths::{Engine, StackPaths};
pub use settings::{ClickHouse, ClickHouseTls, ColdPlace, Ports, Settings};
pub use venues::{Feed, Venues};
