//! Liquidations in trades. The venue marks them only on REST, and only when they are old.

use crate::ledger::{EventData, TradeRecord};
use crate::market::{Instrument, Side, draw_in};
use crate::venue::event_data;

/// The liquidated side of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forced {
    Maker,
    Taker,
    Both,
}

impl Forced {
    /// The venue's mark.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Forced::Maker => "M",
            Forced::Taker => "T",
            Forced::Both => "MT",
        }
    }

    fn order_sides(self, taker: Side) -> Vec<Side> {
        match self {
            Forced::Maker => vec![taker.opposite()],
            Forced::Taker => vec![taker],
            Forced::Both => vec![taker, taker.opposite()],
        }
    }
}

/// One trade in six is a liquidation, each kind equally often.
pub(super) fn of(instrument: &Instrument, record: &TradeRecord) -> Option<Forced> {
    let seed = instrument.symbol.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte));
    match draw_in(0..18, seed, 41, record.id.cast_signed()) {
        0 => Some(Forced::Maker),
        1 => Some(Forced::Taker),
        2 => Some(Forced::Both),
        _ => None,
    }
}

/// One liquidation per forced side; `trade_id` is the trade's number.
pub(super) fn events(instrument: &Instrument, record: &TradeRecord, forced: Forced) -> Vec<EventData> {
    let event = |side| {
        let (sizes, times) = ((record.price, record.quantity), (record.trade_ms, record.trade_ms));
        let mut event = event_data::liquidation_of(instrument, side, sizes, times);
        event.values.insert("trade_id", record.id.to_string());
        event
    };
    forced.order_sides(record.taker).into_iter().map(event).collect()
}
