//! Channels: `book|trades|ticker.{instrument}.{100ms|agg2}`, and one per volatility index.

use std::sync::Arc;

use crate::market::Instrument;
use crate::venue::Listed;

/// Channels of an instrument, in the order of [`Listed::streams`].
const CHANNELS: [&str; 3] = ["book", "trades", "ticker"];
/// Their intervals, each channel with each.
const INTERVALS: [&str; 2] = ["100ms", "agg2"];

/// Volatility indices there are.
pub(super) const INDICES: [&str; 2] = ["btc_usd", "eth_usd"];

pub(super) fn names(instrument: &Instrument) -> Vec<Arc<str>> {
    let of = |channel: &&str| {
        let symbol = &instrument.symbol;
        INTERVALS.map(|interval| Arc::from(format!("{channel}.{symbol}.{interval}")))
    };
    CHANNELS.iter().flat_map(of).collect()
}

pub(super) fn index(name: &str) -> String {
    format!("deribit_volatility_index.{name}")
}

/// The streams of a channel, by interval.
pub(super) fn of<'a>(listed: &'a Listed, channel: &str) -> &'a [Arc<str>] {
    let at = CHANNELS.iter().position(|name| *name == channel).map(|n| n * INTERVALS.len());
    at.and_then(|at| listed.streams.get(at..at + INTERVALS.len())).unwrap_or_default()
}
