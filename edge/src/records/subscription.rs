//! What a feed asks for: nothing else is published, whatever its adapter gives.

use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::{Instrument, Venue};
use marketprism_schema::{DataType, MarketType};

use crate::contract::{market_type, offers, wants};

/// Per instrument, the data types that its feed asks for and the venue offers for its market type.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// One bit for each data type, in the order of [`DataType::ALL`].
    instruments: Vec<u8>,
}

impl Subscription {
    /// What a feed asks for. Without market types these are all but options.
    #[must_use]
    pub fn new(
        venue: Option<&Venue>,
        data_types: &[DataType],
        market_types: &[MarketType],
        instruments: &[Instrument],
    ) -> Self {
        let bits = |instrument: &Instrument| {
            let mut bits = 0;
            for (position, kind) in DataType::ALL.iter().enumerate() {
                let of_venue =
                    venue.is_some_and(|venue| offers(venue, *kind, market_type(instrument.market_type)));
                let of_feed = data_types.contains(kind)
                    && wants(*kind, market_types, market_type(instrument.market_type));
                if of_venue && of_feed {
                    bits |= 1 << position;
                }
            }
            bits
        };
        Self { instruments: instruments.iter().map(bits).collect() }
    }

    /// Everything of so many instruments.
    #[must_use]
    pub fn everything(instruments: usize) -> Self {
        Self { instruments: vec![u8::MAX; instruments] }
    }

    /// Whether the feed asks for this data type of this instrument.
    #[must_use]
    pub fn includes(&self, kind: DataType, instrument: InstrumentIndex) -> bool {
        let bits = self.instruments.get(instrument.position());
        let position = DataType::ALL.iter().position(|known| *known == kind);
        bits.zip(position).is_some_and(|(bits, position)| bits & (1 << position) != 0)
    }
}
