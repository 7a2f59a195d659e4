//! REST requests under budgets.

mod client;
mod retry_after;

pub(crate) use client::learn;
pub use client::{RestClient, http_client};
pub(crate) use retry_after::retry_after;
