//! Rows of messages that give no row of an event: corrected events, dead letters. `created_at` is set when the batch is sealed.

use marketprism_schema::{CorrectionMark, Event};

use super::CREATED_AT_UNSET;
use super::rows::TableRows;

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
    use marketprism_schema::{CorrectionKind, Decimal, EventId};

    #[test]
    fn every_row_fills_the_columns_of_its_table() {
        let event = fixtures::trade(fixtures::header(), Decimal::default());
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
        for rows in [corrections, letters] {
            assert!(rows.whole_block().is_ok() && rows.len() == 1);
        }
    }
}
