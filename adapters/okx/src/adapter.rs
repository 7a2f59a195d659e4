//! The adapter: what it was loaded with, and the way of a frame to the reader of its kind.

use crate::book::book;
use crate::channel::Channel;
use crate::exchange::{Exchange, describe, markets};
use crate::field::each_element;
use crate::instruments;
use crate::measure::Measure;
use crate::plan;
use crate::requests;
use crate::trade::trade;
use marketprism_adapter_sdk::{
    Adapter, Answer, BookChange, Cursor, DataType, Description, Endpoints, Feed, Frame, Frames, Ignored,
    Instrument, InstrumentTable, MarketType, Normalized, Output, Plan, Refusal, Request, Scan, check_feed,
    each_frame, refusal,
};

/// The adapter, loaded with a feed.
#[derive(Debug)]
pub struct Okx {
    plan: Plan,
    pub(crate) symbols: InstrumentTable,
    markets: Vec<Market>,
    data_types: Vec<DataType>,
    trades: bool,
    books: bool,
    /// The source number of the first poll.
    first_poll: u32,
    /// Memory of a book's asks while its bids are read.
    asks: Vec<i64>,
}

/// One instrument of the feed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Market {
    pub(crate) measure: Measure,
    market_type: MarketType,
}

/// What a message is about: the instrument that its `arg` names.
pub(crate) struct Topic<'a> {
    pub(crate) instrument: u32,
    pub(crate) name: &'a [u8],
}

impl Topic<'_> {
    /// Reads the name of an instrument that must be the topic's own.
    #[inline(always)]
    pub(crate) fn same_instrument(&self, cursor: &mut Cursor<'_>) -> Scan<()> {
        let start = *cursor;
        let same = match cursor.plain_text() {
            Some(name) => name == self.name,
            None => cursor.text("`instId`")?.as_bytes() == self.name,
        };
        if same { Ok(()) } else { start.fault("the `instId` of the message's `arg`") }
    }
}

impl Adapter for Okx {
    fn describe() -> Description {
        describe()
    }

    fn instrument_requests(feed: &Feed, answers: &[Answer]) -> Result<Vec<Request>, Refusal> {
        let (exchange, endpoints) = checked(feed)?;
        requests::instrument_requests(exchange, feed, &endpoints, answers)
    }

    fn instruments(feed: &Feed, answers: Vec<Answer>) -> Result<Vec<Instrument>, Refusal> {
        let (exchange, _) = checked(feed)?;
        instruments::instruments(exchange, feed, &answers)
    }

    fn load(feed: Feed, instruments: Vec<Instrument>) -> Result<Okx, Refusal> {
        let (exchange, endpoints) = checked(&feed)?;
        for instrument in &instruments {
            instruments::check(exchange, instrument)?;
        }
        let plan = plan::plan(exchange, &feed, &endpoints, &instruments)?;
        let market = |instrument: &Instrument| Market {
            measure: Measure::of(instrument),
            market_type: instrument.market_type,
        };
        let names = instruments.iter().map(|instrument| instrument.venue_symbol.as_str());
        Ok(Okx {
            symbols: InstrumentTable::new(names),
            markets: instruments.iter().map(market).collect(),
            trades: feed.data_types.contains(&DataType::Trade),
            books: feed.data_types.contains(&DataType::Orderbook),
            data_types: feed.data_types,
            first_poll: u32::try_from(plan.connections.len()).unwrap_or(u32::MAX),
            asks: Vec::new(),
            plan,
        })
    }

    fn plan(&self) -> Result<Plan, Refusal> {
        Ok(self.plan.clone())
    }

    fn normalize(&mut self, frames: &Frames) -> Normalized {
        each_frame(frames, |output, frame| self.frame(output, frame))
    }
}

fn checked(feed: &Feed) -> Result<(Exchange, Endpoints), Refusal> {
    let venue = check_feed(feed, &describe())?;
    let exchange = Exchange::of(&venue.exchange);
    let exchange =
        exchange.ok_or_else(|| refusal("exchange", &feed.exchange, "an exchange id of this adapter"))?;
    Ok((exchange, Endpoints::new(feed, &venue)?))
}

