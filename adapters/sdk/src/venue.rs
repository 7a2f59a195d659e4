//! The shape of every adapter: a venue's own functions, with everything that venues share done here.

use crate::adapter::Adapter;
use crate::cursor::ParseResult;
use crate::feed::{Endpoints, check_feed, refusal};
use crate::instrument_table::InstrumentTable;
use crate::listing::Listing;
use crate::output::{Frame, Output, each_frame};
use crate::select::select;
use crate::types::{
    Answer, DataType, Description, Feed, Frames, Ignored, Instrument, Normalized, Plan, Ranked, RankingKey,
    Refusal, Request, TradeRange,
};

/// The functions of a venue. The type itself is the state that an instance keeps between frames; [`VenueInstance`] makes an
/// [`Adapter`] of it.
pub trait VenueAdapter: Sized + 'static {
    /// Exchange ids, data types and their guarantees.
    fn describe() -> Description;

    /// The requests whose answers hold the venue's lists. Called first without answers, then with all answers so far until no request is
    /// left, so that pages can be followed.
    ///
    /// # Errors
    /// An answer that cannot be read: a [`ParseError`](crate::ParseError) converts into a refusal.
    fn instrument_requests(
        feed: &Feed,
        endpoints: &Endpoints,
        answers: &[Answer],
    ) -> Result<Vec<Request>, Refusal>;

    /// Every instrument of the answers: [`VenueAdapter::select`] picks those of the feed. The replay of a recording may lack some
    /// answers.
    fn instruments(feed: &Feed, answers: &[Answer]) -> Result<Listing, Refusal>;

    /// The instruments of the feed out of all that are listed.
    fn select(feed: &Feed, listed: Vec<Instrument>) -> Result<Vec<Instrument>, Refusal> {
        select(feed, listed)
    }

    /// The requests whose answers hold the values of a ranking that the description offers.
    fn ranking_requests(
        _: &Feed,
        by: RankingKey,
        _: &Endpoints,
        _: &[Answer],
    ) -> Result<Vec<Request>, Refusal> {
        Err(no_ranking(by))
    }

    /// The values of the answers, also of instruments that are not in the feed. A row without a value that can be read is left out: its
    /// instrument is ranked last.
    fn ranking(_: &Feed, by: RankingKey, _: &[Answer]) -> Result<Vec<Ranked>, Refusal> {
        Err(no_ranking(by))
    }

    /// The state for a feed, without its plan.
    fn load(loaded: &LoadedFeed) -> Result<Self, Refusal>;

    /// Connections, polls and resyncs of the feed. May keep what later frames are compared with.
    fn plan(&mut self, loaded: &LoadedFeed) -> Result<Plan, Refusal>;

    /// The request whose answer holds trades of an instrument with these ids, or a first page of them: for a capability with `backfill`.
    ///
    /// # Errors
    /// The instrument has no such trades, or the venue no such request: the default.
    fn backfill(&self, _: &LoadedFeed, instrument: &Instrument, _: TradeRange) -> Result<Request, Refusal> {
        Err(refusal("backfill", &instrument.symbol, "nothing: past trades cannot be requested by id"))
    }

    /// Adds the events and notes of a frame to the output. An error makes the frame malformed and takes back what it had added.
    /// Statically dispatched: a venue may read its usual frames with a [`Cursor`](crate::Cursor) first, all others by
    /// [`Object`](crate::Object).
    fn normalize(&mut self, loaded: &LoadedFeed, output: &mut Output, frame: Frame<'_>) -> ParseResult<()>;
}

/// Where a frame came from, with its position in that list of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSource {
    /// A message over a socket.
    Connection(u32),
    /// The answer of a poll.
    Poll(u32),
    /// The answer of a resync's request.
    Resync(u32),
    /// Past trades of this instrument.
    Backfill(u32),
}

/// The feed that an instance was loaded with.
#[derive(Debug)]
pub struct LoadedFeed {
    /// As the user configured it.
    pub feed: Feed,
    /// The venue's addresses, with the user's replacements.
    pub endpoints: Endpoints,
    /// An event names an instrument by its position here.
    pub instruments: Vec<Instrument>,
    /// Empty while the plan is made.
    pub plan: Plan,
    table: InstrumentTable,
    data_types: u32,
    first_poll: u32,
    first_resync: u32,
    first_backfill: u32,
}

impl LoadedFeed {
    fn new(feed: Feed, endpoints: Endpoints, instruments: Vec<Instrument>) -> LoadedFeed {
        LoadedFeed {
            table: InstrumentTable::new(instruments.iter().map(|one| one.venue_symbol.as_str())),
            data_types: feed.data_types.iter().fold(0, |bits, data_type| bits | bit(*data_type)),
            feed,
            endpoints,
            instruments,
            plan: Plan {
                connections: Vec::new(),
                polls: Vec::new(),
                resyncs: Vec::new(),
                budgets: Vec::new(),
                clock: None,
            },
            first_poll: 0,
            first_resync: 0,
            first_backfill: u32::MAX,
        }
    }

    /// True when the feed has this data type.
    #[inline(always)]
    pub fn has(&self, data_type: DataType) -> bool {
        self.data_types & bit(data_type) != 0
    }

    /// The position of the instrument with this venue symbol.
    #[inline(always)]
    pub fn position(&self, venue_symbol: &[u8]) -> Option<u32> {
        self.table.find(venue_symbol)
    }

