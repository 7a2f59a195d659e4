//! Trades from before the simulator's start, for REST answers.

use crate::clock;
use crate::config::SimConfig;
use crate::ledger::TradeRecord;
use crate::market::{Instrument, Side, draw_in};

/// Trades spread evenly over the minutes before now, with ids ending just below `first_id`.
pub(super) fn trades(
    instrument: &Instrument,
    (minutes, per_minute): (u32, u32),
    seed: u64,
    first_id: u64,
) -> Vec<TradeRecord> {
    let now_ms = clock::now_ms();
    let count = i64::from(minutes) * i64::from(per_minute);
    let start_ms = now_ms - i64::from(minutes) * 60_000;
    let first = first_id.saturating_sub(count.unsigned_abs());
    let one = |n: i64| {
        let id = first + n.unsigned_abs();
        let ticks = instrument.start_ticks + draw_in(-20..21, seed, 31, n);
        let trade_ms = start_ms + n * 60_000 / i64::from(per_minute.max(1));
        TradeRecord {
            id,
            matches: (id, id),
            price: instrument.price(ticks.max(1)),
            quantity: instrument.quantity(draw_in(1..instrument.usual_steps.max(2), seed, 32, n)),
            taker: if draw_in(0..2, seed, 33, n) == 0 { Side::Bid } else { Side::Ask },
            trade_ms,
            event_ms: trade_ms,
            sends: Vec::new(),
            withheld: 0,
        }
    };
    (0..count).map(one).collect()
}

pub(super) fn shared(per_symbol: usize, symbols: usize) -> usize {
    per_symbol.min(SimConfig::KEPT_TOTAL / symbols.max(1))
}
