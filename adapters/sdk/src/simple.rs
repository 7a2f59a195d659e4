//! An adapter of four functions: what is the same in most adapters stands here.

use crate::adapter::Adapter;
use crate::cursor::{Fault, Scan};
use crate::feed::{Endpoints, check_feed, refusal};
use crate::instruments::InstrumentTable;
use crate::output::{Frame, Output, each_frame};
use crate::select::select;
use crate::types::{
    Answer, DataType, Description, Feed, Frames, Ignored, Instrument, Normalized, Plan, Refusal, Request,
};

/// The four functions of an adapter, with what it remembers between frames in the type itself; the edge makes a new one for
/// every instance. [`Simple`] makes an [`Adapter`] of them.
pub trait SimpleAdapter: Default + 'static {
    /// What is on offer.
    fn describe() -> Description;

    /// What the venue lists. Called first without answers, then with all answers so far until it asks no more. Gives
    /// everything: [`select`] picks what the feed asks for.
    ///
    /// # Errors
    /// An answer that cannot be read.
    fn instruments(feed: &Feed, endpoints: &Endpoints, answers: &[Answer]) -> Scan<Listing>;

    /// What the edge has to open, send and repeat.
    ///
    /// # Errors
    /// The field of the feed that cannot be served.
    fn plan(loaded: &Loaded) -> Result<Plan, Refusal>;

    /// What a frame means. A fault makes it malformed, and what it had added to the output is taken back.
    ///
    /// # Errors
    /// The frame does not follow the venue's rules.
    fn normalize(&mut self, loaded: &Loaded, output: &mut Output, frame: Frame<'_>) -> Scan<()>;
}

/// What a venue lists, or what is to be asked first.
#[derive(Clone, Debug, PartialEq)]
pub enum Listing {
    /// These requests first.
    Ask(Vec<Request>),
    /// Everything that the venue lists.
    Found(Vec<Instrument>),
}

/// Where a frame came from, with its position in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A connection.
    Connection(u32),
    /// The answer of a poll.
    Poll(u32),
    /// The answer of a resync's request.
    Resync(u32),
}

/// The feed that an instance was loaded with.
#[derive(Debug)]
pub struct Loaded {
    /// What the user asked for.
    pub feed: Feed,
    /// The venue's addresses, with the user's replacements.
    pub endpoints: Endpoints,
    /// An event names an instrument by its position here.
    pub instruments: Vec<Instrument>,
    positions: InstrumentTable,
    connections: u32,
    polls: u32,
}

impl Loaded {
    /// The instrument of a message, with its position; none, with a note, when the feed asks for neither it nor its data.
    pub fn wanted(
        &self,
        output: &mut Output,
        venue_symbol: &str,
        data_type: DataType,
    ) -> Option<(u32, &Instrument)> {
        if !self.feed.data_types.contains(&data_type) {
            output.ignored(Ignored::OtherDataType);
            return None;
        }
        let position = self.positions.find(venue_symbol.as_bytes());
        let found = position.and_then(|index| Some((index, self.instruments.get(index as usize)?)));
        if found.is_none() {
            output.ignored(Ignored::OtherInstrument);
        }
        found
    }

    /// Where a frame of this source number came from.
    pub fn origin(&self, source: u32) -> Origin {
        match source.checked_sub(self.connections) {
            None => Origin::Connection(source),
            Some(position) => match position.checked_sub(self.polls) {
                None => Origin::Poll(position),
                Some(position) => Origin::Resync(position),
            },
        }
    }
}

/// The adapter that four functions make.
#[derive(Debug)]
pub struct Simple<A> {
    functions: A,
    loaded: Loaded,
    plan: Plan,
}

impl<A: SimpleAdapter> Adapter for Simple<A> {
    fn describe() -> Description {
        A::describe()
    }

    fn instrument_requests(feed: &Feed, answers: &[Answer]) -> Result<Vec<Request>, Refusal> {
        match listing::<A>(feed, answers)? {
            Listing::Ask(requests) => Ok(requests),
            Listing::Found(_) => Ok(Vec::new()),
        }
    }

    fn instruments(feed: &Feed, answers: Vec<Answer>) -> Result<Vec<Instrument>, Refusal> {
        match listing::<A>(feed, &answers)? {
            Listing::Ask(requests) => {
                let allowed = format!("the answers of {} more requests", requests.len());
                Err(refusal("answers", answers.len().to_string(), allowed))
            }
            Listing::Found(listed) => select(feed, listed),
        }
    }

    fn load(feed: Feed, instruments: Vec<Instrument>) -> Result<Simple<A>, Refusal> {
        let endpoints = Endpoints::new(&feed, &check_feed(&feed, &A::describe())?)?;
        let symbols = instruments.iter().map(|instrument| instrument.venue_symbol.as_str());
        let positions = InstrumentTable::new(symbols);
        let mut loaded = Loaded { feed, endpoints, instruments, positions, connections: 0, polls: 0 };
        let plan = A::plan(&loaded)?;
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        (loaded.connections, loaded.polls) = (count(plan.connections.len()), count(plan.polls.len()));
        Ok(Simple { functions: A::default(), loaded, plan })
    }

    fn plan(&self) -> Result<Plan, Refusal> {
        Ok(self.plan.clone())
    }

    fn normalize(&mut self, frames: &Frames) -> Normalized {
        let Simple { functions, loaded, .. } = self;
        each_frame(frames, |output, frame| functions.normalize(loaded, output, frame))
    }
}

fn listing<A: SimpleAdapter>(feed: &Feed, answers: &[Answer]) -> Result<Listing, Refusal> {
    let endpoints = Endpoints::new(feed, &check_feed(feed, &A::describe())?)?;
    let unreadable =
        |Fault { at, what }| refusal("instruments", format!("byte {at} of a list"), format!("{what} there"));
    A::instruments(feed, &endpoints, answers).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a source number is told apart as the contract counts: connections, polls, resyncs. Method: the borders of each.
    #[test]
    fn sources_are_told_apart() {
        let feed = Feed {
            exchange: String::new(),
            symbols: Vec::new(),
            market_types: Vec::new(),
            data_types: Vec::new(),
            depth: 0,
            endpoints: Vec::new(),
        };
        let venue = crate::types::Venue {
            exchange: String::new(),
            market_types: Vec::new(),
            capabilities: Vec::new(),
            endpoints: Vec::new(),
        };
        let endpoints = Endpoints::new(&feed, &venue).unwrap();
        let positions = InstrumentTable::new([]);
        let loaded = Loaded { feed, endpoints, instruments: Vec::new(), positions, connections: 2, polls: 1 };
        let expected = [Origin::Connection(0), Origin::Connection(1), Origin::Poll(0), Origin::Resync(0)];
        assert_eq!([0, 1, 2, 3].map(|source| loaded.origin(source)), expected);
        assert_eq!(loaded.origin(u32::MAX), Origin::Resync(u32::MAX - 3));
    }
}
