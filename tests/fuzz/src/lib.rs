//! Fuzz targets. A target takes any bytes, and panics when an invariant is broken. Adapters run natively, loaded with the instruments of their
//! golden frames; `lifting` is a real sandbox whose result is any bytes; `validation` is the host's check and the order-book engine on well-formed
//! results with any content.
#![allow(clippy::panic, reason = "a broken invariant has to stop the fuzzer")]

mod adapter;
mod lifting;
mod targets;
mod validation;

pub use adapter::SEPARATOR;
pub use targets::{TARGETS, Target, seeds};
