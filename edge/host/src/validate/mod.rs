//! Checks of everything that an adapter returns, before it is used. An error names the field, its value and
//! what is allowed.

mod contradictions;
mod description;
mod instruments;
mod normalized;
mod plan;
mod rules;

pub use contradictions::{plan_problems, request_problems};
pub(crate) use description::description;
pub(crate) use instruments::instruments;
pub(crate) use normalized::{ResultBounds, normalized};
pub(crate) use plan::{plan, requests};
