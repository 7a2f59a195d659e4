//! The checks, one file for each promise or group of promises.

mod backfill;
mod claims;
mod cost;
mod determinism;
mod events;
mod expected_input;
mod instruments;
mod malformed;
mod odd_input;
mod plan;
mod rankings;
mod sequence;
mod simulator;
mod swap;

pub(crate) use backfill::backfill;
pub(crate) use claims::{contract, describe, refusals, refused};
pub use cost::KindFrames;
pub(crate) use cost::{by_kind, cost};
pub(crate) use determinism::{batching, determinism};
pub(crate) use events::{decimals, frames, golden, scales};
pub(crate) use instruments::instruments;
pub(crate) use malformed::malformed;
pub(crate) use odd_input::odd_input;
pub(crate) use plan::{plan, split};
pub(crate) use rankings::rankings;
pub(crate) use sequence::sequence;
pub(crate) use simulator::simulator;
pub(crate) use swap::{replaces, swap};

pub(crate) const NO_MARKET: &str =
    "no answers to the adapter's instrument requests: give golden frames or a recording";

pub(crate) const NO_FRAMES: &str = "no frames: give golden frames or a recording";
