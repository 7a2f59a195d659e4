//! The four functions as the contract's adapter. In a copy only the name of the type changes.

use crate::describe::describe;
use crate::instruments::instruments;
use crate::normalize::normalize;
use crate::plan::plan;
use marketprism_adapter_sdk::{
    Adapter, Answer, DataType, Description, Endpoints, Feed, Frames, Ignored, Instrument, InstrumentTable,
    MarketType, Normalized, Output, Plan, Refusal, Request, check_feed, closest, each_frame, refusal,
};

/// What [`instruments`] says: more to ask, or what the venue lists.
pub(crate) enum Listing {
    /// These requests first.
    Ask(Vec<Request>),
    /// Everything that the venue lists.
    Found(Vec<Instrument>),
}

/// The adapter, loaded with a feed. What it shall remember between frames would be a field here.
#[derive(Debug)]
pub struct Template {
    pub(crate) feed: Feed,
    pub(crate) endpoints: Endpoints,
    /// An event names an instrument by its position here.
    pub(crate) instruments: Vec<Instrument>,
    positions: InstrumentTable,
}

impl Adapter for Template {
    fn describe() -> Description {
        describe()
    }

    fn instrument_requests(feed: &Feed, answers: &[Answer]) -> Result<Vec<Request>, Refusal> {
        match listing(feed, answers)? {
            Listing::Ask(requests) => Ok(requests),
            Listing::Found(_) => Ok(Vec::new()),
        }
    }

    fn instruments(feed: &Feed, answers: Vec<Answer>) -> Result<Vec<Instrument>, Refusal> {
        match listing(feed, &answers)? {
            Listing::Ask(requests) => {
                Err(refusal("answers", answers.len().to_string(), format!("{} more", requests.len())))
            }
            Listing::Found(listed) => select(feed, listed),
        }
    }

    fn load(feed: Feed, instruments: Vec<Instrument>) -> Result<Template, Refusal> {
        let venue = check_feed(&feed, &describe())?;
        let endpoints = Endpoints::new(&feed, &venue)?;
        let symbols = instruments.iter().map(|instrument| instrument.venue_symbol.as_str());
        Ok(Template { positions: InstrumentTable::new(symbols), feed, endpoints, instruments })
    }

    fn plan(&self) -> Result<Plan, Refusal> {
        plan(self)
    }

    fn normalize(&mut self, frames: &Frames) -> Normalized {
        each_frame(frames, |output, frame| normalize(self, output, frame))
    }
}

impl Template {
    /// The instrument of a message, with its position; none, with a note, when the feed asks for neither it nor its data.
    pub(crate) fn wanted(
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
}

fn listing(feed: &Feed, answers: &[Answer]) -> Result<Listing, Refusal> {
    let endpoints = Endpoints::new(feed, &check_feed(feed, &describe())?)?;
    instruments(&endpoints, answers)
        .map_err(|fault| refusal("instruments", format!("byte {} of the list", fault.at), fault.what))
}

/// The feed's part of the venue's list, in the order of symbols. Without named symbols: everything that trades.
fn select(feed: &Feed, mut listed: Vec<Instrument>) -> Result<Vec<Instrument>, Refusal> {
    listed.retain(|one| match feed.market_types.as_slice() {
        // Options are so many that they must be named.
        [] => one.market_type != MarketType::Options,
        wanted => wanted.contains(&one.market_type),
    });
    for symbol in &feed.symbols {
        if !listed.iter().any(|one| one.symbol == *symbol) {
            let near = closest(symbol, listed.iter().map(|one| one.symbol.as_str())).join(", ");
            let allowed = format!("one of the {} symbols that the venue lists; near: [{near}]", listed.len());
            return Err(refusal("symbols", symbol, allowed));
        }
    }
    listed
        .retain(|one| if feed.symbols.is_empty() { one.trading } else { feed.symbols.contains(&one.symbol) });
    listed.sort_by(|one, other| one.symbol.cmp(&other.symbol));
    if listed.is_empty() {
        return Err(refusal("symbols", "[]", "a venue that lists an instrument which trades"));
    }
    Ok(listed)
}
