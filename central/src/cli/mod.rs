//! The commands of `marketprism-central`.

mod ab_latency;
mod adapters;
mod books;
mod broker_users;
mod cleaned_output;
mod command_line;
mod edges;
mod health;
mod progress;
mod query;
mod repair;
mod replaced_file;
mod reports;
mod signals;
mod validation;
mod wait;

pub use command_line::main;
