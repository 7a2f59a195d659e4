//! The whole system on one machine: installs what is missing, starts the parts, tells how they are, stops them again.
//!
//! Everything that it writes stands in `.marketprism/` of the repository. It stops only processes that it started: each is told by
//! process id, start time and program, so that a process id given out again is never mistaken for ours.

pub mod cli;
mod client;
mod console;
mod home;
pub mod install;
mod limits;
pub mod process;
mod settings;
pub mod stack;
mod venues;

pub use client::Client;
pub use console::Console;
pub use home::{Engine, FileLock, Home};
pub use settings::{ClickHouse, ColdPlace, Ports, Settings};
pub use venues::{Feed, Venues};
