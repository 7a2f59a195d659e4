//! What a feed asks for: nothing else is published, whatever its adapter gives.

use marketprism_adapter_host::contract::{Instrument, Venue};
use marketprism_schema::{DataType, MarketType};

use crate::envelope::{data_type, market_type};

/// Per instrument, the data types that its feed asks for and the venue offers for its market type.
#[derive(Debug, Clone)]
pub struct Asked {
    /// One bit for each data type, in the order of [`DataType::ALL`].
    instruments: Vec<u8>,
}

impl Asked {
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
    pub fn includes(&self, kind: DataType, instrument: u32) -> bool {
        let bits = usize::try_from(instrument).ok().and_then(|index| self.instruments.get(index));
        let position = DataType::ALL.iter().position(|known| *known == kind);
        bits.zip(position).is_some_and(|(bits, position)| bits & (1 << position) != 0)
    }
}

/// Whether a venue offers a data type for a market type.
#[must_use]
pub fn offers(venue: &Venue, kind: DataType, of: MarketType) -> bool {
    venue.capabilities.iter().any(|capability| {
        data_type(capability.data_type) == kind
            && capability.market_types.iter().any(|offered| market_type(*offered) == of)
    })
}

/// Whether a feed with these market types asks for a data type of a market. A volatility index belongs to a coin, not to a market, so
/// market types do not choose it.
#[must_use]
pub fn wants(kind: DataType, market_types: &[MarketType], of: MarketType) -> bool {
    kind == DataType::VolatilityIndex
        || market_types.contains(&of)
        || (market_types.is_empty() && of != MarketType::Options)
}
