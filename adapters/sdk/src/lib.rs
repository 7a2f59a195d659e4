//! What an adapter author needs.
//!
//! An adapter is a type that implements [`Adapter`] and is exported with [`export_adapter!`]. It reads a
//! venue's frames with a [`Cursor`], keeps numbers exact with [`decimal`], names instruments with [`symbol`]
//! and [`InstrumentTable`], and hands back what the frames mean through an [`Output`]. The same code compiles
//! to a WebAssembly component and natively, so that tests and benchmarks can run it without a sandbox.

#![warn(missing_docs)]

mod adapter;
pub mod bindings;
mod cursor;
pub mod decimal;
mod feed;
mod instruments;
pub mod log;
mod object;
mod output;
mod select;
mod simple;
mod skip;
mod strings;
mod swar;
pub mod symbol;
#[cfg(feature = "testkit")]
pub mod testkit;
mod types;
mod values;

pub use adapter::Adapter;
pub use cursor::{Cursor, Fault, Scan, key};
pub use decimal::{DecimalError, Scale};
pub use feed::{Endpoints, check_feed, closest, data_type_name, market_type_name, refusal};
pub use instruments::InstrumentTable;
pub use object::{Object, each_element};
pub use output::{Frame, Output, each_frame, not_loaded};
pub use select::select;
pub use simple::{Listing, Loaded, Origin, Simple, SimpleAdapter};
pub use types::*;
pub use values::{Sides, amount, amount_at, side};
