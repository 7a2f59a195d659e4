//! The commands of `marketprism-central`, one file each.

mod command_line;
mod init;
mod repair;
mod run;

pub use command_line::main;
