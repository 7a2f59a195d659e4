//! REST requests under budgets.

mod client;
mod refusals;
mod retry_after;

pub(crate) use client::StampUrl;
pub use client::{RestClient, http_client};
pub(crate) use refusals::{apply_refusal, charges_or_origin};
pub(crate) use retry_after::retry_after;
