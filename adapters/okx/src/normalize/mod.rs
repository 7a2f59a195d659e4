//! Frames: books and trades in the venue's usual form first, then any form of data, control messages and the heartbeat.

mod book;
mod control;
mod funding;
mod liquidation;
mod open_interest;
mod ratio;
mod topic;
mod trade;

use crate::OkxVenue;
use crate::channels::Channel;
use crate::numbers::ContractUnits;
use book::book;
use control::control;
use funding::funding_rate;
use marketprism_adapter_sdk::{
    BookChange, Cursor, DataType, Frame, Ignored, LoadedFeed, Output, ParseResult, each_member, once,
};
use open_interest::open_interest;
use std::borrow::Cow;
use topic::Topic;
use trade::trade;

impl OkxVenue {
    /// Messages of books and trades in the venue's usual form are read at once; all others go the general way.
    #[inline(always)]
    pub(crate) fn frame(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        frame: Frame<'_>,
    ) -> ParseResult<()> {
        if !loaded.is_pushed(frame.source) {
            return ratio::answer(loaded, output, frame);
        }
        let mut cursor = Cursor::new(frame.bytes);
        if !cursor.literal(b"{\"arg\":{\"channel\":") {
            return self.any_frame(loaded, output, frame);
        }
        if loaded.has(DataType::Orderbook)
            && cursor.literal(b"\"books\",\"instId\":")
            && let Some(name) = cursor.plain_text()
            && let Some(instrument) = loaded.position(name)
            && let Some(change) = usual_change(&mut cursor)
        {
            self.book_data(output, &mut cursor, &Topic { instrument, name }, change)?;
            return rest(cursor);
        }
        if loaded.has(DataType::Trade)
            && cursor.literal(b"\"trades\",\"instId\":")
            && let Some(name) = cursor.plain_text()
            && let Some(instrument) = loaded.position(name)
            && cursor.literal(b"},\"data\":")
        {
            self.trade_data(output, &mut cursor, &Topic { instrument, name })?;
            return rest(cursor);
        }
        self.any_frame(loaded, output, frame)
    }

    fn units(&self, cursor: &Cursor<'_>, instrument: u32) -> ParseResult<&ContractUnits> {
        self.units.get(instrument as usize).map_or_else(|| cursor.expected("a known instrument"), Ok)
    }

    #[inline(always)]
    fn book_data(
        &self,
        output: &mut Output,
        cursor: &mut Cursor<'_>,
        topic: &Topic<'_>,
        change: BookChange,
    ) -> ParseResult<()> {
        let units = self.units(cursor, topic.instrument)?;
        let count = output.each_item(cursor, |output, cursor| book(output, cursor, topic, units, change))?;
        if count == 0 {
            output.ignored(Ignored::Empty);
        }
        Ok(())
    }

