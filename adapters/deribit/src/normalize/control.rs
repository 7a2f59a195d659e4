//! Messages in any form: answers to requests, errors, heartbeats, and data with its members in another order than usual.

use crate::DeribitVenue;
use crate::plan::test_message;
use marketprism_adapter_sdk::{
    Cursor, Frame, Ignored, LoadedFeed, Object, Output, ParseResult, Remark, each_element,
};
use std::collections::BTreeSet;

/// Channels that one note names: the SDK cuts long texts.
const NAMED_MAX: usize = 20;

/// Refusals that say "later", not "never" (too many requests, busy, settlement, maintenance, a fault of the venue): the channels would stay silent
/// for ever, so that a new connection asks again.
const NOT_NOW: [&str; 10] =
    ["10028", "10040", "10041", "10047", "10066", "11051", "11094", "13028", "13503", "13888"];

impl DeribitVenue {
    /// Reads a message that does not begin as data usually does.
    #[inline(never)]
    pub(super) fn message(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        frame: Frame<'_>,
    ) -> ParseResult<()> {
        let Some(message) = output.object(frame.bytes)? else { return Ok(()) };
        let id = message.read("id", Cursor::unsigned).ok();
        let requested = id.and_then(|id| self.subscribed.get(&(frame.source, id)));
        if error(output, &message, requested.map(Vec::as_slice))? {
            return Ok(());
        }
        if message.has("result") {
            let result = |cursor: &mut Cursor<'_>, _| confirmed(output, cursor, requested.map(Vec::as_slice));
            return message.read("result", result);
        }
        if !message.has("method") {
            output.ignored(Ignored::UnknownKind);
            return Ok(());
        }
        match &*message.read("method", Cursor::text)? {
            "subscription" => message.read("params", |cursor, _| {
                let params = Object::parse(cursor)?;
                let channel = params.read("channel", Cursor::text)?;
                params.read("data", |cursor, _| self.data(loaded, output, cursor, channel.as_bytes()))
            }),
            "heartbeat" => message.read("params", |cursor, _| heartbeat(output, &Object::parse(cursor)?)),
            _ => {
                output.ignored(Ignored::UnknownKind);
                Ok(())
            }
        }
    }
}

fn heartbeat(output: &mut Output, params: &Object<'_>) -> ParseResult<()> {
    match &*params.read("type", Cursor::text)? {
        "test_request" => output.reply(test_message()),
        "heartbeat" => output.ignored(Ignored::Heartbeat),
        _ => output.ignored(Ignored::UnknownKind),
    }
    Ok(())
}

/// Reads the result of a request. A subscription is answered with its channels without those that the venue does not know, and without an
/// error.
fn confirmed(output: &mut Output, cursor: &mut Cursor<'_>, requested: Option<&[String]>) -> ParseResult<()> {
    let Some(requested) = requested else {
        cursor.skip()?;
        output.ignored(Ignored::Acknowledgement);
        return Ok(());
    };
    let mut missing: BTreeSet<&str> = requested.iter().map(String::as_str).collect();
    each_element(cursor, |cursor| {
        missing.remove(&*cursor.text("a channel")?);
        Ok(())
    })?;
    let missing: Vec<&str> = missing.into_iter().collect();
    for part in missing.chunks(NAMED_MAX) {
        output.venue_error("not_subscribed", format!("the venue did not take {}", part.join(", ")));
    }
    if missing.is_empty() {
        output.ignored(Ignored::Acknowledgement);
    }
    Ok(())
}

/// Adds the error of an answer, with the channels of its request: one refused channel refuses them all. False when the answer has no error.
pub(super) fn error(
    output: &mut Output,
    answer: &Object<'_>,
    requested: Option<&[String]>,
) -> ParseResult<bool> {
    if !answer.has("error") {
        return Ok(false);
    }
    answer.read("error", |cursor, _| {
        if cursor.null() {
            return Ok(false);
        }
        let error = Object::parse(cursor)?;
        let code = error.read("code", |cursor, _| written(cursor))?;
        let mut text = error.read("message", Cursor::text)?.into_owned();
        if error.has("data") {
            let data = error.read("data", |cursor, _| written(cursor))?;
            if data != "null" {
                text = format!("{text}: {data}");
            }
        }
        if let Some((first, others)) = requested.and_then(<[String]>::split_first) {
            text = format!("{text}; refused: {first} and {} more", others.len());
            if NOT_NOW.contains(&code.as_str()) {
                output.note(Remark::Closing(format!("the venue refused subscriptions for now: {text}")));
            }
        }
        output.venue_error(code, text);
        Ok(true)
    })
}

fn written(cursor: &mut Cursor<'_>) -> ParseResult<String> {
    cursor.raw_value().map(|raw| String::from_utf8_lossy(raw).into_owned())
}
