//! Health and metrics over HTTP.

mod health;
mod server;

pub use server::{bind, serve};
