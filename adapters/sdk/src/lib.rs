//! Library for adapter authors: a venue implements [`VenueAdapter`] and is exported with [`export_adapter!`]. Numbers are exact; no function
//! panics on any input. The code compiles to a WebAssembly component and natively, for tests and benchmarks without a sandbox.

#![warn(missing_docs)]

mod adapter;
pub mod bindings;
mod cursor;
pub mod decimal;
mod describe;
mod feed;
mod instrument_table;
mod levels;
mod listing;
pub mod log;
mod object;
mod output;
mod plain_number;
mod plan;
mod ranking;
mod select;
mod skip;
mod strings;
mod swar;
pub mod symbol;
#[cfg(feature = "testkit")]
pub mod testkit;
mod types;
mod values;
mod venue;

pub use adapter::Adapter;
pub use cursor::{Cursor, ParseError, ParseResult, key, wide_key};
pub use decimal::{DecimalError, Scale};
pub use describe::{endpoints, pushed};
pub use feed::{Endpoints, check_feed, closest, data_type_name, market_type_name, refusal};
pub use instrument_table::InstrumentTable;
pub use levels::{BookLevels, BookScales, BookSides, LevelReader, price_and_quantity};
pub use listing::Listing;
pub use object::{Object, each_element, each_member};
pub use output::{Frame, Output, each_frame, not_loaded};
pub use plain_number::PlainNumber;
pub use plan::{budget, charge, get, json_string, numbered, percent_encoded, poll, resubscribe, venue_clock};
pub use ranking::{ranked_row, turnover};
pub use select::select;
pub use swar::same_bytes;
pub use types::*;
pub use values::{
    amount, amount_at, amount_near, calculated_amount, decimal_places, micros_of_millis, millis, once,
    opposite, share, side, unless_unset, unset, value_text,
};
pub use venue::{FrameSource, LoadedFeed, VenueAdapter, VenueInstance};
