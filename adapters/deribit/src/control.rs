//! Messages in any form: answers to our requests, errors, heartbeats, and data whose members come in another order than usual.

use crate::adapter::Deribit;
use crate::rpc;
use marketprism_adapter_sdk::{Cursor, Frame, Ignored, Object, Output, Scan, each_element};
use std::collections::BTreeSet;

/// Channels that one note names: the SDK cuts long texts.
const NAMED_MAX: usize = 20;

impl Deribit {
    /// Reads a message that does not begin as data usually does.
    #[inline(never)]
    pub(crate) fn message(&mut self, output: &mut Output, frame: Frame<'_>) -> Scan<()> {
        let mut cursor = Cursor::new(frame.bytes);
        if cursor.peek() != b'{' {
            cursor.skip()?;
            cursor.end()?;
            output.ignored(Ignored::UnknownKind);
            return Ok(());
        }
        let message = Object::whole(frame.bytes)?;
        let id = message.read("id", Cursor::unsigned).ok();
        let asked = id.and_then(|id| self.planned.asked.get(&(frame.source, id)));
        if error(output, &message, asked.map(Vec::as_slice))? {
            return Ok(());
        }
        if message.has("result") {
            let result = |cursor: &mut Cursor<'_>, _| confirmed(output, cursor, asked.map(Vec::as_slice));
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
                params.read("data", |cursor, _| self.data(output, cursor, channel.as_bytes()))
            }),
            "heartbeat" => message.read("params", |cursor, _| heartbeat(output, &Object::parse(cursor)?)),
            _ => {
                output.ignored(Ignored::UnknownKind);
                Ok(())
            }
        }
    }
}

fn heartbeat(output: &mut Output, params: &Object<'_>) -> Scan<()> {
    match &*params.read("type", Cursor::text)? {
        "test_request" => output.reply(rpc::test()),
        "heartbeat" => output.ignored(Ignored::Heartbeat),
        _ => output.ignored(Ignored::UnknownKind),
    }
    Ok(())
}

/// Reads the result of a request. A subscription is answered with the channels that the venue took: it leaves out those that it does not
/// know, without an error.
fn confirmed(output: &mut Output, cursor: &mut Cursor<'_>, asked: Option<&[String]>) -> Scan<()> {
    let Some(asked) = asked else {
        cursor.skip()?;
        output.ignored(Ignored::Acknowledgement);
        return Ok(());
    };
    let mut missing: BTreeSet<&str> = asked.iter().map(String::as_str).collect();
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

/// Adds the error of an answer, with what was asked for in vain: one channel that is refused takes the whole request with it. False when
/// the answer has none.
pub(crate) fn error(output: &mut Output, answer: &Object<'_>, asked: Option<&[String]>) -> Scan<bool> {
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
        if let Some((first, others)) = asked.and_then(<[String]>::split_first) {
            text = format!("{text}; refused: {first} and {} more", others.len());
        }
        output.venue_error(code, text);
        Ok(true)
    })
}

/// A value as the venue wrote it.
fn written(cursor: &mut Cursor<'_>) -> Scan<String> {
    let before = cursor.rest();
    cursor.skip()?;
    let text = before.get(..before.len() - cursor.rest().len()).unwrap_or(&[]);
    Ok(String::from_utf8_lossy(text).trim().to_owned())
}
