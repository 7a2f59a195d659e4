//! Answers to subscriptions and pings.

use crate::plan::{message, topics_of};
use marketprism_adapter_sdk::{Cursor, Ignored, LoadedFeed, Object, Output, ParseResult, Remark, value_text};
use std::collections::{BTreeMap, BTreeSet};

/// Parts of refusals, in small letters, that say "later", not "never". They name no topic: what was asked for would stay silent for ever, so
/// that a new connection asks again.
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

impl RefusedTopics {
    pub(super) fn answer(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        connection: u32,
        message: &Object<'_>,
    ) -> ParseResult<()> {
        let op = message.optional("op", Cursor::text)?.unwrap_or_default();
        let text = message.optional("ret_msg", Cursor::text)?.unwrap_or_default();
        let success = message.optional("success", Cursor::boolean)?;
        let id = message.optional("req_id", Cursor::text)?.and_then(|id| id.parse::<u32>().ok());
        // The place of `pong` depends on the address.
        if op == "pong" || text == "pong" {
            output.ignored(Ignored::Heartbeat);
        } else if success == Some(false) {
            if let Some(rest) =
                id.filter(|_| op == "subscribe").and_then(|id| self.rest(loaded, connection, id, &text))
            {
                output.reply(rest);
            } else if says_later(&text) {
                output.note(Remark::Closing(format!("the venue refused a request for now: {text}")));
            }
            output.venue_error(op, text);
        } else if let Some(failed) = failed_topics(message)? {
            output.venue_error("subscribe", failed);
        } else if success == Some(true) {
            id.map(|id| self.0.remove(&(connection, id)));
            output.ignored(Ignored::Acknowledgement);
        } else {
            output.ignored(Ignored::UnknownKind);
        }
        Ok(())
    }

    /// One wrong topic refuses its whole request, for example that of a contract that has expired: the others are subscribed again.
    fn rest(&mut self, loaded: &LoadedFeed, connection: u32, id: u32, text: &str) -> Option<String> {
        let requests = &loaded.plan.connections.get(connection as usize)?.on_open;
        let mut topics = topics_of(requests.get(id.checked_sub(1)? as usize)?);
        let mut words = text.split([' ', ',', ':', '[', ']']);
        let refused = words.find(|word| topics.contains(word))?;
        let all = self.0.entry((connection, id)).or_default();
        all.insert(refused.to_owned());
        topics.retain(|topic| !all.contains(*topic));
        (!topics.is_empty()).then(|| message("subscribe", &topics, id))
    }
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
