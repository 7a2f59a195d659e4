//! Values that an event cannot have, whoever sends it.
//!
//! Prices of bids and trades are above 0 in every market, since no instrument here is a spread; an option's may be 0. Funding rates may have
//! any sign. Venue times may lie far back, because venues give backlogs and histories; receive times may not.

use std::time::Duration;

use crate::event_key::EventKey;
use crate::{
    Body, BookLevels, DELTA_LEVELS_MAX, Decimal, Event, FundingRate, Header, Liquidation, LongShortRatio,
    MarketType, OpenInterest, OrderBook, OrderBookDelta, Quote, StreamId, Trade, VolatilityIndex,
};

/// Most bytes of an exchange, a symbol, a period or an asset.
const NAME_BYTES_MAX: usize = 64;
/// Most bytes of `name@version+digest` of an adapter.
const ADAPTER_BYTES_MAX: usize = 160;
/// Most bytes of a venue's id of a trade or an order.
const ID_BYTES_MAX: usize = 128;
/// Most characters of an edge's name and of a region.
const EDGE_NAME_MAX: usize = 32;
/// Characters of a refused text that an error repeats.
const SHOWN_CHARS: usize = 48;

/// Names of edges and regions, in words.
pub const EDGE_NAME_ALLOWED: &str = "1 to 32 of a-z, 0-9 and -";

/// Exchange ids, in words.
pub const EXCHANGE_NAME_ALLOWED: &str = "1 to 64 of a-z, 0-9 and _";

/// The Bitcoin network began in 2009: no venue has earlier data. 2009-01-01, microseconds.
const FIRST_VENUE_TIME_US: i64 = 1_230_768_000_000_000;
/// Venue's clock ahead of the broker's: beyond it the unit or the value is wrong.
const VENUE_TIME_AHEAD: Duration = Duration::from_secs(86_400);
/// Announced times, such as the next funding, lie ahead by plan.
const ANNOUNCED_AHEAD: Duration = Duration::from_secs(366 * 86_400);
/// Edge's clock ahead of the broker's.
pub const RECEIVED_AHEAD_MAX: Duration = Duration::from_secs(300);
/// Time that an event may have waited in an edge: what an edge keeps for longer than the broker does is beyond every audit.
pub const RECEIVED_BEHIND_MAX: Duration = Duration::from_secs(48 * 3_600);
const INTERVAL_HOURS_MAX: u32 = 31 * 24;

/// Kind of a wrong value: label of counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InvalidKind {
    /// A name or an id of a length or with characters that none has.
    Name,
    /// A venue time, receive time or announced time.
    Time,
    /// Of a trade, a level, a forced order, a mark or an index.
    Price,
    /// A quantity, an open interest or a share.
    Quantity,
    /// A crossed book, or levels out of order.
    Book,
    /// The id is not the one of the content.
    EventId,
}

impl InvalidKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Name, Self::Time, Self::Price, Self::Quantity, Self::Book, Self::EventId];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Time => "time",
            Self::Price => "price",
            Self::Quantity => "quantity",
            Self::Book => "book",
            Self::EventId => "event_id",
        }
    }
}

/// A value that cannot be true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: is {value}, allowed: {allowed}")]
pub struct InvalidValue {
    /// Counted under it.
    pub kind: InvalidKind,
    /// Name of the field in the payload.
    pub field: &'static str,
    /// Its value; a long text is cut.
    pub value: String,
    /// In words.
    pub allowed: String,
}

type Check = Result<(), InvalidValue>;

/// True for the name of an edge or a region: a small alphabet is legal in subjects, logs and labels.
pub fn is_edge_name(name: &str) -> bool {
    let in_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=EDGE_NAME_MAX).contains(&name.len()) && name.bytes().all(in_name)
}

/// True for an exchange id.
pub fn is_exchange_name(name: &str) -> bool {
    let in_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(in_name)
}

/// Checks an event that the broker received at this time (nanoseconds since 1970 UTC): every value, and the id.
pub fn validate_event(event: &Event<'_>, published_ns: i64) -> Check {
    EventChecks::default().check(event, None, published_ns)
}

/// [`validate_event`] for the events of a message, one after the other: what an event shares with the one before it is checked and hashed once.
#[derive(Debug, Default)]
pub struct EventChecks {
    key: EventKey,
    /// The last event was valid, so that the key is that of its stream.
    is_last_valid: bool,
}

