//! HTTP interface: health, metrics, coverage, report, pages, repair.

mod app;
mod coverage;
mod health;
mod integrity;
mod metrics;
mod openapi;
mod overview;
mod page;
mod problem;
mod repair;
mod server;
mod token;

pub use app::App;
#[cfg(test)]
pub use server::description;
pub use server::{bind, serve};
