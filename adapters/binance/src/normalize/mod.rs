//! Frames: combined streams, single events, and the answers of polls and resyncs.

mod book;
mod control;
mod event;
mod funding;
mod history;
mod liquidation;
mod polled;
mod trade;

use crate::BinanceVenue;
use crate::streams::{self, StreamContent};
use control::control;
use event::{EventMembers, unless_of_another};
use marketprism_adapter_sdk::{
    BookScales, Cursor, DataType, Frame, FrameSource, Ignored, LoadedFeed, Output, ParseResult, Remark, key,
    once,
};
use std::borrow::Cow;
use trade::TradeKind;

impl BinanceVenue {
    #[inline(always)]
    pub(crate) fn frame(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        frame: Frame<'_>,
    ) -> ParseResult<()> {
        if !loaded.is_pushed(frame.source) {
            return self.answer(loaded, output, frame);
        }
        let mut cursor = Cursor::new(frame.bytes);
        if cursor.literal(b"{\"stream\":")
            && let Some(stream) = cursor.plain_text()
            && cursor.literal(b",\"data\":")
        {
            self.event(loaded, output, &mut cursor, Some(stream))?;
            let mut first = false;
            while cursor.more(b'}', &mut first)? {
                if matches!(&*cursor.key_text()?, "stream" | "data") {
                    return cursor.expected("`stream` and `data` once");
                }
                cursor.skip()?;
            }
            return cursor.end();
        }
        self.any_frame(loaded, output, frame)
    }

    #[inline(never)]
    fn answer(&mut self, loaded: &LoadedFeed, output: &mut Output, frame: Frame<'_>) -> ParseResult<()> {
        match loaded.source(frame.source) {
            FrameSource::Resync(resync) => match loaded.plan.resyncs.get(resync as usize) {
                Some(resync) => self.snapshot(output, frame, resync.instrument),
                None => Cursor::new(frame.bytes).expected("a source number of the plan"),
            },
            FrameSource::Backfill(instrument) => self.history(output, frame, instrument),
            FrameSource::Connection(poll) | FrameSource::Poll(poll) => {
                self.polled(loaded, output, frame, poll)
            }
        }
    }

    /// A frame that does not begin as a combined stream's usually does.
    #[inline(never)]
    fn any_frame(&self, loaded: &LoadedFeed, output: &mut Output, frame: Frame<'_>) -> ParseResult<()> {
        let mut cursor = Cursor::new(frame.bytes);
        let (mut stream, mut data, mut named) = (None, None, false);
        match cursor.peek() {
            b'{' => {}
            b'[' => {
                self.any_event(loaded, output, &mut cursor, None)?;
                return cursor.end();
            }
            _ => return control(output, frame.bytes),
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
            (Some(stream), Some(mut data)) => self.event(loaded, output, &mut data, Some(stream.as_bytes())),
            _ if named => self.event(loaded, output, &mut { start }, None),
            _ => control(output, frame.bytes),
        }
    }

    /// Reads the event that comes next. `stream` is the name of its stream in a combined stream.
    #[inline(always)]
    fn event(
        &self,
        loaded: &LoadedFeed,
        output: &mut Output,
        cursor: &mut Cursor<'_>,
        stream: Option<&[u8]>,
    ) -> ParseResult<()> {
        let start = *cursor;
        let read = if loaded.has(DataType::Orderbook) && cursor.literal(b"{\"e\":\"depthUpdate\",") {
            self.depth_event(loaded, output, EventMembers { cursor, named: Some(()) }, stream)
        } else if loaded.has(DataType::Trade) && cursor.literal(b"{\"e\":\"aggTrade\",") {
            self.trade(loaded, output, EventMembers { cursor, named: Some(()) }, TradeKind::Aggregate)
        } else if loaded.has(DataType::Trade) && cursor.literal(b"{\"e\":\"trade\",") {
            self.trade(loaded, output, EventMembers { cursor, named: Some(()) }, TradeKind::Single)
        } else if loaded.has(DataType::FundingRate) && cursor.literal(b"{\"e\":\"markPriceUpdate\",") {
            self.mark_price(loaded, output, EventMembers { cursor, named: Some(()) })
        } else {
            return self.any_event(loaded, output, cursor, stream);
        };
        match read {
            Ok(()) => Ok(()),
            Err(error) => unless_of_another(loaded, output, cursor, start, error),
        }
    }

