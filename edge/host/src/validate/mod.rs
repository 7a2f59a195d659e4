//! Checks of everything that an adapter returns, before it is used. An error names the field, its value and
//! what is allowed.

mod basics;
mod contradictions;
mod normalized;
mod plan;

pub(crate) use basics::{description, instruments, ranking};
pub use contradictions::{plan_problems, request_problems};
pub(crate) use normalized::{ResultBounds, normalized};
pub(crate) use plan::{backfill, plan, requests};
