//! Trade positions of one part of a feed.

use std::sync::Arc;

use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::Instrument;
use marketprism_schema::MarketType;

use crate::gaps::TradePositions;
use crate::records::{RecordBuilder, TradePosition};

#[derive(Debug)]
pub struct FeedPositions {
    all: Arc<TradePositions>,
    /// Key of each instrument.
    keys: Vec<String>,
}

impl FeedPositions {
    pub fn new(all: Arc<TradePositions>, exchange: &str, instruments: &[Instrument]) -> Self {
        let key = |instrument: &Instrument| {
            let market_type = MarketType::from(instrument.market_type);
            format!("{exchange}/{market_type}/{}", instrument.venue_symbol)
        };
        Self { all, keys: instruments.iter().map(key).collect() }
    }

    /// The builder goes on where the run before, or the part before its restart, ended.
    pub fn resume(&self, builder: &mut RecordBuilder) {
        for (instrument, key) in InstrumentIndex::enumerate(&self.keys) {
            if let Some(position) = self.all.get(key) {
                builder.resume_trades(instrument, &position);
            }
        }
    }

    pub fn set(&self, instrument: InstrumentIndex, position: TradePosition) {
        if let Some(key) = self.keys.get(instrument.position()) {
            self.all.set(key, position);
        }
    }
}
