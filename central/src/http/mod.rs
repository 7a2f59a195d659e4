//! Health, metrics, coverage, the report and its pages, repairs: over HTTP.

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
pub use server::{bind, serve};
