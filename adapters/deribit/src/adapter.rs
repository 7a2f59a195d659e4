//! The adapter: what it was loaded with, and the way of a frame to the reader of its kind.

use crate::channels::{Channel, channel};
use crate::contract::Contract;
use crate::exchange::{coin_of_index, describe};
use crate::instruments;
use crate::liquidation::Seen;
use crate::numbers::{member, pass, text};
use crate::plan::{self, Planned};
use marketprism_adapter_sdk::{
    Adapter, Answer, Cursor, DataType, Description, Endpoints, Feed, Frame, Frames, Ignored, Instrument,
    InstrumentTable, Normalized, Output, Plan, Refusal, Request, Scan, check_feed, each_frame,
};

/// The adapter, loaded with a feed.
#[derive(Debug)]
pub struct Deribit {
    pub(crate) planned: Planned,
    table: InstrumentTable,
    contracts: Vec<Contract>,
    /// A bit for each data type.
    wanted: u32,
    /// The source number of the first poll.
    first_poll: u32,
    pub(crate) seen: Seen,
}

impl Adapter for Deribit {
    fn describe() -> Description {
        describe()
    }

    fn instrument_requests(feed: &Feed, answers: &[Answer]) -> Result<Vec<Request>, Refusal> {
        let endpoints = checked(feed)?;
        Ok(if answers.is_empty() { plan::instrument_requests(feed, &endpoints) } else { Vec::new() })
    }

    fn instruments(feed: &Feed, answers: Vec<Answer>) -> Result<Vec<Instrument>, Refusal> {
        checked(feed)?;
        instruments::instruments(feed, &answers)
    }

    fn load(feed: Feed, instruments: Vec<Instrument>) -> Result<Deribit, Refusal> {
        let endpoints = checked(&feed)?;
        let planned = plan::plan(&feed, &endpoints, &instruments)?;
        let names: Vec<String> = instruments.iter().map(frame_name).collect();
        Ok(Deribit {
            table: InstrumentTable::new(names.iter().map(String::as_str)),
            contracts: instruments.iter().map(Contract::of).collect(),
            wanted: feed.data_types.iter().fold(0, |bits, data_type| bits | bit(*data_type)),
            first_poll: u32::try_from(planned.plan.connections.len()).unwrap_or(u32::MAX),
            seen: Seen::default(),
            planned,
        })
    }

    fn plan(&self) -> Result<Plan, Refusal> {
        Ok(self.planned.plan.clone())
    }

    fn normalize(&mut self, frames: &Frames) -> Normalized {
        each_frame(frames, |output, frame| {
            let result = self.frame(output, frame);
            // What a malformed frame showed was not published.
            if result.is_ok() {
                self.seen.keep()
            } else {
                self.seen.forget()
            }
            result
        })
    }
}

fn checked(feed: &Feed) -> Result<Endpoints, Refusal> {
    let venue = check_feed(feed, &describe())?;
    Endpoints::new(feed, &venue)
}

const fn bit(data_type: DataType) -> u32 {
    1 << data_type as u32
}

/// What frames name the instrument by. An index has the name of its channel, with a dot, which no instrument has: so no other
/// channel can name it.
fn frame_name(instrument: &Instrument) -> String {
    let index = coin_of_index(instrument.venue_symbol.as_bytes()).is_some();
    let prefix = if index { "deribit_volatility_index." } else { "" };
    format!("{prefix}{}", instrument.venue_symbol)
}

/// The instrument that a channel names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'n> {
    pub(crate) instrument: u32,
    pub(crate) contract: Contract,
    pub(crate) venue_symbol: &'n [u8],
}

impl Named<'_> {
    /// Reads the name in the data, which must be the channel's.
    #[inline(always)]
    pub(crate) fn agrees(&self, cursor: &mut Cursor<'_>) -> Scan<()> {
        let start = *cursor;
        let name = text(cursor, "the name of an instrument or index")?;
        if *name == *self.venue_symbol { Ok(()) } else { start.fault("the name that the channel has") }
    }
}

impl Deribit {
    fn frame(&mut self, output: &mut Output, frame: Frame<'_>) -> Scan<()> {
        if frame.source >= self.first_poll {
            return self.polled(output, frame, frame.source - self.first_poll);
        }
        let mut cursor = Cursor::new(frame.bytes);
        if cursor.literal(b"{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":")
            && let Some(channel) = cursor.plain_text()
            && cursor.literal(b",\"data\":")
        {
            self.data(output, &mut cursor, channel)?;
            end_of_object(&mut cursor, [b"channel", b"data"])?;
            end_of_object(&mut cursor, [b"method", b"params"])?;
            return cursor.end();
        }
        self.message(output, frame)
    }

    /// Reads the data of a channel.
    #[inline(always)]
    pub(crate) fn data<'a>(&mut self, output: &mut Output, cursor: &mut Cursor<'a>, name: &[u8]) -> Scan<()> {
        let channel = channel(name);
        let (data_type, symbol) = match channel {
            Channel::Book(symbol) => (DataType::Orderbook, symbol),
            Channel::Ticker(symbol) => (DataType::OpenInterest, symbol),
            Channel::Trades => return self.trades(output, cursor),
            Channel::Volatility(name) => (DataType::VolatilityIndex, name),
            Channel::Other(reason) => return ignored(output, cursor, reason),
        };
        let ticker = data_type == DataType::OpenInterest;
        let wanted = self.wants(data_type) || (ticker && self.wants(DataType::FundingRate));
        if !wanted {
            return ignored(output, cursor, Ignored::OtherDataType);
        }
        let Some((instrument, contract)) = self.find(symbol) else {
            return ignored(output, cursor, Ignored::OtherInstrument);
        };
        let named = Named { instrument, contract, venue_symbol: symbol };
        match channel {
            Channel::Book(_) => self.book(output, cursor, named),
            Channel::Ticker(_) => self.ticker(output, cursor, named),
            _ => {
                let index = symbol.rsplit(|byte| *byte == b'.').next().unwrap_or(symbol);
                self.volatility(output, cursor, Named { venue_symbol: index, ..named })
            }
        }
    }

    #[inline(always)]
    pub(crate) fn find(&self, name: &[u8]) -> Option<(u32, Contract)> {
        let instrument = self.table.find(name)?;
        Some((instrument, *self.contracts.get(instrument as usize)?))
    }

    #[inline(always)]
    pub(crate) fn wants(&self, data_type: DataType) -> bool {
        self.wanted & bit(data_type) != 0
    }
}

/// Moves over a value that holds nothing to publish.
#[inline(never)]
fn ignored(output: &mut Output, cursor: &mut Cursor<'_>, reason: Ignored) -> Scan<()> {
    pass(cursor)?;
    output.ignored(reason);
    Ok(())
}

/// Moves to the end of an object of which these members have been read: they may not come again.
#[inline(always)]
fn end_of_object(cursor: &mut Cursor<'_>, read: [&[u8]; 2]) -> Scan<()> {
    let mut first = false;
    while cursor.more(b'}', &mut first)? {
        let key = member(cursor)?;
        if read.iter().any(|read| **read == *key) {
            return cursor.fault("each member once");
        }
        pass(cursor)?;
    }
    Ok(())
}
