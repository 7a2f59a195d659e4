//! The command line: commands, arguments, exit status.

mod commands;
mod describe;

pub use commands::main;