impl EventChecks {
    /// `before`: the event that was checked last, if it was valid.
    pub fn check(&mut self, event: &Event<'_>, before: Option<&Event<'_>>, published_ns: i64) -> Check {
        let is_last_valid = std::mem::take(&mut self.is_last_valid);
        let before = before.filter(|_| is_last_valid);
        let has_same_texts = before.is_some_and(|before| event.header.has_texts_of(&before.header));
        if !has_same_texts {
            names(event)?;
        }
        values(event, published_ns)?;
        let is_same_stream = has_same_texts && before.is_some_and(|before| has_kind_of(event, before));
        let id = self.key.id_of(event, is_same_stream);
        if event.header.event_id == id {
            self.is_last_valid = true;
            return Ok(());
        }
        let allowed = format!("{id}, the id of its content");
        Err(invalid(InvalidKind::EventId, "event_id", &event.header.event_id, allowed))
    }
}

fn has_kind_of(event: &Event<'_>, other: &Event<'_>) -> bool {
    event.header.market_type == other.header.market_type && event.body.data_type() == other.body.data_type()
}

/// Checks every value but the id. `at_ns`: when the broker received it, or, before it is published, when the edge did.
pub fn validate_content(event: &Event<'_>, at_ns: i64) -> Check {
    names(event)?;
    values(event, at_ns)
}

fn values(event: &Event<'_>, at_ns: i64) -> Check {
    let header = &event.header;
    venue_time("timestamp", header.timestamp_us, at_ns, VENUE_TIME_AHEAD)?;
    receive_time(header.received_at_ns, at_ns)?;
    match &event.body {
        Body::Trade(trade) => a_trade(trade, header.market_type),
        Body::OrderBook(book) => order_book(book, header.market_type),
        Body::FundingRate(rate) => funding_rate(rate, at_ns),
        Body::OpenInterest(interest) => open_interest(interest),
        Body::Liquidation(order) => liquidation(order, header.market_type, at_ns),
        Body::LsrTopPosition(shares) | Body::LsrAllAccount(shares) => ratio(shares),
        Body::VolatilityIndex(index) => volatility_index(index),
        Body::OrderBookDelta(delta) => order_book_delta(delta, header.market_type),
        Body::Quote(quote) => a_quote(quote, header.market_type),
    }
}

fn names(event: &Event<'_>) -> Check {
    let Header { exchange, symbol, venue_symbol, edge, region, adapter, .. } = &event.header;
    for (field, name) in [("edge", edge), ("region", region)] {
        if !is_edge_name(name) {
            return Err(wrong_text(field, name, EDGE_NAME_ALLOWED.to_owned()));
        }
    }
    if !is_exchange_name(exchange) {
        return Err(wrong_text("exchange", exchange, EXCHANGE_NAME_ALLOWED.to_owned()));
    }
    text("symbol", symbol, NAME_BYTES_MAX, StreamId::allows)?;
    text("venue_symbol", venue_symbol, NAME_BYTES_MAX, is_printed)?;
    text("adapter", adapter, ADAPTER_BYTES_MAX, |c| c.is_ascii_graphic())
}

fn is_printed(c: char) -> bool {
    !c.is_control()
}

/// `allowed` must be true for letters and digits of ASCII, `-` and `_`, of which most texts consist: they are checked as bytes.
fn text(field: &'static str, text: &str, most: usize, allowed: impl Fn(char) -> bool) -> Check {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=most).contains(&text.len()) && (text.bytes().all(is_plain) || text.chars().all(allowed)) {
        return Ok(());
    }
    Err(wrong_text(field, text, format!("1 to {most} bytes, without control characters and separators")))
}

fn wrong_text(field: &'static str, text: &str, allowed: String) -> InvalidValue {
    let shown: String = text.chars().take(SHOWN_CHARS).collect();
    let rest = if shown.len() < text.len() { format!("... ({} bytes)", text.len()) } else { String::new() };
    InvalidValue { kind: InvalidKind::Name, field, value: format!("{shown:?}{rest}"), allowed }
}

