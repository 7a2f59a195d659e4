//! The forms that others read: events on the wire, audits; and refusals of false events.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod audit;
mod packed;
mod protobuf;
mod validation;
mod wire;
