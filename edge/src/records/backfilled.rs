//! Past trades: only those with missing ids are published, each once. And the positions from which a later run looks for missing ones.

use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::{Payload, TradeId};
use marketprism_schema::{DataSource, DataType};

use super::builder::{InvalidEvent, RecordBuilder, TradeHoles, is_empty};
use super::ids::{TradeIdRange, TradePosition};
use crate::queue::EventRecord;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastTrade {
    /// Its id was missing.
    Fills,
    /// It is not published: another event, or an id that is not missing.
    NotMissing,
    /// Its id is missing, and it is not published: a value cannot be true.
    Invalid { id: u64 },
}

impl RecordBuilder {
    /// Appends the record of a past trade of an instrument to `out`.
    pub fn past_trade(
        &mut self,
        asked: InstrumentIndex,
        payload: &Payload,
        received_at_ns: i64,
        out: &mut Vec<EventRecord>,
    ) -> PastTrade {
        let Payload::Trade(trade) = payload else { return PastTrade::NotMissing };
        let state = self.instruments.get(asked.position()).filter(|_| payload.instrument() == asked);
        let is_missing = |id| state.is_some_and(|state| state.trade_ids.is_missing(id));
        let TradeId::Number(id) = trade.id else { return PastTrade::NotMissing };
        if !is_missing(id) || !self.is_subscribed(DataType::Trade, asked) {
            return PastTrade::NotMissing;
        }
        if is_empty(payload) {
            self.counts.empty += 1;
            self.check_trade(payload, received_at_ns);
            return PastTrade::Fills;
        }
        match self.encoder.event(payload, received_at_ns, DataSource::Backfill) {
            Ok(Some(record)) => {
                if self.is_new(asked, &record) {
                    self.counts.events[DataType::Trade] += 1;
                    out.push(record);
                } else {
                    self.counts.duplicates[DataType::Trade] += 1;
                }
            }
            Ok(None) => return PastTrade::NotMissing,
            Err(error) => {
                self.invalid.push(InvalidEvent { data_type: DataType::Trade, instrument: asked, error });
                return PastTrade::Invalid { id };
            }
        }
        self.check_trade(payload, received_at_ns);
        PastTrade::Fills
    }

    pub fn take_trade_holes(&mut self) -> TradeHoles {
        std::mem::take(&mut self.holes)
    }

    /// The lowest trade ids of a range that are missing.
    pub fn first_missing(&self, instrument: InstrumentIndex, range: TradeIdRange) -> Option<TradeIdRange> {
        self.instruments.get(instrument.position())?.trade_ids.first_missing(range)
    }

    /// These trades stay missing, which the evidence of their gaps says; later runs do not look for them.
    pub fn leave_missing(&mut self, instrument: InstrumentIndex, range: TradeIdRange, note: &str) {
        if let Some(state) = self.instruments.get_mut(instrument.position()) {
            state.trade_ids.leave(range, note);
            self.changed.insert(instrument);
        }
    }

    /// Goes on where an earlier run ended: what was missing then is found again.
    pub fn resume_trades(&mut self, instrument: InstrumentIndex, position: &TradePosition) {
        if let Some(state) = self.instruments.get_mut(instrument.position()) {
            state.trade_ids.resume(position);
            self.holes.found.extend(position.holes.iter().map(|hole| (instrument, *hole)));
        }
    }

    /// Positions that changed since the last call.
    pub fn take_trade_positions(&mut self) -> Vec<(InstrumentIndex, TradePosition)> {
        let moved = InstrumentIndex::enumerate(&mut self.instruments);
        moved.filter_map(|(index, state)| Some((index, state.trade_ids.take_position()?))).collect()
    }
}