fn receive_time(received_at_ns: i64, at_ns: i64) -> Check {
    let (ahead, behind) = (nanos(RECEIVED_AHEAD_MAX), nanos(RECEIVED_BEHIND_MAX));
    if (at_ns.saturating_sub(behind)..=at_ns.saturating_add(ahead)).contains(&received_at_ns) {
        return Ok(());
    }
    let (behind, ahead) = (RECEIVED_BEHIND_MAX.as_secs(), RECEIVED_AHEAD_MAX.as_secs());
    let allowed = format!("{behind} s before to {ahead} s after the broker's {at_ns}");
    Err(invalid(InvalidKind::Time, "received_at", &received_at_ns, allowed))
}

fn venue_time(field: &'static str, time_us: i64, at_ns: i64, ahead: Duration) -> Check {
    let last_us = at_ns.saturating_add(nanos(ahead)) / 1_000;
    if (FIRST_VENUE_TIME_US..=last_us).contains(&time_us) {
        return Ok(());
    }
    let allowed = format!("microseconds since 1970 from {FIRST_VENUE_TIME_US} (2009) to {last_us}");
    Err(invalid(InvalidKind::Time, field, &time_us, allowed))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn a_trade(trade: &Trade<'_>, market_type: MarketType) -> Check {
    text("trade_id", &trade.trade_id, ID_BYTES_MAX, is_printed)?;
    price("price", trade.price, market_type)?;
    positive(InvalidKind::Quantity, "quantity", trade.quantity)
}

fn price(field: &'static str, price: Decimal, market_type: MarketType) -> Check {
    match market_type {
        MarketType::Options => not_negative(InvalidKind::Price, field, Some(price)),
        _ => positive(InvalidKind::Price, field, price),
    }
}

fn positive(kind: InvalidKind, field: &'static str, value: Decimal) -> Check {
    if value.mantissa > 0 { Ok(()) } else { Err(invalid(kind, field, &value, "above 0".to_owned())) }
}

fn not_negative(kind: InvalidKind, field: &'static str, value: Option<Decimal>) -> Check {
    match value {
        Some(value) if value.mantissa < 0 => Err(invalid(kind, field, &value, "0 or above".to_owned())),
        _ => Ok(()),
    }
}

fn invalid(
    kind: InvalidKind,
    field: &'static str,
    value: &dyn std::fmt::Display,
    allowed: String,
) -> InvalidValue {
    InvalidValue { kind, field, value: value.to_string(), allowed }
}

/// A locked book (best bid equal to best ask) is legal; an empty side too.
fn order_book(book: &OrderBook<'_>, market_type: MarketType) -> Check {
    let levels = &book.levels;
    both_sides(levels, market_type, 1)?;
    let best = [&levels.bids, &levels.asks].map(|side| side.first().copied());
    not_crossed("bids", best, levels.price_scale)
}

fn not_crossed(field: &'static str, best: [Option<[i64; 2]>; 2], scale: u8) -> Check {
    if let [Some([bid, _]), Some([ask, _])] = best
        && bid > ask
    {
        let [bid, ask] = [bid, ask].map(|mantissa| Decimal { mantissa, scale });
        let allowed = format!("at most the best ask {ask}");
        return Err(invalid(InvalidKind::Book, field, &format!("crossed: best bid {bid}"), allowed));
    }
    Ok(())
}

fn a_quote(quote: &Quote, market_type: MarketType) -> Check {
    let fields = [["bid_price", "bid_quantity"], ["ask_price", "ask_quantity"]];
    for (level, [of_price, of_quantity]) in quote.decimals().into_iter().zip(fields) {
        if let Some([level, quantity]) = level {
            price(of_price, level, market_type)?;
            positive(InvalidKind::Quantity, of_quantity, quantity)?;
        }
    }
    not_crossed("bid_price", [quote.bid, quote.ask], quote.price_scale)
}

/// The venue's book may be crossed between two updates, and its records have all of them.
fn order_book_delta(delta: &OrderBookDelta<'_>, market_type: MarketType) -> Check {
    let count = delta.levels.bids.len() + delta.levels.asks.len();
    if count > DELTA_LEVELS_MAX {
        let value = format!("{count} levels");
        return Err(invalid(
            InvalidKind::Book,
            "bids",
            &value,
            format!("at most {DELTA_LEVELS_MAX} with the asks"),
        ));
    }
    both_sides(&delta.levels, market_type, i64::from(delta.is_snapshot))
}

/// `least`: the smallest allowed quantity.
fn both_sides(levels: &BookLevels<'_>, market_type: MarketType, least: i64) -> Check {
    side("bids", (levels, &levels.bids), market_type, least, |worse, better| worse < better)?;
    side("asks", (levels, &levels.asks), market_type, least, |worse, better| worse > better)
}

fn side(
    field: &'static str,
    (levels, side): (&BookLevels<'_>, &[[i64; 2]]),
    market_type: MarketType,
    least_amount: i64,
    follows: impl Fn(i64, i64) -> bool,
) -> Check {
    // Most books are sound, and proving so is cheaper than finding the level that is not.
    let least = i64::from(market_type != MarketType::Options);
    let in_order =
        side.iter().zip(side.iter().skip(1)).all(|([before, _], [level, _])| follows(*level, *before));
    if in_order && side.iter().all(|[level, amount]| *level >= least && *amount >= least_amount) {
        return Ok(());
    }
    let mut before = None;
    for [level, amount] in side {
        price(field, price_of(levels, *level), market_type)?;
        let amount = Decimal { mantissa: *amount, scale: levels.quantity_scale };
        match least_amount {
            0 => not_negative(InvalidKind::Quantity, field, Some(amount))?,
            _ => positive(InvalidKind::Quantity, field, amount)?,
        }
        if let Some(before) = before
            && !follows(*level, before)
        {
            let value = format!("{} after {}", price_of(levels, *level), price_of(levels, before));
            return Err(invalid(InvalidKind::Book, field, &value, "each price once, best first".to_owned()));
        }
        before = Some(*level);
    }
    Ok(())
}

const fn price_of(levels: &BookLevels<'_>, mantissa: i64) -> Decimal {
    Decimal { mantissa, scale: levels.price_scale }
}

fn funding_rate(rate: &FundingRate, at_ns: i64) -> Check {
    not_negative(InvalidKind::Price, "mark_price", rate.mark_price)?;
    not_negative(InvalidKind::Price, "index_price", rate.index_price)?;
    for (field, time_us) in
        [("funding_time", rate.funding_time_us), ("next_funding_time", rate.next_funding_time_us)]
    {
        if let Some(time_us) = time_us {
            venue_time(field, time_us, at_ns, ANNOUNCED_AHEAD)?;
        }
    }
    match rate.interval_hours {
        Some(hours) if !(1..=INTERVAL_HOURS_MAX).contains(&hours) => {
            let allowed = format!("1 to {INTERVAL_HOURS_MAX}");
            Err(invalid(InvalidKind::Time, "interval_hours", &hours, allowed))
        }
        _ => Ok(()),
    }
}

fn open_interest(interest: &OpenInterest) -> Check {
    for (field, value) in [
        ("open_interest", interest.open_interest),
        ("open_interest_contracts", interest.open_interest_contracts),
        ("open_interest_value", interest.open_interest_value),
    ] {
        not_negative(InvalidKind::Quantity, field, value)?;
    }
    Ok(())
}

fn liquidation(order: &Liquidation<'_>, market_type: MarketType, at_ns: i64) -> Check {
    price("price", order.price, market_type)?;
    positive(InvalidKind::Quantity, "quantity", order.quantity)?;
    if let Some(time_us) = order.liquidation_time_us {
        venue_time("liquidation_time", time_us, at_ns, VENUE_TIME_AHEAD)?;
    }
    if order.liquidation_id.is_empty() {
        return Ok(());
    }
    text("liquidation_id", &order.liquidation_id, ID_BYTES_MAX, is_printed)
}

fn ratio(shares: &LongShortRatio<'_>) -> Check {
    for (field, share) in [("long ratio", shares.long), ("short ratio", shares.short)] {
        if !(0..=i128::from(ONE_SCALE_18)).contains(&share.to_scale_18()) {
            return Err(invalid(InvalidKind::Quantity, field, &share, "0 to 1".to_owned()));
        }
    }
    not_negative(InvalidKind::Quantity, "ratio", shares.ratio)?;
    text("period", &shares.period, NAME_BYTES_MAX, is_printed)
}

/// 1 with 18 decimal places.
const ONE_SCALE_18: i64 = 1_000_000_000_000_000_000;

fn volatility_index(index: &VolatilityIndex<'_>) -> Check {
    not_negative(InvalidKind::Quantity, "index_value", Some(index.index_value))?;
    text("underlying_asset", &index.underlying_asset, NAME_BYTES_MAX, is_printed)
}
