//! HTTP interface: health, metrics, coverage, report, pages, repair.

mod access;
mod app;
mod documents;
mod handlers;
mod page;
mod problem;
mod repair;
mod server;

pub use app::App;
#[cfg(test)]
pub use server::description;
pub use server::{bind, serve};
