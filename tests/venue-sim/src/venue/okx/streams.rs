//! Channels, and the names under which the simulator keeps them: `channel:instId` or `channel:instType`.

use std::sync::Arc;

use crate::market::{Contract, Instrument};
use crate::venue::Listed;

/// Channels of one instrument, in the order of [`Listed::streams`].
const CHANNELS: [&str; 6] = ["books", "trades", "tickers", "open-interest", "mark-price", "funding-rate"];
/// How many of them spot pairs have.
const SPOT: usize = 3;
/// How many of them contracts without funding have.
const UNFUNDED: usize = 5;

/// Forced orders of all instruments of a type.
pub(super) const LIQUIDATIONS: &str = "liquidation-orders";

/// The venue's name of the kind of instrument. X-Perps are perpetual but listed among the futures.
pub(super) fn instrument_type(instrument: &Instrument) -> &'static str {
    match instrument.contract {
        Contract::Spot => "SPOT",
        Contract::Perpetual if instrument.symbol.contains("_XPERP-") => "FUTURES",
        Contract::Perpetual => "SWAP",
        Contract::Dated { .. } => "FUTURES",
        Contract::Option { .. } => "OPTION",
    }
}

pub(super) fn names(instrument: &Instrument) -> Vec<Arc<str>> {
    let count = match (&instrument.contract, instrument.funding_hours) {
        (Contract::Spot, _) => SPOT,
        (_, None) => UNFUNDED,
        _ => CHANNELS.len(),
    };
    let symbol = &instrument.symbol;
    CHANNELS.iter().take(count).map(|channel| Arc::from(format!("{channel}:{symbol}"))).collect()
}

pub(super) fn shared(listed: &[Listed]) -> Vec<Arc<str>> {
    let mut types: Vec<_> = listed.iter().map(|l| instrument_type(&l.instrument)).collect();
    types.sort_unstable();
    types.dedup();
    let contracts = types.into_iter().filter(|name| *name != "SPOT");
    contracts.map(|name| Arc::from(liquidations(name))).collect()
}

pub(super) fn liquidations(instrument_type: &str) -> String {
    format!("{LIQUIDATIONS}:{instrument_type}")
}

/// The stream of a channel of an instrument, if it has that channel.
pub(super) fn stream<'a>(listed: &'a Listed, channel: &str) -> Option<&'a Arc<str>> {
    let at = CHANNELS.iter().position(|name| *name == channel)?;
    listed.streams.get(at)
}

/// The streams of the channel at a position of the list: none or one.
pub(super) fn slice<'a>(listed: &'a Listed, channel: &str) -> &'a [Arc<str>] {
    let at = CHANNELS.iter().position(|name| *name == channel);
    at.and_then(|at| listed.streams.get(at..=at)).unwrap_or_default()
}
