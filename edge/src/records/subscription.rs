//! The data types of each instrument that become records.

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

    /// Every data type that adapters give.
    pub fn everything(instruments: usize) -> Self {
        Self { instruments: vec![DataTypeMap::from_fn(|kind| kind.subscribed() == kind); instruments] }
    }

    /// With what the edge makes of them.
    pub fn with_made(mut self) -> Self {
        for kinds in &mut self.instruments {
            *kinds = DataTypeMap::from_fn(|kind| kinds[kind.subscribed()]);
        }
        self
    }

    pub(super) fn remove(&mut self, instrument: InstrumentIndex) {
        if let Some(kinds) = self.instruments.get_mut(instrument.position()) {
            *kinds = DataTypeMap::default();
        }
    }

    pub fn includes(&self, kind: DataType, instrument: InstrumentIndex) -> bool {
        self.of(instrument)[kind]
    }

    /// True if events of this type, as adapters give them, become records.
    pub(super) fn needs(&self, kind: DataType, instrument: InstrumentIndex) -> bool {
        self.of(instrument).iter().any(|(wanted, is_wanted)| *is_wanted && wanted.subscribed() == kind)
    }

    pub(super) fn of(&self, instrument: InstrumentIndex) -> DataTypeMap<bool> {
        self.instruments.get(instrument.position()).copied().unwrap_or_default()
    }
}
