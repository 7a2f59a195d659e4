//! HTTP interface: health, metrics, coverage, report, instruments, pages, repair.

mod access;
mod app;
mod documents;
mod handlers;
mod instruments;
mod page;
mod problem;
mod repair;
mod server;

pub use app::App;
#[cfg(test)]
pub use server::description;
pub use server::{bind, serve};
