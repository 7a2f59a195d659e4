//! The commands of `marketprism-central`.

mod command_line;
mod repair;
mod reports;

pub use command_line::main;
