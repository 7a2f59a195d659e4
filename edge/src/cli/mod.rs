//! The command line: commands, arguments, exit status.

mod adapter_test;
mod commands;
mod describe;

pub use commands::main;
