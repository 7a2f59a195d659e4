//! Which trades were forced, and by whom. The venue marks them only on REST and only when they are old.

use crate::ledger::{Told, TradeRecord};
use crate::market::reference::draw_in;
use crate::market::{Instrument, Side};
use crate::venue;

/// Who was forced in a trade.
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

    /// Sides of the forced orders.
    fn sides(self, taker: Side) -> Vec<Side> {
        match self {
            Forced::Maker => vec![taker.opposite()],
            Forced::Taker => vec![taker],
            Forced::Both => vec![taker, taker.opposite()],
        }
    }
}

/// One trade in six, of each kind as many.
pub(super) fn of(instrument: &Instrument, record: &TradeRecord) -> Option<Forced> {
    let seed = instrument.symbol.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte));
    match draw_in(0..18, seed, 41, record.id.cast_signed()) {
        0 => Some(Forced::Maker),
        1 => Some(Forced::Taker),
        2 => Some(Forced::Both),
        _ => None,
    }
}

/// What a marked trade tells: an order of each forced side. `trade_id` is the trade's number.
pub(super) fn told(instrument: &Instrument, record: &TradeRecord, forced: Forced) -> Vec<Told> {
    let one = |side| {
        let (sizes, times) = ((record.price, record.quantity), (record.trade_ms, record.trade_ms));
        let mut told = venue::forced(instrument, side, sizes, times);
        told.values.insert("trade_id", record.id.to_string());
        told
    };
    forced.sides(record.taker).into_iter().map(one).collect()
}