    #[inline(always)]
    fn trade_data(&self, output: &mut Output, cursor: &mut Cursor<'_>, topic: &Topic<'_>) -> ParseResult<()> {
        let units = self.units(cursor, topic.instrument)?;
        let count = output.each_item(cursor, |output, cursor| trade(output, cursor, topic, units))?;
        if count == 0 {
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

/// Reads the members after the data of a message in the usual form.
#[inline(always)]
fn rest(mut cursor: Cursor<'_>) -> ParseResult<()> {
    let mut first = false;
    while cursor.more(b'}', &mut first)? {
        if matches!(&*cursor.key_text()?, "arg" | "action" | "data" | "event") {
            return cursor.expected("each field once");
        }
        cursor.skip()?;
    }
    cursor.end()
}

#[derive(Default)]
struct FrameMembers<'a> {
    event: Option<()>,
    arg: Option<Cursor<'a>>,
    action: Option<Cow<'a, str>>,
    data: Option<Cursor<'a>>,
}

struct ChannelArg<'a> {
    channel: Channel,
    instrument: Option<Cow<'a, str>>,
}

impl OkxVenue {
    /// Reads a frame that does not have the usual form.
    #[inline(never)]
    fn any_frame(&self, loaded: &LoadedFeed, output: &mut Output, frame: Frame<'_>) -> ParseResult<()> {
        // Not JSON, so before everything else.
        if frame.bytes == b"pong" {
            output.ignored(Ignored::Heartbeat);
            return Ok(());
        }
        let mut cursor = Cursor::new(frame.bytes);
        if cursor.peek() != b'{' {
            cursor.skip()?;
            cursor.end()?;
            output.ignored(Ignored::UnknownKind);
            return Ok(());
        }
        let mut members = FrameMembers::default();
        each_member(&mut cursor, "an object", |cursor, key| match key {
            "event" => {
                once(&mut members.event, (), cursor)?;
                cursor.skip()
            }
            "arg" => {
                once(&mut members.arg, *cursor, cursor)?;
                cursor.skip()
            }
            "action" => once(&mut members.action, cursor.text("`action`")?, cursor),
            "data" => {
                once(&mut members.data, *cursor, cursor)?;
                cursor.skip()
            }
            _ => cursor.skip(),
        })?;
        cursor.end()?;
        match members {
            FrameMembers { event: None, arg: Some(arg), action, data: Some(data) } => {
                self.push(loaded, output, arg, action.as_deref(), data)
            }
            FrameMembers { event: Some(()), data: Some(data), .. } => {
                data.expected("either `event` or `data`")
            }
            _ => control(output, frame.bytes),
        }
    }

    fn push(
        &self,
        loaded: &LoadedFeed,
        output: &mut Output,
        mut arg: Cursor<'_>,
        action: Option<&str>,
        mut data: Cursor<'_>,
    ) -> ParseResult<()> {
        let arg_at = arg;
        let ChannelArg { channel, instrument } = read_arg(&mut arg)?;
        let unread = match channel.data_type() {
            None if channel == Channel::NotNeeded => Some(Ignored::NotNeeded),
            None => Some(Ignored::UnknownKind),
            Some(data_type) => (!loaded.has(data_type)).then_some(Ignored::OtherDataType),
        };
        if let Some(reason) = unread {
            output.ignored(reason);
            return Ok(());
        }
        if is_empty(data)? {
            output.ignored(Ignored::Empty);
            return Ok(());
        }
        if channel == Channel::Liquidations {
            return output
                .each_item(&mut data, |output, cursor| self.liquidations(loaded, output, cursor))
                .map(drop);
        }
        let Some(name) = instrument else { return arg_at.expected("`instId` in `arg`") };
        let Some(instrument) = loaded.position(name.as_bytes()) else {
            output.ignored(Ignored::OtherInstrument);
            return Ok(());
        };
        let topic = Topic { instrument, name: name.as_bytes() };
        match channel {
            Channel::Books => {
                let change = match action {
                    Some("snapshot") => BookChange::Snapshot,
                    Some("update") => BookChange::Delta,
                    _ => return data.expected("`action` snapshot or update"),
                };
                self.book_data(output, &mut data, &topic, change)
            }
            Channel::Trades => self.trade_data(output, &mut data, &topic),
            Channel::Funding => {
                output.each_item(&mut data, |output, cursor| funding_rate(output, cursor, &topic)).map(drop)
            }
            _ => {
                output.each_item(&mut data, |output, cursor| open_interest(output, cursor, &topic)).map(drop)
            }
        }
    }
}

fn read_arg<'a>(cursor: &mut Cursor<'a>) -> ParseResult<ChannelArg<'a>> {
    let (mut channel, mut instrument) = (None, None);
    each_member(cursor, "`arg` with its channel", |cursor, key| match key {
        "channel" => once(&mut channel, Channel::of(&cursor.text("`channel`")?), cursor),
        "instId" => once(&mut instrument, cursor.text("`instId`")?, cursor),
        _ => cursor.skip(),
    })?;
    match channel {
        Some(channel) => Ok(ChannelArg { channel, instrument }),
        None => cursor.expected("`channel` in `arg`"),
    }
}

fn is_empty(mut data: Cursor<'_>) -> ParseResult<bool> {
    data.expect(b'[', "an array of data")?;
    Ok(data.peek() == b']')
}
