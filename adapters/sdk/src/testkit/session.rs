//! An adapter, loaded natively from a recording's own answers.

use super::json::lines;
use super::recording::{RecordKind, RecordedMessage, read};
use crate::adapter::Adapter;
use crate::types::{
    Answer, Endpoint, Feed, Frames, Instrument, Normalized, Plan, Refusal, Remark, ResyncAction, TradeRange,
};
use serde_json::Value;
use std::path::Path;

/// A frame with its source number and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedFrame {
    /// Its text.
    pub bytes: Vec<u8>,
    /// See [`Plan`].
    pub source: u32,
    /// When it was received.
    pub at: i64,
}

impl OwnedFrame {
    /// A text from this source.
    pub fn new(text: impl Into<String>, source: u32) -> OwnedFrame {
        OwnedFrame { bytes: text.into().into_bytes(), source, at: 1_765_531_356_452_000_000 }
    }
}

/// An adapter that is loaded with a feed.
#[derive(Debug)]
pub struct Session<A> {
    /// The loaded adapter.
    pub adapter: A,
    /// The instruments that it was loaded with.
    pub instruments: Vec<Instrument>,
    /// Made by the adapter for these instruments.
    pub plan: Plan,
}

/// A feed of everything that the adapter declares for this exchange.
pub fn whole_feed<A: Adapter>(exchange: &str) -> Result<Feed, String> {
    let description = A::describe();
    let venue = description.venues.iter().find(|venue| venue.exchange == exchange);
    let venue = venue.ok_or_else(|| format!("adapter {} does not serve {exchange}", description.name))?;
    Ok(Feed {
        exchange: exchange.to_owned(),
        symbols: Vec::new(),
        market_types: venue.market_types.clone(),
        data_types: venue.capabilities.iter().map(|capability| capability.data_type).collect(),
        depth: 100,
        endpoints: Vec::new(),
    })
}

/// A feed of everything that the adapter declares for this exchange, of these symbols only.
pub fn feed<A: Adapter>(exchange: &str, symbols: &[&str]) -> Result<Feed, String> {
    let symbols = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
    Ok(Feed { symbols, ..whole_feed::<A>(exchange)? })
}

/// The answers of an exchange's instrument lists in an adapter's folder.
pub fn instrument_records(folder: &str, exchange: &str) -> Result<Vec<RecordedMessage>, String> {
    read(&Path::new(folder).join("frames").join(format!("{exchange}.instruments.jsonl")))
}

/// A replaced base address.
pub fn endpoint(name: &str, url: &str) -> Endpoint {
    Endpoint { name: name.to_owned(), default_url: url.to_owned() }
}

/// Answers of the requests in their order.
pub fn answers<B: AsRef<[u8]>>(bodies: impl IntoIterator<Item = B>) -> Vec<Answer> {
    let answer = |(request, body): (u32, B)| Answer { request, body: body.as_ref().to_vec() };
    (0u32..).zip(bodies).map(answer).collect()
}

/// The remarks of all notes.
pub fn remarks(normalized: Normalized) -> Vec<Remark> {
    normalized.notes.into_iter().map(|note| note.remark).collect()
}

impl<A: Adapter> Session<A> {
    /// Loads the adapter as the edge does, with the answers of the records.
    ///
    /// # Errors
    /// A refusal of the adapter, or a request whose answer the records do not hold.
    pub fn open(feed: &Feed, records: &[RecordedMessage]) -> Result<Session<A>, String> {
        let instruments = A::instruments(feed, instrument_answers::<A>(feed, records)?).map_err(refused)?;
        let adapter = A::load(feed.clone(), instruments.clone()).map_err(refused)?;
        let plan = adapter.plan().map_err(refused)?;
        Ok(Session { adapter, instruments, plan })
    }

    /// The frames of a recording, see [`frames`].
    pub fn frames(&self, records: &[RecordedMessage]) -> Vec<OwnedFrame> {
        let backfill = |instrument| {
            let trades = TradeRange { instrument, first: 1, last: 1 };
            self.adapter.backfill(trades).ok().map(|request| request.url)
        };
        let count = u32::try_from(self.instruments.len()).unwrap_or(u32::MAX);
        frames(&self.plan, &(0..count).map(backfill).collect::<Vec<_>>(), records)
    }

    /// Golden lines of these frames.
    pub fn lines(&mut self, frames: &[OwnedFrame]) -> Vec<Value> {
        let normalized = self.normalize(frames, 16);
        lines(&normalized, &self.instruments)
    }

    /// Golden lines of one frame.
    pub fn frame_lines(&mut self, frame: &OwnedFrame) -> Vec<Value> {
        self.lines(std::slice::from_ref(frame))
    }

    /// Normalizes the frames in batches of this size. The result is as of one batch.
    pub fn normalize(&mut self, frames: &[OwnedFrame], batch_size: usize) -> Normalized {
        let mut whole = Normalized { events: Vec::new(), levels: Vec::new(), notes: Vec::new() };
        for (number, part) in frames.chunks(batch_size.max(1)).enumerate() {
            let mut normalized = self.adapter.normalize(&batch(part));
            let first = u32::try_from(number * batch_size.max(1)).unwrap_or(u32::MAX);
            let levels = u32::try_from(whole.levels.len()).unwrap_or(u32::MAX);
            for event in &mut normalized.events {
                event.frame += first;
                if let crate::Payload::Book(book) = &mut event.payload {
                    book.levels_at += levels;
                }
            }
            for note in &mut normalized.notes {
                note.frame += first;
            }
            whole.events.append(&mut normalized.events);
            whole.levels.append(&mut normalized.levels);
            whole.notes.append(&mut normalized.notes);
        }
        whole
    }
}

