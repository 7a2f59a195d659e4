//! One component with several exchange ids of one invented venue. `sound` is correct; every other id has one [`Fault`], which the
//! conformance suite has to find and name. A [`SwapFault`] makes another version of the component.

mod broken;
mod sound;
mod swap_fault;

pub use broken::{Broken, Fault};
pub use swap_fault::SwapFault;

marketprism_adapter_sdk::export_adapter!(Broken);
