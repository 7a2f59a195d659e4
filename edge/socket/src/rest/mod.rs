//! REST requests under budgets.

mod client;
mod refusals;

pub(crate) use client::StampUrl;
pub use client::{RestClient, http_client};
pub(crate) use refusals::{apply_refusal, charges_or_origin, retry_after};
