//! The data types of each instrument that a feed subscribes. Nothing else is published, whatever its adapter gives.

use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::{Instrument, Venue};
use marketprism_schema::{DataType, DataTypeMap, MarketType};

use crate::config::wants;

/// Per instrument: the data types that the feed wants and the venue offers for its market type.
#[derive(Debug, Clone)]
pub struct Subscription {
    instruments: Vec<DataTypeMap<bool>>,
}

impl Subscription {
    #[must_use]
    pub fn new(
        venue: &Venue,
        data_types: &[DataType],
        market_types: &[MarketType],
        instruments: &[Instrument],
    ) -> Self {
        let row = |instrument: &Instrument| {
            let market = MarketType::from(instrument.market_type);
            DataTypeMap::from_fn(|kind| {
                data_types.contains(&kind) && wants(kind, market_types, market) && venue.offers(kind, market)
            })
        };
        Self { instruments: instruments.iter().map(row).collect() }
    }

    /// Everything of this number of instruments.
    #[must_use]
    pub fn everything(instruments: usize) -> Self {
        Self { instruments: vec![DataTypeMap::from_fn(|_| true); instruments] }
    }

    #[must_use]
    pub fn includes(&self, kind: DataType, instrument: InstrumentIndex) -> bool {
        self.instruments.get(instrument.position()).is_some_and(|kinds| kinds[kind])
    }
}
