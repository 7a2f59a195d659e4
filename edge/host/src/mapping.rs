//! Contract types as types of `marketprism-schema` and `marketprism-book`: the one mapping for all who run adapters.
//! Results are those that the host has checked: scales, instruments and ranges of levels are valid.

use marketprism_book as book;
use marketprism_schema as schema;

use crate::contract::{
    Book, BookChange, Capability, ChecksumRule, Completeness, DataType, Decimal, Event, Instrument,
    MarketType, Normalized, Note, Payload, SequenceRule, Side, SnapshotSource, Venue,
};
use crate::{FrameIndex, InstrumentIndex};

macro_rules! both_ways {
    ($($kind:ident { $($case:ident = $other:ident),+ $(,)? })+) => {$(
        impl From<$kind> for schema::$kind {
            fn from(value: $kind) -> Self {
                match value { $($kind::$case => Self::$other),+ }
            }
        }

        impl From<schema::$kind> for $kind {
            fn from(value: schema::$kind) -> Self {
                match value { $(schema::$kind::$other => Self::$case),+ }
            }
        }
    )+};
}

impl From<DataType> for schema::DataType {
    fn from(value: DataType) -> Self {
        match value {
            DataType::Trade => Self::Trade,
            DataType::Orderbook => Self::OrderBook,
            DataType::FundingRate => Self::FundingRate,
            DataType::OpenInterest => Self::OpenInterest,
            DataType::Liquidation => Self::Liquidation,
            DataType::LsrTopPosition => Self::LsrTopPosition,
            DataType::LsrAllAccount => Self::LsrAllAccount,
            DataType::VolatilityIndex => Self::VolatilityIndex,
        }
    }
}

impl DataType {
    /// The data types that an adapter subscribes for these, each once.
    pub fn subscribed(kinds: &[schema::DataType]) -> Vec<Self> {
        let mut subscribed = Vec::new();
        for kind in kinds.iter().copied().map(Self::from) {
            if !subscribed.contains(&kind) {
                subscribed.push(kind);
            }
        }
        subscribed
    }
}

/// The adapter's data type that the host makes the given one from.
impl From<schema::DataType> for DataType {
    fn from(value: schema::DataType) -> Self {
        match value {
            schema::DataType::Trade => Self::Trade,
            schema::DataType::OrderBook | schema::DataType::OrderBookDelta | schema::DataType::Quote => {
                Self::Orderbook
            }
            schema::DataType::FundingRate => Self::FundingRate,
            schema::DataType::OpenInterest => Self::OpenInterest,
            schema::DataType::Liquidation => Self::Liquidation,
            schema::DataType::LsrTopPosition => Self::LsrTopPosition,
            schema::DataType::LsrAllAccount => Self::LsrAllAccount,
            schema::DataType::VolatilityIndex => Self::VolatilityIndex,
        }
    }
}

both_ways! {
    MarketType { Spot = Spot, Perpetual = Perpetual, Futures = Futures, Options = Options }
    Side { Buy = Buy, Sell = Sell }
}

impl From<Decimal> for schema::Decimal {
    fn from(value: Decimal) -> Self {
        Self { mantissa: value.mantissa, scale: value.scale }
    }
}

impl Venue {
    /// The capability for a data type.
    pub fn capability(&self, kind: schema::DataType) -> Option<&Capability> {
        let kind = kind.subscribed();
        self.capabilities.iter().find(|capability| schema::DataType::from(capability.data_type) == kind)
    }

    /// True if the venue offers the data type for the market type.
    pub fn offers(&self, kind: schema::DataType, market: schema::MarketType) -> bool {
        let kind = kind.subscribed();
        self.capabilities.iter().any(|capability| {
            schema::DataType::from(capability.data_type) == kind
                && capability.market_types.contains(&market.into())
        })
    }
}

impl Capability {
    /// The guarantees as audits carry them. The delay is the plan's.
    pub fn audited(&self) -> schema::Capability {
        let numbering = match self.sequence {
            _ if self.contiguous_trade_ids => schema::Numbering::ByOne,
            SequenceRule::Unnumbered => schema::Numbering::Unnumbered,
            SequenceRule::Contiguous | SequenceRule::Chained => schema::Numbering::Linked,
        };
        let completeness = match self.completeness {
            Completeness::Complete => schema::Completeness::Complete,
            Completeness::LowerBound => schema::Completeness::LowerBound,
        };
        schema::Capability { numbering, completeness, delay_seconds: 0 }
    }

