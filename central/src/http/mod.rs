//! Health, metrics and coverage over HTTP.

mod coverage;
mod health;
mod server;

pub use server::{bind, serve};
