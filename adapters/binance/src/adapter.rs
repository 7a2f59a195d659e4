//! The adapter: what it was loaded with, and the way of a frame to the reader of its kind.

use crate::control::control;
use crate::exchange::{Exchange, describe};
use crate::funding::Intervals;
use crate::instruments;
use crate::plan;
use crate::sides::Scales;
use crate::stream::{self, Content};
use crate::trade::TradeKind;
use marketprism_adapter_sdk::{
    Adapter, Answer, Cursor, DataType, Description, Endpoints, Feed, Frame, Frames, Ignored, Instrument,
    InstrumentTable, MarketType, Normalized, Output, Plan, Refusal, Remark, Request, Scale, Scan, check_feed,
    each_frame, key, refusal,
};
use std::borrow::Cow;

/// The adapter, loaded with a feed.
#[derive(Debug)]
pub struct Binance {
    pub(crate) exchange: Exchange,
    pub(crate) plan: Plan,
    pub(crate) symbols: InstrumentTable,
    scales: Vec<Scales>,
    pub(crate) market_types: Vec<MarketType>,
    pub(crate) intervals: Intervals,
    trades: bool,
    books: bool,
    funding: bool,
    liquidations: bool,
    /// The source number of the first poll; resyncs follow the polls.
    first_poll: u32,
}

impl Adapter for Binance {
    fn describe() -> Description {
        describe()
    }

    fn instrument_requests(feed: &Feed, answers: &[Answer]) -> Result<Vec<Request>, Refusal> {
        let (exchange, endpoints) = checked(feed)?;
        let first = answers.is_empty();
        Ok(first.then(|| plan::exchange_info_request(exchange, &endpoints)).into_iter().collect())
    }

    fn instruments(feed: &Feed, answers: Vec<Answer>) -> Result<Vec<Instrument>, Refusal> {
        let (exchange, _) = checked(feed)?;
        instruments::instruments(exchange, feed, &answers)
    }

