//! Answers to subscriptions and pings.

use super::SessionState;
use crate::plan::{message, topics_of};
use marketprism_adapter_sdk::{
    Cursor, DataType, Frame, Ignored, LoadedFeed, Object, Output, ParseResult, Remark, value_text,
};
use std::collections::{BTreeMap, BTreeSet};

/// Parts of refusals, in small letters, that say "later", not "never". They name no topic: what was asked for would stay silent for ever, so
/// that it is asked for again.
const NOT_NOW: [&str; 6] = [
    "too many visits",
    "too frequent",
    "rate limit",
    "server error",
    "server timeout",
    "service is restarting",
];

/// Topics that the venue refused, by connection and request, until it accepts the rest of the request.
#[derive(Debug, Default)]
pub(crate) struct RefusedTopics(BTreeMap<(u32, u32), BTreeSet<String>>);

impl SessionState {
    pub(super) fn answer(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        frame: Frame<'_>,
        message: &Object<'_>,
    ) -> ParseResult<()> {
        let connection = frame.source;
        let op = message.optional("op", Cursor::text)?.unwrap_or_default();
        let text = message.optional("ret_msg", Cursor::text)?.unwrap_or_default();
        let success = message.optional("success", Cursor::boolean)?;
        let id = message.optional("req_id", Cursor::text)?.and_then(|id| id.parse::<u32>().ok());
        let subscription = id.filter(|_| op == "subscribe");
        // The place of `pong` depends on the address.
        if op == "pong" || text == "pong" {
            output.ignored(Ignored::Heartbeat);
        } else if success == Some(false) {
            if let Some(rest) = subscription.and_then(|id| self.refused.rest(loaded, connection, id, &text)) {
                output.reply(rest);
            } else if says_later(&text) {
                self.ask_again(loaded, output, frame, subscription, &text);
            } else if let Some(id) = subscription {
                self.refused_for_now.answered(connection, id.into());
            }
            output.venue_error(op, text);
        } else if let Some(failed) = failed_topics(message)? {
            output.venue_error("subscribe", failed);
        } else if success == Some(true) {
            if let Some(id) = id {
                self.refused.0.remove(&(connection, id));
                self.refused_for_now.answered(connection, id.into());
            }
            output.ignored(Ignored::Acknowledgement);
        } else {
            output.ignored(Ignored::UnknownKind);
        }
        Ok(())
    }

    /// A refusal that tells its request is repeated on its connection; the edge repeats that of a single book by itself, with pauses.
    fn ask_again(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        frame: Frame<'_>,
        subscription: Option<u32>,
        text: &str,
    ) {
        let asked = subscription.and_then(|id| {
            let opening = self.refused.without_refused(loaded, frame.source, id).map(AskedAgain::Request);
            Some((id, opening.or_else(|| of_stream(loaded, frame.source, id))?))
        });
        match asked {
            Some((id, AskedAgain::Request(request))) => {
                self.refused_for_now.refused(frame, id.into(), request);
            }
            Some((_, AskedAgain::Book(instrument))) => output.note(Remark::RestartBook(instrument)),
            None => output.note(Remark::Closing(format!("the venue refused a request for now: {text}"))),
        }
    }
}

enum AskedAgain {
    Request(String),
    Book(u32),
}

/// The subscription in a resubscription with this id, of its two requests the second.
fn of_stream(loaded: &LoadedFeed, connection: u32, id: u32) -> Option<AskedAgain> {
    let connection = loaded.plan.connections.get(connection as usize)?;
    let beginning = format!(r#"{{"req_id":"{id}","#);
    connection.streams.iter().find_map(|stream| {
        let subscribe = stream.resubscribe.last().filter(|text| text.starts_with(&beginning))?;
        match (stream.data_type, stream.instrument) {
            (DataType::Orderbook, Some(instrument)) => Some(AskedAgain::Book(instrument)),
            _ => Some(AskedAgain::Request(subscribe.clone())),
        }
    })
}

impl RefusedTopics {
    /// One wrong topic refuses its whole request, for example that of a contract that has expired: the others are subscribed again.
    fn rest(&mut self, loaded: &LoadedFeed, connection: u32, id: u32, text: &str) -> Option<String> {
        let topics = topics_of(opening(loaded, connection, id)?);
        let mut words = text.split([' ', ',', ':', '[', ']']);
        let refused = words.find(|word| topics.contains(word))?;
        self.0.entry((connection, id)).or_default().insert(refused.to_owned());
        self.without_refused(loaded, connection, id)
    }

    /// An opening request without the topics that were refused; none where nothing is left.
    fn without_refused(&self, loaded: &LoadedFeed, connection: u32, id: u32) -> Option<String> {
        let mut topics = topics_of(opening(loaded, connection, id)?);
        if let Some(refused) = self.0.get(&(connection, id)) {
            topics.retain(|topic| !refused.contains(*topic));
        }
        (!topics.is_empty()).then(|| message("subscribe", &topics, id))
    }
}

fn opening(loaded: &LoadedFeed, connection: u32, id: u32) -> Option<&str> {
    let requests = &loaded.plan.connections.get(connection as usize)?.on_open;
    requests.get(id.checked_sub(1)? as usize).map(String::as_str)
}

fn says_later(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    NOT_NOW.iter().any(|later| text.contains(later))
}

/// The topics that an answer of the form `COMMAND_RESP` lists as failed, although it calls itself a success.
fn failed_topics(message: &Object<'_>) -> ParseResult<Option<String>> {
    let data = message.optional("data", |cursor, _| Object::parse(cursor))?;
    let failed = data.map(|data| data.optional("failTopics", |cursor, _| value_text(cursor))).transpose()?;
    Ok(failed.flatten().filter(|topics| topics != "[]"))
}
