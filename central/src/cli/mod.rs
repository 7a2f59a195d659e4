//! The commands of `marketprism-central`.

mod adapters;
mod books;
mod command_line;
mod edges;
mod health;
mod progress;
mod repair;
mod reports;
mod wait;

pub use command_line::main;