/// The input of `normalize` in a recording: messages of sockets as from the plan's first connection, answers of polls, resyncs and backfills
/// by path and symbol. `backfills`: address of the backfill of each instrument. Other answers are omitted.
pub fn frames(plan: &Plan, backfills: &[Option<String>], records: &[RecordedMessage]) -> Vec<OwnedFrame> {
    let polls = plan.polls.iter().map(|poll| Some(poll.request.url.as_str()));
    let resyncs = plan.resyncs.iter().map(|resync| match &resync.action {
        ResyncAction::Request(request) => Some(request.url.as_str()),
        ResyncAction::Resubscribe(_) => None,
    });
    let backfills = backfills.iter().map(Option::as_deref);
    let requested: Vec<Option<&str>> = polls.chain(resyncs).chain(backfills).collect();
    let source = |record: &RecordedMessage| match record.kind {
        RecordKind::In => Some(0),
        RecordKind::Rest => {
            let place = requested.iter().position(|url| url.is_some_and(|url| is_answer(record, url)))?;
            u32::try_from(plan.connections.len() + place).ok()
        }
        RecordKind::Open | RecordKind::Out => None,
    };
    let frame = |record: &RecordedMessage| {
        let source = source(record)?;
        Some(OwnedFrame { bytes: record.data.clone().into_bytes(), source, at: record.at })
    };
    records.iter().filter_map(frame).collect()
}

/// A batch of these frames.
pub fn batch(frames: &[OwnedFrame]) -> Frames {
    let mut batch =
        Frames { data: Vec::new(), ends: Vec::new(), sources: Vec::new(), received_at_ns: Vec::new() };
    for frame in frames {
        batch.data.extend_from_slice(&frame.bytes);
        batch.ends.push(u32::try_from(batch.data.len()).unwrap_or(u32::MAX));
        batch.sources.push(frame.source);
        batch.received_at_ns.push(frame.at);
    }
    batch
}

/// The answers of the records to all requests of all rounds. A recording may lack some of the lists.
fn instrument_answers<A: Adapter>(feed: &Feed, records: &[RecordedMessage]) -> Result<Vec<Answer>, String> {
    const ROUNDS_MAX: usize = 100;
    let (mut known, mut asked): (Vec<Answer>, u32) = (Vec::new(), 0);
    for _ in 0..ROUNDS_MAX {
        let requests = A::instrument_requests(feed, &known).map_err(refused)?;
        let before = known.len();
        for request in &requests {
            let body =
                |record: &RecordedMessage| Answer { request: asked, body: record.data.clone().into_bytes() };
            match records.iter().find(|record| is_answer(record, &request.url)) {
                Some(record) => known.push(body(record)),
                None => known.extend(records.iter().filter(|record| is_part(record, &request.url)).map(body)),
            }
            asked += 1;
        }
        match requests.first() {
            Some(request) if known.is_empty() => {
                return Err(format!("the records hold no answer of {}", request.url));
            }
            Some(_) if known.len() > before => {}
            _ => return Ok(known),
        }
    }
    Err(format!("the adapter requests more than {ROUNDS_MAX} rounds of instrument lists"))
}

/// True when the record is an answer of the request to this address: the same path, instrument and page, whatever the
/// host and the other parameters.
pub fn is_answer(record: &RecordedMessage, request_url: &str) -> bool {
    let Some(url) = record.url.as_deref().filter(|_| record.kind == RecordKind::Rest) else { return false };
    path(url) == path(request_url) && identifying(url) == identifying(request_url)
}

/// True when the record holds a part of the answer for this address, such as the list of one currency where any is requested. A page never
/// stands for another.
pub fn is_part(record: &RecordedMessage, request_url: &str) -> bool {
    let Some(url) = record.url.as_deref().filter(|_| record.kind == RecordKind::Rest) else { return false };
    let (given, asked) = (identifying(url), identifying(request_url));
    let value = |of: &[(&str, &str)], name: &str| {
        of.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let agree = |(name, value_asked): &(&str, &str)| match value(&given, name) {
        Some(value_given) => value_given == *value_asked || *value_asked == "any",
        None => *name != "cursor",
    };
    let page = value(&given, "cursor").is_none() || value(&asked, "cursor").is_some();
    path(url) == path(request_url) && page && asked.iter().all(agree)
}

fn path(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.find('/').and_then(|start| after_scheme.get(start..)).unwrap_or("/");
    path.split('?').next().unwrap_or(path)
}

/// The parameters that distinguish requests of the same path.
fn identifying(url: &str) -> Vec<(&str, &str)> {
    const NAMES: [&str; 13] = [
        "name",
        "symbol",
        "instId",
        "instrument_name",
        "currency",
        "instType",
        "instFamily",
        "category",
        "aclass_base",
        "kind",
        "cursor",
        "uly",
        "pair",
    ];
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let mut named: Vec<(&str, &str)> = parameters
        .split('&')
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| NAMES.contains(name))
        .collect();
    named.sort_unstable();
    named
}

fn refused(refusal: Refusal) -> String {
    format!("refused: {} is `{}`, allowed is {}", refusal.field, refusal.value, refusal.allowed)
}
