//! REST requests under budgets.

mod client;
mod refusals;
mod retry_after;

pub(crate) use client::Stamp;
pub use client::{RestClient, http_client};
pub(crate) use refusals::{charges_or_origin, learn};
pub(crate) use retry_after::retry_after;