    /// Settings of an instrument's order book: `depth` published levels a side, and the plan's limit on those of the venue.
    pub fn book_settings(
        &self,
        instrument: Option<&Instrument>,
        depth: u32,
        depth_limit: Option<u32>,
    ) -> book::BookSettings {
        let rule = match self.sequence {
            SequenceRule::Unnumbered => book::SequenceRule::Unnumbered,
            SequenceRule::Contiguous => book::SequenceRule::Contiguous,
            SequenceRule::Chained => book::SequenceRule::Chained,
        };
        let source = match self.snapshot {
            SnapshotSource::InBand => book::SnapshotSource::InBand,
            SnapshotSource::Request | SnapshotSource::NotApplicable => book::SnapshotSource::Request,
        };
        let checksum = match (self.checksum, instrument) {
            (ChecksumRule::Crc32Digits10, Some(one)) => book::Checksum::Crc32Digits10 {
                price_scale: one.price_scale,
                quantity_scale: one.quantity_scale,
            },
            _ => book::Checksum::Unchecked,
        };
        book::BookSettings {
            checksum,
            depth_limit: depth_limit.map(|levels| levels as usize),
            ..book::BookSettings::new(rule, source, depth as usize)
        }
    }
}

impl Payload {
    fn key(&self) -> (schema::DataType, u32) {
        use schema::DataType;
        match self {
            Self::Trade(event) => (DataType::Trade, event.instrument),
            Self::Book(event) => (DataType::OrderBook, event.instrument),
            Self::FundingRate(event) => (DataType::FundingRate, event.instrument),
            Self::OpenInterest(event) => (DataType::OpenInterest, event.instrument),
            Self::Liquidation(event) => (DataType::Liquidation, event.instrument),
            Self::LsrTopPosition(event) => (DataType::LsrTopPosition, event.instrument),
            Self::LsrAllAccount(event) => (DataType::LsrAllAccount, event.instrument),
            Self::VolatilityIndex(event) => (DataType::VolatilityIndex, event.instrument),
        }
    }

    /// The venue's time of the event, microseconds; `None` for a book update without one.
    pub const fn time_us(&self) -> Option<i64> {
        Some(match self {
            Self::Trade(event) => event.time_us,
            Self::Book(event) => return event.time_us,
            Self::FundingRate(event) => event.time_us,
            Self::OpenInterest(event) => event.time_us,
            Self::Liquidation(event) => event.time_us,
            Self::LsrTopPosition(event) | Self::LsrAllAccount(event) => event.time_us,
            Self::VolatilityIndex(event) => event.time_us,
        })
    }

    /// Data type of the event.
    pub fn data_type(&self) -> schema::DataType {
        self.key().0
    }

    /// Instrument of the event.
    pub fn instrument(&self) -> InstrumentIndex {
        self.key().1.into()
    }
}

impl Book {
    /// The update for the order-book engine. `levels` are those of the event's batch; `None` if they end before the event's do.
    pub fn update<'a>(&self, levels: &'a [i64], received_at_ns: i64) -> Option<book::BookUpdate<'a>> {
        let (bids, asks) = (2 * self.bids as usize, 2 * self.asks as usize);
        let (bids, rest) = levels.get(self.levels_at as usize..)?.split_at_checked(bids)?;
        Some(book::BookUpdate {
            change: match self.change {
                BookChange::Snapshot => book::Change::Snapshot,
                BookChange::Delta => book::Change::Delta,
            },
            time_us: self.time_us,
            received_at_ns,
            first_id: self.first_id,
            last_id: self.last_id,
            previous_id: self.previous_id,
            checksum: self.checksum,
            price_scale: self.price_scale,
            quantity_scale: self.quantity_scale,
            bids,
            asks: rest.get(..asks)?,
        })
    }
}

impl Normalized {
    /// Events and notes of each of the batch's frames, in order.
    pub fn by_frame(&self, frames: usize) -> impl Iterator<Item = (FrameIndex, &[Event], &[Note])> {
        let (mut events, mut notes) = (self.events.as_slice(), self.notes.as_slice());
        (0..frames).map(FrameIndex::at).map(move |frame| {
            let of_frame = |of: u32| FrameIndex::from(of) == frame;
            let (own_events, later) =
                events.split_at(events.iter().take_while(|one| of_frame(one.frame)).count());
            events = later;
            let (own_notes, later) =
                notes.split_at(notes.iter().take_while(|one| of_frame(one.frame)).count());
            notes = later;
            (frame, own_events, own_notes)
        })
    }
}