    /// Streams of all symbols send arrays of events.
    #[inline(never)]
    fn any_event(
        &self,
        loaded: &LoadedFeed,
        output: &mut Output,
        cursor: &mut Cursor<'_>,
        stream: Option<&[u8]>,
    ) -> ParseResult<()> {
        if cursor.peek() != b'[' {
            return self.one_event(loaded, output, cursor, stream);
        }
        let count =
            output.each_item(cursor, |output, cursor| self.one_event(loaded, output, cursor, stream))?;
        if count == 0 {
            output.ignored(Ignored::Empty);
        }
        Ok(())
    }

    fn one_event(
        &self,
        loaded: &LoadedFeed,
        output: &mut Output,
        cursor: &mut Cursor<'_>,
        stream: Option<&[u8]>,
    ) -> ParseResult<()> {
        let start = *cursor;
        let name = event_name(cursor)?;
        let Some(name) = name else {
            let reason = match stream.map_or(StreamContent::Unknown, streams::content) {
                StreamContent::Shutdown => {
                    output.note(Remark::Closing("the venue announced a shutdown".to_owned()));
                    return Ok(());
                }
                StreamContent::NotNeeded => Ignored::NotNeeded,
                StreamContent::DiffDepth | StreamContent::Unknown => Ignored::UnknownKind,
            };
            output.ignored(reason);
            return Ok(());
        };
        let mut object = start;
        object.expect(b'{', "an object")?;
        let members = EventMembers { cursor: &mut object, named: None };
        let read = match &*name {
            "depthUpdate" if loaded.has(DataType::Orderbook) => {
                self.depth_event(loaded, output, members, stream)
            }
            "trade" if loaded.has(DataType::Trade) => self.trade(loaded, output, members, TradeKind::Single),
            "aggTrade" if loaded.has(DataType::Trade) => {
                self.trade(loaded, output, members, TradeKind::Aggregate)
            }
            "markPriceUpdate" if loaded.has(DataType::FundingRate) => {
                self.mark_price(loaded, output, members)
            }
            "forceOrder" if loaded.has(DataType::Liquidation) => self.force_order(loaded, output, members),
            "serverShutdown" => {
                output.note(Remark::Closing("the venue announced a shutdown".to_owned()));
                return Ok(());
            }
            name => {
                output.ignored(match name {
                    "depthUpdate" | "trade" | "aggTrade" | "markPriceUpdate" | "forceOrder" => {
                        Ignored::OtherDataType
                    }
                    name if streams::not_needed_event(name) => Ignored::NotNeeded,
                    _ => Ignored::UnknownKind,
                });
                return Ok(());
            }
        };
        read.or_else(|error| unless_of_another(loaded, output, cursor, start, error))
    }

    /// A `depthUpdate` is a change only on a diff stream: partial books of USD-M have the same name.
    #[inline(always)]
    fn depth_event(
        &self,
        loaded: &LoadedFeed,
        output: &mut Output,
        members: EventMembers<'_, '_>,
        stream: Option<&[u8]>,
    ) -> ParseResult<()> {
        let content = stream.map_or(StreamContent::DiffDepth, streams::content);
        if content == StreamContent::DiffDepth {
            return self.depth_update(loaded, output, members);
        }
        let mut first = true;
        let EventMembers { cursor, .. } = members;
        while cursor.more(b'}', &mut first)? {
            cursor.key_text()?;
            cursor.skip()?;
        }
        output.ignored(if content == StreamContent::NotNeeded {
            Ignored::NotNeeded
        } else {
            Ignored::UnknownKind
        });
        Ok(())
    }

    #[inline(always)]
    fn scales(&self, instrument: u32) -> Option<BookScales> {
        self.scales.get(instrument as usize).copied()
    }
}

/// The value of `e` in the object, or none where it has no such text. Moves over the whole value.
fn event_name<'a>(cursor: &mut Cursor<'a>) -> ParseResult<Option<Cow<'a, str>>> {
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
