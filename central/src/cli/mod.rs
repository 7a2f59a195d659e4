//! The commands of `marketprism-central`, one file each.

mod command_line;
mod diagnose;
mod init;
mod integrity;
mod output;
mod repair;
mod run;
mod status;

pub use command_line::main;
