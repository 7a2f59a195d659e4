//! Frames in any form: data with its members in any order, messages about the connection, the heartbeat.

use crate::adapter::{Okx, Topic};
use crate::channel::Channel;
use crate::control::control;
use crate::field::{each_element, each_member, once};
use crate::funding::funding_rate;
use crate::interest::open_interest;
use crate::liquidation::Passed;
use marketprism_adapter_sdk::{BookChange, Cursor, Ignored, Output, Scan};
use std::borrow::Cow;

/// The members of a frame.
#[derive(Default)]
struct Members<'a> {
    event: Option<()>,
    arg: Option<Cursor<'a>>,
    action: Option<Cow<'a, str>>,
    data: Option<Cursor<'a>>,
}

/// What the `arg` of a message names.
struct Arg<'a> {
    channel: Channel,
    instrument: Option<Cow<'a, str>>,
}

impl Okx {
    /// Reads a frame that does not have the usual form.
    #[inline(never)]
    pub(crate) fn any_frame(&mut self, output: &mut Output, bytes: &[u8]) -> Scan<()> {
        // Not JSON, so before everything else.
        if bytes == b"pong" {
            output.ignored(Ignored::Heartbeat);
            return Ok(());
        }
        let mut cursor = Cursor::new(bytes);
        if cursor.peek() != b'{' {
            cursor.skip()?;
            cursor.end()?;
            output.ignored(Ignored::UnknownKind);
            return Ok(());
        }
        let mut members = Members::default();
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
            Members { event: None, arg: Some(arg), action, data: Some(data) } => {
                self.push(output, arg, action.as_deref(), data)
            }
            Members { event: Some(()), data: Some(data), .. } => data.fault("either `event` or `data`"),
            _ => control(output, bytes),
        }
    }

    /// Reads the data of a channel.
    fn push(
        &mut self,
        output: &mut Output,
        mut arg: Cursor<'_>,
        action: Option<&str>,
        mut data: Cursor<'_>,
    ) -> Scan<()> {
        let arg_at = arg;
        let Arg { channel, instrument } = read_arg(&mut arg)?;
        if channel.data_type().is_none() {
            let reason =
                if channel == Channel::NotNeeded { Ignored::NotNeeded } else { Ignored::UnknownKind };
            output.ignored(reason);
            return Ok(());
        }
        if !self.wants(channel) {
            output.ignored(Ignored::OtherDataType);
            return Ok(());
        }
        if is_empty(data)? {
            output.ignored(Ignored::Empty);
            return Ok(());
        }
        if channel == Channel::Liquidations {
            let mut passed = Passed::default();
            each_element(&mut data, |cursor| self.liquidations(output, cursor, &mut passed))?;
            passed.note(output);
            return Ok(());
        }
        let Some(name) = instrument else { return arg_at.fault("`instId` in `arg`") };
        let Some(instrument) = self.symbols.find(name.as_bytes()) else {
            output.ignored(Ignored::OtherInstrument);
            return Ok(());
        };
        let topic = Topic { instrument, name: name.as_bytes() };
        match channel {
            Channel::Books => {
                let change = match action {
                    Some("snapshot") => BookChange::Snapshot,
                    Some("update") => BookChange::Delta,
                    _ => return data.fault("`action` snapshot or update"),
                };
                self.book_data(output, &mut data, &topic, change)
            }
            Channel::Trades => self.trade_data(output, &mut data, &topic),
            Channel::Funding => {
                each_element(&mut data, |cursor| funding_rate(output, cursor, &topic)).map(|_| ())
            }
            _ => each_element(&mut data, |cursor| open_interest(output, cursor, &topic)).map(|_| ()),
        }
    }
}

fn read_arg<'a>(cursor: &mut Cursor<'a>) -> Scan<Arg<'a>> {
    let (mut channel, mut instrument) = (None, None);
    each_member(cursor, "`arg` with its channel", |cursor, key| match key {
        "channel" => once(&mut channel, Channel::of(&cursor.text("`channel`")?), cursor),
        "instId" => once(&mut instrument, cursor.text("`instId`")?, cursor),
        _ => cursor.skip(),
    })?;
    match channel {
        Some(channel) => Ok(Arg { channel, instrument }),
        None => cursor.fault("`channel` in `arg`"),
    }
}

fn is_empty(mut data: Cursor<'_>) -> Scan<bool> {
    data.expect(b'[', "an array of data")?;
    Ok(data.peek() == b']')
}