    /// The instrument that a message is about, with its position. None, with a note, when the feed has not this data type or not this
    /// instrument.
    pub fn subscribed(
        &self,
        output: &mut Output,
        venue_symbol: &str,
        data_type: DataType,
    ) -> Option<(u32, &Instrument)> {
        if !self.has(data_type) {
            output.ignored(Ignored::OtherDataType);
            return None;
        }
        let position = self.position(venue_symbol.as_bytes());
        let found = position.and_then(|index| Some((index, self.instruments.get(index as usize)?)));
        if found.is_none() {
            output.ignored(Ignored::OtherInstrument);
        }
        found
    }

    /// True when a frame of this source number came over a connection.
    #[inline(always)]
    pub fn is_pushed(&self, source: u32) -> bool {
        source < self.first_poll
    }

    /// The origin of frames with this source number.
    pub fn source(&self, source: u32) -> FrameSource {
        if let Some(position) = source.checked_sub(self.first_backfill) {
            FrameSource::Backfill(position)
        } else if let Some(position) = source.checked_sub(self.first_resync) {
            FrameSource::Resync(position)
        } else if let Some(position) = source.checked_sub(self.first_poll) {
            FrameSource::Poll(position)
        } else {
            FrameSource::Connection(source)
        }
    }
}

const fn bit(data_type: DataType) -> u32 {
    1 << data_type as u32
}

/// A loaded venue adapter.
#[derive(Debug)]
pub struct VenueInstance<A> {
    adapter: A,
    loaded: LoadedFeed,
}

impl<A: VenueAdapter> Adapter for VenueInstance<A> {
    fn describe() -> Description {
        A::describe()
    }

    fn instrument_requests(feed: &Feed, answers: &[Answer]) -> Result<Vec<Request>, Refusal> {
        A::instrument_requests(feed, &endpoints::<A>(feed)?, answers)
    }

    fn instruments(feed: &Feed, answers: Vec<Answer>) -> Result<Vec<Instrument>, Refusal> {
        endpoints::<A>(feed)?;
        let listing = A::instruments(feed, &answers)?;
        listing.log();
        let (instruments, left_out) = listing.into_parts();
        A::select(feed, instruments).map_err(|refusal| Listing::explain(&left_out, &feed.symbols, refusal))
    }

    fn ranking_requests(feed: &Feed, by: RankingKey, answers: &[Answer]) -> Result<Vec<Request>, Refusal> {
        A::ranking_requests(feed, by, &endpoints::<A>(feed)?, answers)
    }

    fn ranking(feed: &Feed, by: RankingKey, answers: Vec<Answer>) -> Result<Vec<Ranked>, Refusal> {
        endpoints::<A>(feed)?;
        A::ranking(feed, by, &answers)
    }

    fn load(feed: Feed, instruments: Vec<Instrument>) -> Result<VenueInstance<A>, Refusal> {
        let endpoints = endpoints::<A>(&feed)?;
        let mut loaded = LoadedFeed::new(feed, endpoints, instruments);
        let mut adapter = A::load(&loaded)?;
        loaded.plan = adapter.plan(&loaded)?;
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        loaded.first_poll = count(loaded.plan.connections.len());
        loaded.first_resync = loaded.first_poll.saturating_add(count(loaded.plan.polls.len()));
        loaded.first_backfill = loaded.first_resync.saturating_add(count(loaded.plan.resyncs.len()));
        Ok(VenueInstance { adapter, loaded })
    }

    fn plan(&self) -> Result<Plan, Refusal> {
        Ok(self.loaded.plan.clone())
    }

    fn backfill(&self, trades: TradeRange) -> Result<Request, Refusal> {
        let TradeRange { instrument, first, last } = trades;
        let Some(named) = self.loaded.instruments.get(instrument as usize) else {
            let allowed = format!("below {}", self.loaded.instruments.len());
            return Err(refusal("instrument", instrument.to_string(), allowed));
        };
        if first > last {
            return Err(refusal("last", last.to_string(), format!("at least {first}, the first id")));
        }
        self.adapter.backfill(&self.loaded, named, trades)
    }

    #[inline]
    fn normalize(&mut self, frames: &Frames) -> Normalized {
        let VenueInstance { adapter, loaded } = self;
        each_frame(frames, |output, frame| adapter.normalize(loaded, output, frame))
    }
}

fn no_ranking(by: RankingKey) -> Refusal {
    let RankingKey::Volume24h = by;
    refusal("ranking", "volume_24h", "nothing: the venue gives no ranking")
}

fn endpoints<A: VenueAdapter>(feed: &Feed) -> Result<Endpoints, Refusal> {
    Endpoints::new(feed, &check_feed(feed, &A::describe())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_count_connections_then_polls_then_resyncs_then_backfills() {
        let feed = Feed {
            exchange: String::new(),
            symbols: Vec::new(),
            market_types: Vec::new(),
            data_types: vec![DataType::Trade, DataType::VolatilityIndex],
            depth: 0,
            endpoints: Vec::new(),
        };
        let venue = crate::types::Venue {
            exchange: String::new(),
            market_types: Vec::new(),
            capabilities: Vec::new(),
            endpoints: Vec::new(),
            rankings: Vec::new(),
        };
        let endpoints = Endpoints::new(&feed, &venue).unwrap();
        let mut loaded = LoadedFeed::new(feed, endpoints, Vec::new());
        (loaded.first_poll, loaded.first_resync, loaded.first_backfill) = (2, 3, 4);
        use FrameSource::{Backfill, Connection, Poll, Resync};
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|source| loaded.source(source)),
            [Connection(0), Connection(1), Poll(0), Resync(0), Backfill(0), Backfill(1)]
        );
        assert_eq!(loaded.source(u32::MAX), Backfill(u32::MAX - 4));
        let has =
            [DataType::Trade, DataType::Orderbook, DataType::VolatilityIndex].map(|one| loaded.has(one));
        assert_eq!(has, [true, false, true]);
    }
}