    fn load(feed: Feed, instruments: Vec<Instrument>) -> Result<Binance, Refusal> {
        let (exchange, endpoints) = checked(&feed)?;
        let plan = plan::plan(exchange, &feed, &endpoints, &instruments)?;
        let scales = |instrument: &Instrument| Scales {
            price: Scale::new(instrument.price_scale),
            quantity: Scale::new(instrument.quantity_scale),
        };
        let asked = |data_type| feed.data_types.contains(&data_type);
        Ok(Binance {
            exchange,
            symbols: InstrumentTable::new(
                instruments.iter().map(|instrument| instrument.venue_symbol.as_str()),
            ),
            scales: instruments.iter().map(scales).collect(),
            market_types: instruments.iter().map(|instrument| instrument.market_type).collect(),
            intervals: Intervals::default(),
            trades: asked(DataType::Trade),
            books: asked(DataType::Orderbook),
            funding: asked(DataType::FundingRate),
            liquidations: asked(DataType::Liquidation),
            first_poll: u32::try_from(plan.connections.len()).unwrap_or(u32::MAX),
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

/// What a message says about the market it belongs to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Market {
    named: bool,
    /// None for a symbol that the feed does not ask for.
    pub(crate) instrument: Option<u32>,
    other_market: bool,
}

impl Market {
    /// Reads `st`: 1 is USD-M, 2 is COIN-M, whose symbols and units are others.
    pub(crate) fn kind(&mut self, cursor: &mut Cursor<'_>) -> Scan<()> {
        self.other_market |= cursor.unsigned("`st`")? != 1;
        Ok(())
    }

    /// The instrument; none when the message is about something that the feed does not ask for.
    pub(crate) fn ours(&self, cursor: &Cursor<'_>) -> Scan<Option<u32>> {
        if !self.named {
            return cursor.fault("`s`");
        }
        Ok(self.instrument.filter(|_| !self.other_market))
    }
}

/// The members of an event object that are still to be read.
pub(crate) struct Members<'c, 'a> {
    /// Behind the object's brace, or behind a member and its comma.
    pub(crate) cursor: &'c mut Cursor<'a>,
    /// Set when `e` has been read: it may not come again.
    pub(crate) named: Option<()>,
}

impl Binance {
    fn frame(&mut self, output: &mut Output, frame: Frame<'_>) -> Scan<()> {
        if frame.source >= self.first_poll {
            return self.answer(output, frame);
        }
        let mut cursor = Cursor::new(frame.bytes);
        if cursor.literal(b"{\"stream\":")
            && let Some(stream) = cursor.plain_text()
            && cursor.literal(b",\"data\":")
        {
            self.event(output, &mut cursor, Some(stream))?;
            let mut first = false;
            while cursor.more(b'}', &mut first)? {
                if matches!(&*cursor.key_text()?, "stream" | "data") {
                    return cursor.fault("`stream` and `data` once");
                }
                cursor.skip()?;
            }
            return cursor.end();
        }
        self.any_frame(output, frame)
    }

    /// An answer of a poll or a resync.
    #[inline(never)]
    fn answer(&mut self, output: &mut Output, frame: Frame<'_>) -> Scan<()> {
        let poll = (frame.source - self.first_poll) as usize;
        match poll.checked_sub(self.plan.polls.len()).map(|resync| self.plan.resyncs.get(resync)) {
            None => self.polled(output, frame, poll),
            Some(Some(resync)) => self.snapshot(output, frame, resync.instrument),
            Some(None) => Cursor::new(frame.bytes).fault("a source number of the plan"),
        }
    }

    /// A frame that does not begin as a combined stream's usually does.
    #[inline(never)]
    fn any_frame(&self, output: &mut Output, frame: Frame<'_>) -> Scan<()> {
        let mut cursor = Cursor::new(frame.bytes);
        let (mut stream, mut data, mut named) = (None, None, false);
        if cursor.peek() != b'{' {
            return control(output, frame.bytes);
        }
        let start = cursor;
        let mut first = true;
        cursor.expect(b'{', "an object")?;
        while cursor.more(b'}', &mut first)? {
            match &*cursor.key_text()? {
                "stream" if cursor.peek() == b'"' => once(&mut stream, cursor.text("`stream`")?, &cursor)?,
                "data" => {
                    once(&mut data, cursor, &cursor)?;
                    cursor.skip()?;
                }
                key => {
                    named |= key == "e";
                    cursor.skip()?;
                }
            }
        }
        cursor.end()?;
        match (stream, data) {
            (Some(stream), Some(mut data)) => self.event(output, &mut data, Some(stream.as_bytes())),
            _ if named => self.event(output, &mut { start }, None),
            _ => control(output, frame.bytes),
        }
    }

    /// Reads the event that comes next. `stream` is the name of its stream in a combined stream.
    #[inline(always)]
    fn event(&self, output: &mut Output, cursor: &mut Cursor<'_>, stream: Option<&[u8]>) -> Scan<()> {
        if self.books && cursor.literal(b"{\"e\":\"depthUpdate\",") {
            return self.depth_event(output, Members { cursor, named: Some(()) }, stream);
        }
        if self.trades && cursor.literal(b"{\"e\":\"aggTrade\",") {
            return self.trade(output, Members { cursor, named: Some(()) }, TradeKind::Aggregate);
        }
        if self.trades && cursor.literal(b"{\"e\":\"trade\",") {
            return self.trade(output, Members { cursor, named: Some(()) }, TradeKind::Single);
        }
        if self.funding && cursor.literal(b"{\"e\":\"markPriceUpdate\",") {
            return self.mark_price(output, Members { cursor, named: Some(()) });
        }
        self.any_event(output, cursor, stream)
    }

    #[inline(never)]
    fn any_event(&self, output: &mut Output, cursor: &mut Cursor<'_>, stream: Option<&[u8]>) -> Scan<()> {
        let mut start = *cursor;
        let name = event_name(cursor)?;
        let Some(name) = name else {
            let reason = match stream.map_or(Content::Unknown, stream::content) {
                Content::Shutdown => {
                    output.note(Remark::Closing("the venue announced a shutdown".to_owned()));
                    return Ok(());
                }
                Content::NotNeeded => Ignored::NotNeeded,
                Content::DiffDepth | Content::Unknown => Ignored::UnknownKind,
            };
            output.ignored(reason);
            return Ok(());
        };
        start.expect(b'{', "an object")?;
        let members = Members { cursor: &mut start, named: None };
        match &*name {
            "depthUpdate" if self.books => return self.depth_event(output, members, stream),
            "trade" if self.trades => return self.trade(output, members, TradeKind::Single),
            "aggTrade" if self.trades => return self.trade(output, members, TradeKind::Aggregate),
            "markPriceUpdate" if self.funding => return self.mark_price(output, members),
            "forceOrder" if self.liquidations => return self.force_order(output, members),
            "depthUpdate" | "trade" | "aggTrade" | "markPriceUpdate" | "forceOrder" => {
                output.ignored(Ignored::OtherDataType)
            }
            "serverShutdown" => output.note(Remark::Closing("the venue announced a shutdown".to_owned())),
            name if stream::not_needed_event(name) => output.ignored(Ignored::NotNeeded),
            _ => output.ignored(Ignored::UnknownKind),
        }
        Ok(())
    }

    /// A `depthUpdate` is a change only on a diff stream: partial books of USD-M have the same name.
    fn depth_event(&self, output: &mut Output, members: Members<'_, '_>, stream: Option<&[u8]>) -> Scan<()> {
        let content = stream.map_or(Content::DiffDepth, stream::content);
        if content == Content::DiffDepth {
            return self.depth_update(output, members);
        }
        let mut first = true;
        let Members { cursor, .. } = members;
        while cursor.more(b'}', &mut first)? {
            cursor.key_text()?;
            cursor.skip()?;
        }
        output.ignored(if content == Content::NotNeeded { Ignored::NotNeeded } else { Ignored::UnknownKind });
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn scales(&self, instrument: u32) -> Option<Scales> {
        self.scales.get(instrument as usize).copied()
    }

    /// Reads the symbol of a message.
    #[inline(always)]
    pub(crate) fn symbol(&self, cursor: &mut Cursor<'_>, market: &mut Market) -> Scan<()> {
        if market.named {
            return cursor.fault("`s` once");
        }
        market.named = true;
        market.instrument = match cursor.plain_text() {
            Some(symbol) => self.symbols.find(symbol),
            None => self.symbols.find(cursor.text("`s`")?.as_bytes()),
        };
        Ok(())
    }
}

/// The value of `e` in the object, or none where it has no such text. Moves over the whole value.
fn event_name<'a>(cursor: &mut Cursor<'a>) -> Scan<Option<Cow<'a, str>>> {
    const EVENT: u64 = key("e");
    if cursor.peek() != b'{' {
        cursor.skip()?;
        return Ok(None);
    }
    let mut name = None;
    let mut first = true;
    cursor.expect(b'{', "an object")?;
    while cursor.more(b'}', &mut first)? {
        let key = cursor.short_key()?;
        if key == EVENT && cursor.peek() == b'"' {
            once(&mut name, Some(cursor.text("`e`")?), cursor)?;
        } else if key == EVENT {
            once(&mut name, None, cursor)?;
            cursor.skip()?;
        } else {
            cursor.skip()?;
        }
    }
    Ok(name.flatten())
}

/// Sets a field that may stand only once in a message.
#[inline(always)]
pub(crate) fn once<T>(field: &mut Option<T>, value: T, cursor: &Cursor<'_>) -> Scan<()> {
    if field.replace(value).is_some() { cursor.fault("each field once") } else { Ok(()) }
}

/// The venue gives milliseconds, or microseconds where that was asked for; they differ by a thousand, so the
/// magnitude tells.
#[inline(always)]
pub(crate) fn micros(cursor: &Cursor<'_>, time: u64) -> Scan<i64> {
    const MICROS_FROM: u64 = 100_000_000_000_000;
    let micros = if time < MICROS_FROM { time * 1000 } else { time };
    i64::try_from(micros).or_else(|_| cursor.fault("a time in milliseconds or microseconds"))
}
