//! One component with several exchange ids of one invented venue. `sound` is correct; every other id has one [`Fault`], which the
//! conformance suite has to find and name.

mod broken;
mod sound;

pub use broken::{Broken, Fault};

marketprism_adapter_sdk::export_adapter!(Broken);
