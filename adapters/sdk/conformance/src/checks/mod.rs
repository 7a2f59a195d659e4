//! The checks, one file for each promise or group of promises.

mod component;
mod cost;
mod decimals;
mod determinism;
mod expected_input;
mod frames;
mod golden;
mod instruments;
mod malformed;
mod plan;
mod refusals;
mod scales;
mod sequence;
mod simulator;
mod split;

pub(crate) use component::{contract, describe, refused};
pub use cost::BenchEffort;
pub(crate) use cost::cost;
pub(crate) use decimals::decimals;
pub(crate) use determinism::{batching, determinism};
pub(crate) use frames::frames;
pub(crate) use golden::golden;
pub(crate) use instruments::instruments;
pub(crate) use malformed::malformed;
pub(crate) use plan::plan;
pub(crate) use refusals::refusals;
pub(crate) use scales::scales;
pub(crate) use sequence::sequence;
pub(crate) use simulator::simulator;
pub(crate) use split::split;

/// Why a check that needs instruments could not be made.
pub(crate) const NO_MARKET: &str =
    "no answers to the adapter's instrument requests: give golden frames or a recording";

/// Why a check that needs frames could not be made.
pub(crate) const NO_FRAMES: &str = "no frames: give golden frames or a recording";
