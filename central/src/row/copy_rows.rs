//! Rows of `copies`: the events of an edge's stream that came with a second message, several in a row.

use std::borrow::Cow;
use std::collections::HashMap;

use marketprism_schema::{DataType, Event, EventId, MarketType};
use xxhash_rust::xxh3::Xxh3;

use super::CREATED_AT_UNSET;
use super::rows::TableRows;

/// View of `copies` with a row for each event.
pub const COPIED_EVENTS: &str = "copied_events";

/// `found` of a copy whose row a correction removed.
pub const WITHDRAWN: &str = "withdrawn";
/// `found` of a copy whose row, which an earlier correction had added, a later one removed: no audit counts it.
pub const WITHDRAWN_ADDITION: &str = "withdrawn_addition";
/// `found` of a copy whose row a correction gave another venue time.
pub const MOVED: &str = "moved";

/// Span of the receive times in a row: what reads a window reads few events outside it.
const ROW_SPAN_NS: i64 = 60_000_000_000;

/// An event of a row of `copies`.
#[derive(Debug, Clone)]
pub struct CopyRow<'a> {
    pub data_type: DataType,
    pub exchange: Cow<'a, str>,
    pub market_type: MarketType,
    pub symbol: Cow<'a, str>,
    pub event_id: EventId,
    pub edge: Cow<'a, str>,
    pub received_at_ns: i64,
    pub stream_seq: u64,
    /// Means of recognition: `recent`, `in_flight` or `stored`; [`WITHDRAWN`] for the row that a correction removed.
    pub found: &'static str,
}

impl<'a> CopyRow<'a> {
    pub fn of(event: &'a Event<'_>, stream_seq: u64, found: &'static str) -> Self {
        let header = &event.header;
        Self {
            data_type: event.body.data_type(),
            exchange: Cow::Borrowed(&header.exchange),
            market_type: header.market_type,
            symbol: Cow::Borrowed(&header.symbol),
            event_id: header.event_id,
            edge: Cow::Borrowed(&header.edge),
            received_at_ns: header.received_at_ns,
            stream_seq,
            found,
        }
    }

    /// A duplicate is kept until its event is stored.
    pub fn into_owned(self) -> CopyRow<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        CopyRow { exchange: own(self.exchange), symbol: own(self.symbol), edge: own(self.edge), ..self }
    }

    fn texts(&self) -> [&str; 6] {
        let data_type = self.data_type.as_str();
        [data_type, &self.exchange, self.market_type.as_str(), &self.symbol, &self.edge, self.found]
    }
}

#[derive(Debug, Clone, Copy)]
pub struct CopiedEvent {
    pub event_id: EventId,
    pub received_at_ns: i64,
    pub stream_seq: u64,
}

#[derive(Debug)]
struct CopyGroup {
    texts: [Box<str>; 6],
    /// Span of [`ROW_SPAN_NS`] with the receive times.
    span: i64,
    events: Vec<CopiedEvent>,
}

impl CopyGroup {
    fn takes(&self, texts: &[&str; 6], span: i64) -> bool {
        self.span == span && self.texts.iter().zip(texts).all(|(own, text)| **own == **text)
    }
}

/// Copies by data type, exchange, market type, symbol, edge, means of recognition and minute of receipt: each group becomes a row.
#[derive(Debug, Default)]
pub struct CopyGroups {
    groups: Vec<CopyGroup>,
    /// By the hash of what the events of a group share.
    places: HashMap<u128, usize>,
    /// Place of the group of the last event, which is mostly that of the next one too.
    last: usize,
    events: usize,
}

impl CopyGroups {
    pub fn add(&mut self, copy: &CopyRow<'_>) {
        let (texts, span) = (copy.texts(), copy.received_at_ns.div_euclid(ROW_SPAN_NS));
        if !self.groups.get(self.last).is_some_and(|group| group.takes(&texts, span)) {
            self.last = self.place_of(texts, span);
        }
        if let Some(group) = self.groups.get_mut(self.last) {
            let CopyRow { event_id, received_at_ns, stream_seq, .. } = *copy;
            group.events.push(CopiedEvent { event_id, received_at_ns, stream_seq });
            self.events += 1;
        }
    }

