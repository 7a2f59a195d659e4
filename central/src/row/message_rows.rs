//! Rows of messages that give no row of an event: duplicates, corrected events, dead letters. `created_at` is set when the batch is sealed.

use std::borrow::Cow;

use marketprism_schema::{CorrectionMark, DataType, Event, EventId, MarketType};

use super::CREATED_AT_UNSET;
use super::rows::TableRows;

/// `found` of a copy whose row a correction removed.
pub const WITHDRAWN: &str = "withdrawn";
/// `found` of a copy whose row, which an earlier correction had added, a later one removed: no audit counts it.
pub const WITHDRAWN_ADDITION: &str = "withdrawn_addition";
/// `found` of a copy whose row a correction gave another venue time.
pub const MOVED: &str = "moved";

/// A row of `copies`.
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
}

pub fn encode_copy(copy: &CopyRow<'_>, stream: &str, rows: &mut TableRows) {
    rows.push(|row| {
        for text in [copy.data_type.as_str(), &copy.exchange, copy.market_type.as_str(), &copy.symbol] {
            row.text(text);
        }
        row.uint128(copy.event_id.0);
        row.text(&copy.edge);
        row.int64(copy.received_at_ns);
        row.text(stream);
        row.uint64(copy.stream_seq);
        row.text(copy.found);
        row.int64(CREATED_AT_UNSET);
    });
}

#[derive(Debug, Clone, Copy)]
pub struct CorrectedEvent<'a> {
    pub mark: &'a CorrectionMark,
    pub event: &'a Event<'a>,
    pub stream: &'a str,
    pub stream_seq: u64,
    /// JSON form of the event.
    pub payload: &'a [u8],
}

/// Adds a row of `corrected_events`.
pub fn encode_corrected_event(corrected: &CorrectedEvent<'_>, rows: &mut TableRows) {
    let (header, mark) = (&corrected.event.header, corrected.mark);
    let data_type = corrected.event.body.data_type().as_str();
    let (market_type, kind) = (header.market_type.as_str(), mark.kind.as_str());
    rows.push(|row| {
        row.uint128(mark.correction.0);
        for text in [data_type, &header.exchange, market_type, &header.symbol, kind] {
            row.text(text);
        }
        row.uint128(header.event_id.0);
        row.int64(mark.was_at_us);
        row.int64(header.timestamp_us);
        row.int64(header.received_at_ns);
        for text in [&header.edge, &header.adapter, corrected.stream] {
            row.text(text);
        }
        row.uint64(corrected.stream_seq);
        row.bytes(corrected.payload);
        row.int64(CREATED_AT_UNSET);
    });
}

#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    pub stream: &'a str,
    pub stream_seq: u64,
    pub subject: &'a str,
    pub content_type: &'a str,
    pub message_id: &'a str,
    pub reason: &'a str,
    pub payload: &'a [u8],
}

/// Adds a row of `dead_letters`.
pub fn encode_dead_letter(letter: &DeadLetter<'_>, rows: &mut TableRows) {
    rows.push(|row| {
        row.text(letter.stream);
        row.uint64(letter.stream_seq);
        for text in [letter.subject, letter.content_type, letter.message_id, letter.reason] {
            row.text(text);
        }
        row.bytes(letter.payload);
        row.int64(CREATED_AT_UNSET);
    });
}

#[cfg(test)]
mod tests {
    use super::super::columns::Target;
    use super::*;
    use crate::fixtures;
    use marketprism_schema::{CorrectionKind, Decimal};

    #[test]
    fn every_row_fills_the_columns_of_its_table() {
        let event = fixtures::trade(fixtures::header(), Decimal::default());
        let mut copies = TableRows::new(Target::Copies.columns());
        encode_copy(&CopyRow::of(&event, 1, "recent").into_owned(), "s", &mut copies);
        let mark = CorrectionMark { correction: EventId(1), kind: CorrectionKind::Changed, was_at_us: 2 };
        let (stream, stream_seq) = ("s", 1);
        let corrected = CorrectedEvent { mark: &mark, event: &event, stream, stream_seq, payload: b"{}" };
        let mut corrections = TableRows::new(Target::CorrectedEvents.columns());
        encode_corrected_event(&corrected, &mut corrections);
        let [content_type, message_id, subject, reason] = ["", "", "x", "r"];
        let payload = &b"\xff"[..];
        let letter = DeadLetter { stream, stream_seq, subject, content_type, message_id, reason, payload };
        let mut letters = TableRows::new(Target::DeadLetters.columns());
        encode_dead_letter(&letter, &mut letters);
        for rows in [copies, corrections, letters] {
            assert!(rows.whole_block().is_ok() && rows.len() == 1);
        }
    }
}
