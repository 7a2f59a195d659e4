//! Parts of an event that all its readers share.

use marketprism_adapter_sdk::{
    Cursor, Ignored, LoadedFeed, Output, ParseError, ParseResult, each_member, key, once, unless_unset,
};

const EVENT: u64 = key("e");
pub(super) const MARKET: u64 = key("st");

/// Symbol and market of an event, as far as they have been read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EventMarket {
    named: bool,
    /// None for a symbol that is not in the feed.
    pub(super) instrument: Option<u32>,
    coin_margined: bool,
}

impl EventMarket {
    /// Reads `st`: 1 is USD-M, 2 is COIN-M, whose symbols and units are others.
    pub(super) fn read_type(&mut self, cursor: &mut Cursor<'_>) -> ParseResult<()> {
        self.coin_margined |=
            unless_unset(cursor, "`st`", Cursor::unsigned)?.is_some_and(|market| market != 1);
        Ok(())
    }

    /// The instrument; none, with a note, when the event is not of the feed.
    #[inline(always)]
    pub(super) fn subscribed(&self, cursor: &Cursor<'_>, output: &mut Output) -> ParseResult<Option<u32>> {
        if !self.named {
            return cursor.expected("`s`");
        }
        let instrument = self.instrument.filter(|_| !self.coin_margined);
        if instrument.is_none() {
            output.ignored(Ignored::OtherInstrument);
        }
        Ok(instrument)
    }
}

/// The members of an event object that are still to be read.
pub(super) struct EventMembers<'c, 'a> {
    /// After the object's brace, or after a member and its comma.
    pub(super) cursor: &'c mut Cursor<'a>,
    /// Set when `e` has been read: it may not come again.
    pub(super) named: Option<()>,
}

/// Reads a member that all events have; moves over any other.
#[inline(always)]
pub(super) fn other_member(
    key: u64,
    cursor: &mut Cursor<'_>,
    named: &mut Option<()>,
    market: &mut EventMarket,
) -> ParseResult<()> {
    match key {
        MARKET => return market.read_type(cursor),
        EVENT => once(named, (), cursor)?,
        _ => {}
    }
    cursor.skip()
}

/// An event that cannot be read is malformed, unless it is about a symbol that is not in the feed: options and COIN-M write other values under these
/// names. `start` is where the event begins.
#[cold]
pub(super) fn unless_of_another<'a>(
    loaded: &LoadedFeed,
    output: &mut Output,
    cursor: &mut Cursor<'a>,
    start: Cursor<'a>,
    error: ParseError,
) -> ParseResult<()> {
    let symbol =
        symbol_of(start, true).ok().flatten().filter(|symbol| loaded.position(symbol.as_bytes()).is_none());
    if symbol.is_none() {
        return Err(error);
    }
    *cursor = start;
    cursor.skip()?;
    output.ignored(Ignored::OtherInstrument);
    Ok(())
}

/// The symbol of an event, or of the order in it.
fn symbol_of(mut cursor: Cursor<'_>, outer: bool) -> ParseResult<Option<String>> {
    let mut symbol = None;
    each_member(&mut cursor, "an event", |cursor, key| {
        match (key, cursor.peek()) {
            ("s", b'"') => symbol = Some(cursor.text("`s`")?.into_owned()),
            ("o", b'{') if outer => {
                symbol = symbol_of(*cursor, false)?;
                cursor.skip()?;
            }
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(symbol)
}

#[inline(always)]
pub(super) fn symbol(
    loaded: &LoadedFeed,
    cursor: &mut Cursor<'_>,
    market: &mut EventMarket,
) -> ParseResult<()> {
    if market.named {
        return cursor.expected("`s` once");
    }
    market.named = true;
    market.instrument = match cursor.plain_text() {
        Some(symbol) => loaded.position(symbol),
        None => loaded.position(cursor.text("`s`")?.as_bytes()),
    };
    Ok(())
}

/// The venue gives milliseconds, or microseconds where a connection asked for them, distinguished by magnitude.
#[inline(always)]
pub(super) fn micros(cursor: &Cursor<'_>, time: u64) -> ParseResult<i64> {
    const MICROS_FROM: u64 = 100_000_000_000_000;
    let micros = if time < MICROS_FROM { time * 1000 } else { time };
    i64::try_from(micros).or_else(|_| cursor.expected("a time in milliseconds or microseconds"))
}