    fn place_of(&mut self, texts: [&str; 6], span: i64) -> usize {
        let mut hash = Xxh3::new();
        for text in texts {
            hash.update(text.as_bytes());
            hash.update(&[0x1f]);
        }
        hash.update(&span.to_le_bytes());
        let Self { groups, places, .. } = self;
        *places.entry(hash.digest128()).or_insert_with(|| {
            groups.push(CopyGroup { texts: texts.map(Box::from), span, events: Vec::new() });
            groups.len() - 1
        })
    }

    /// Memory of the events.
    pub const fn bytes(&self) -> usize {
        self.events * size_of::<CopiedEvent>()
    }

    /// Adds a row for each group.
    pub fn encode(&self, stream: &str, rows: &mut TableRows) {
        for CopyGroup { texts, events, .. } in &self.groups {
            encode_copies(texts.each_ref().map(|text| &**text), stream, events, rows);
        }
    }
}

/// Adds a row of `copies`. `texts`: data type, exchange, market type, symbol, edge, means of recognition.
pub fn encode_copies(texts: [&str; 6], stream: &str, events: &[CopiedEvent], rows: &mut TableRows) {
    let received = || events.iter().map(|event| event.received_at_ns);
    let sequences = || events.iter().map(|event| event.stream_seq);
    rows.push(|row| {
        texts.into_iter().for_each(|text| row.text(text));
        row.text(stream);
        row.int64(received().min().unwrap_or_default());
        row.int64(received().max().unwrap_or_default());
        row.uint64(sequences().min().unwrap_or_default());
        row.uint64(sequences().max().unwrap_or_default());
        row.array(events, |row, event| row.uint128(event.event_id.0));
        row.array(received(), |row, at_ns| row.int64(at_ns));
        row.array(sequences(), |row, sequence| row.uint64(sequence));
        row.int64(CREATED_AT_UNSET);
    });
}

#[cfg(test)]
mod tests {
    use super::super::columns::Target;
    use super::*;
    use crate::fixtures;
    use marketprism_schema::Decimal;

    fn copy(edge: &'static str, received_at_ns: i64, stream_seq: u64) -> CopyRow<'static> {
        let mut header = fixtures::header();
        (header.edge, header.received_at_ns) = (edge.into(), received_at_ns);
        CopyRow::of(&fixtures::trade(header, Decimal::default()), stream_seq, "recent").into_owned()
    }

    #[test]
    fn events_of_one_stream_edge_and_minute_are_one_row() {
        let mut groups = CopyGroups::default();
        for (edge, received_at_ns, stream_seq) in
            [("a", 7, 1), ("b", 7, 1), ("a", 5, 2), ("a", ROW_SPAN_NS, 3), ("a", ROW_SPAN_NS - 1, 4)]
        {
            groups.add(&copy(edge, received_at_ns, stream_seq));
        }
        let mut other = copy("a", 7, 5);
        other.found = "stored";
        groups.add(&other);
        let found = groups.groups.iter().map(|group| {
            let sequences: Vec<u64> = group.events.iter().map(|event| event.stream_seq).collect();
            (&*group.texts[4], &*group.texts[5], sequences)
        });
        let expected = [
            ("a", "recent", vec![1, 2, 4]),
            ("b", "recent", vec![1]),
            ("a", "recent", vec![3]),
            ("a", "stored", vec![5]),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
        let mut rows = TableRows::new(Target::Copies.columns());
        groups.encode("MARKET_DATA", &mut rows);
        assert_eq!((rows.len(), groups.bytes()), (4, 6 * size_of::<CopiedEvent>()));

        let mut alone = TableRows::new(Target::Copies.columns());
        let event =
            |received_at_ns, stream_seq| CopiedEvent { event_id: EventId(3), received_at_ns, stream_seq };
        let texts = ["trade", "sim_spot", "spot", "A-B", "a", "recent"];
        let events = [event(7, 1), event(5, 2), event(ROW_SPAN_NS - 1, 4)];
        encode_copies(texts, "MARKET_DATA", &events, &mut alone);
        assert_eq!(rows.block(0..1), alone.whole_block());
        assert!(alone.whole_block().is_ok());
    }
}