impl Okx {
    /// Messages of books and trades in the venue's usual form are read at once; all others go the general way.
    #[inline(always)]
    fn frame(&mut self, output: &mut Output, frame: Frame<'_>) -> Scan<()> {
        if frame.source >= self.first_poll {
            return self.answer(output, frame);
        }
        let mut cursor = Cursor::new(frame.bytes);
        if !cursor.literal(b"{\"arg\":{\"channel\":") {
            return self.any_frame(output, frame.bytes);
        }
        if self.books
            && cursor.literal(b"\"books\",\"instId\":")
            && let Some(name) = cursor.plain_text()
            && let Some(instrument) = self.symbols.find(name)
            && let Some(change) = usual_change(&mut cursor)
        {
            self.book_data(output, &mut cursor, &Topic { instrument, name }, change)?;
            return rest(cursor);
        }
        if self.trades
            && cursor.literal(b"\"trades\",\"instId\":")
            && let Some(name) = cursor.plain_text()
            && let Some(instrument) = self.symbols.find(name)
            && cursor.literal(b"},\"data\":")
        {
            self.trade_data(output, &mut cursor, &Topic { instrument, name })?;
            return rest(cursor);
        }
        self.any_frame(output, frame.bytes)
    }

    /// The source's poll: what was asked, and of which instrument.
    pub(crate) fn poll(&self, source: u32) -> Option<(DataType, u32)> {
        let poll = self.plan.polls.get((source - self.first_poll) as usize)?;
        Some((poll.data_type, poll.instrument?))
    }

    pub(crate) fn wants(&self, channel: Channel) -> bool {
        channel.data_type().is_some_and(|data_type| self.data_types.contains(&data_type))
    }

    pub(crate) fn market(&self, instrument: u32) -> Option<&Market> {
        self.markets.get(instrument as usize)
    }

    pub(crate) fn offers_liquidations(&self, instrument: u32) -> bool {
        let served = markets(DataType::Liquidation);
        self.market(instrument).is_some_and(|market| served.contains(&market.market_type))
    }

    #[inline(always)]
    pub(crate) fn book_data(
        &mut self,
        output: &mut Output,
        cursor: &mut Cursor<'_>,
        topic: &Topic<'_>,
        change: BookChange,
    ) -> Scan<()> {
        let Some(market) = self.markets.get(topic.instrument as usize) else {
            return cursor.fault("a known instrument");
        };
        let asks = &mut self.asks;
        let any = each_element(cursor, |cursor| book(output, cursor, topic, market, change, asks))?;
        if !any {
            output.ignored(Ignored::Empty);
        }
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn trade_data(
        &self,
        output: &mut Output,
        cursor: &mut Cursor<'_>,
        topic: &Topic<'_>,
    ) -> Scan<()> {
        let Some(market) = self.market(topic.instrument) else {
            return cursor.fault("a known instrument");
        };
        let any = each_element(cursor, |cursor| trade(output, cursor, topic, market))?;
        if !any {
            output.ignored(Ignored::Empty);
        }
        Ok(())
    }
}

/// The part between the instrument's name and the data of a book message.
#[inline(always)]
fn usual_change(cursor: &mut Cursor<'_>) -> Option<BookChange> {
    if cursor.literal(b"},\"action\":\"update\",\"data\":") {
        return Some(BookChange::Delta);
    }
    cursor.literal(b"},\"action\":\"snapshot\",\"data\":").then_some(BookChange::Snapshot)
}

/// Reads what stands behind the data of a message in the usual form.
#[inline(always)]
fn rest(mut cursor: Cursor<'_>) -> Scan<()> {
    let mut first = false;
    while cursor.more(b'}', &mut first)? {
        if matches!(&*cursor.key_text()?, "arg" | "action" | "data" | "event") {
            return cursor.fault("each field once");
        }
        cursor.skip()?;
    }
    cursor.end()
}
