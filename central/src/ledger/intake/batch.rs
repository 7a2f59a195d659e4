//! Audit messages on their way into `audits`, `feed_audits`, `edge_audits`, `downtimes`, `edge_changes`, `corrections` and `instruments`: decoded, validated,
//! encoded as rows, fixed before the first insert.

use async_nats::{Message, Subject, jetstream};
use bytes::Bytes;
use marketprism_schema::{
    Audit, AuditPayload, Downtime, FeedAudit, Fingerprint, Gap, StreamAudit, UnknownName, audit_subject,
    decode_audit_payload, with_unknown_names,
};

use super::change_rows::encode_change_rows;
use super::correction_rows::encode_correction_rows;
use super::downtime_rows::{encode_downtime_rows, touched_windows};
use super::edge_rows::encode_edge_row;
use crate::fleet::tell_unknown;
use crate::ingest::{Delivery, header};
use crate::ledger::instruments::InstrumentWords;
use crate::ledger::windows::WindowGrid;
use crate::row::{CREATED_AT_BYTES, Column, DeadLetter, TEXT, binary, encode_dead_letter};

pub const AUDIT: &str = "AUDIT";
/// Label of refused audits among the dead letters.
pub const AUDIT_DEAD_LETTER: &str = "audit";

pub struct AuditMessage {
    pub message: Message,
    pub delivery: Delivery,
    pub rows: Bytes,
    pub feeds: Bytes,
    pub edges: Bytes,
    pub downtimes: Bytes,
    pub changes: Bytes,
    pub corrections: Bytes,
    pub instruments: Vec<InstrumentWords>,
    /// First nanoseconds of the windows whose verdicts may change; none when the message is refused.
    pub windows: Vec<i64>,
}

#[derive(Default)]
pub struct AuditBatch {
    pub entries: Vec<AuditMessage>,
}

#[derive(Default)]
pub struct DecodedAudits {
    pub good: AuditBatch,
    pub bad: AuditBatch,
    /// Names of newer edges.
    pub unknown: Vec<UnknownName>,
}

impl DecodedAudits {
    pub fn add(&mut self, message: jetstream::Message, grid: WindowGrid, now_ns: i64) {
        let Some(delivery) = Delivery::of(&message) else {
            tracing::error!("dropped a message without JetStream metadata: it cannot be acknowledged");
            return;
        };
        let message = message.message;
        let (read, unknown) = with_unknown_names(|| read_audit(&message, now_ns));
        match read {
            Ok(payload) => {
                if !unknown.is_empty() {
                    tell_unknown(message.subject.trim_start_matches("audit."), "audit", &unknown);
                    self.unknown.extend(unknown);
                }
                let [mut rows, mut feeds, mut edges, mut downtimes] = [const { Vec::new() }; 4];
                let (mut changes, mut corrections, mut instruments) = (Vec::new(), Vec::new(), Vec::new());
                let (stream_seq, published_ns) = (delivery.stream_seq, delivery.published_ns);
                let windows = match payload {
                    AuditPayload::Audit(audit) => {
                        encode_audit_rows(&audit, stream_seq, published_ns, &mut rows);
                        encode_feed_rows(&audit, stream_seq, published_ns, &mut feeds);
                        encode_edge_row(&audit, stream_seq, published_ns, &mut edges);
                        vec![audit.window_start]
                    }
                    AuditPayload::Downtime(downtime) => {
                        encode_downtime_rows(&downtime, stream_seq, published_ns, &mut downtimes);
                        instruments = InstrumentWords::of_downtime(&downtime, published_ns);
                        touched_windows(&downtime, grid, now_ns)
                    }
                    AuditPayload::Instruments(listing) => {
                        instruments.push(InstrumentWords::of_listing(listing, published_ns));
                        Vec::new()
                    }
                    AuditPayload::Changes(changed) => {
                        encode_change_rows(&changed, stream_seq, published_ns, &mut changes);
                        Vec::new()
                    }
                    AuditPayload::Correction(correction) => {
                        encode_correction_rows(&correction, stream_seq, published_ns, &mut corrections);
                        Vec::new()
                    }
                };
                self.good.entries.push(AuditMessage {
                    message,
                    delivery,
                    rows: rows.into(),
                    feeds: feeds.into(),
                    edges: edges.into(),
                    downtimes: downtimes.into(),
                    changes: changes.into(),
                    corrections: corrections.into(),
                    instruments,
                    windows,
                });
            }
            Err(reason) => self.refuse(message, delivery, &reason),
        }
    }

    pub fn refuse(&mut self, message: Message, delivery: Delivery, reason: &str) {
        let stream_seq = delivery.stream_seq;
        tracing::warn!(stream = AUDIT, stream_seq, reason, "audit refused; moved to dead_letters");
        let headers = message.headers.as_ref();
        let letter = DeadLetter {
            stream: AUDIT,
            stream_seq,
            subject: &message.subject,
            content_type: header(headers, "Content-Type"),
            message_id: header(headers, "Nats-Msg-Id"),
            reason,
            payload: &message.payload,
        };
        let mut row = Vec::new();
        encode_dead_letter(&letter, &mut row);
        // The broker's time, so that a redelivery gives the same row.
        row.truncate(row.len().saturating_sub(CREATED_AT_BYTES));
        row.extend_from_slice(&(delivery.published_ns / 1_000_000).to_le_bytes());
        let (feeds, edges, downtimes, changes, corrections) = Default::default();
        let (rows, instruments, windows) = (row.into(), Vec::new(), Vec::new());
        self.bad.entries.push(AuditMessage {
            message,
            delivery,
            rows,
            feeds,
            edges,
            downtimes,
            changes,
            corrections,
            instruments,
            windows,
        });
    }
}

impl AuditBatch {
    pub fn rows(&self) -> Bytes {
        self.entries.iter().flat_map(|entry| entry.rows.iter().copied()).collect()
    }

    pub fn feeds(&self) -> Bytes {
        self.entries.iter().flat_map(|entry| entry.feeds.iter().copied()).collect()
    }

    pub fn edges(&self) -> Bytes {
        self.entries.iter().flat_map(|entry| entry.edges.iter().copied()).collect()
    }

    pub fn downtimes(&self) -> Bytes {
        self.entries.iter().flat_map(|entry| entry.downtimes.iter().copied()).collect()
    }

    pub fn changes(&self) -> Bytes {
        self.entries.iter().flat_map(|entry| entry.changes.iter().copied()).collect()
    }

    pub fn corrections(&self) -> Bytes {
        self.entries.iter().flat_map(|entry| entry.corrections.iter().copied()).collect()
    }

    pub fn instruments(&self) -> impl Iterator<Item = &InstrumentWords> {
        self.entries.iter().flat_map(|entry| &entry.instruments)
    }

    pub fn replies(&self) -> Vec<Subject> {
        self.entries.iter().filter_map(|entry| entry.message.reply.clone()).collect()
    }
}

/// Allowed age of an audit in days: a window far in the future would stay open for ever.
const OLDEST_DAYS: i64 = 3_650;
const NEWEST_DAYS: i64 = 1;
const DAY_NS: i64 = 86_400_000_000_000;

fn read_audit(message: &Message, now_ns: i64) -> Result<AuditPayload, String> {
    let payload = decode_audit_payload(&message.payload).map_err(|error| error.to_string())?;
    let (edge, field, at_ns) = match &payload {
        AuditPayload::Audit(audit) => (&audit.edge, "window_start", audit.window_start),
        AuditPayload::Downtime(Downtime { edge, from, to, .. }) => (edge, "to", to.unwrap_or(*from)),
        AuditPayload::Instruments(listing) => (&listing.edge, "at", listing.at),
        AuditPayload::Changes(changes) => {
            let newest = changes.changed.iter().map(|change| change.at).max();
            (&changes.edge, "at", newest.unwrap_or_default())
        }
        AuditPayload::Correction(correction) => (&correction.edge, "to", correction.to),
    };
    let subject = audit_subject(edge);
    if *message.subject != *subject {
        return Err(format!("audit: subject {:?} does not match the edge's {subject:?}", &*message.subject));
    }
    let age_ns = now_ns.saturating_sub(at_ns);
    if !(-NEWEST_DAYS * DAY_NS..=OLDEST_DAYS * DAY_NS).contains(&age_ns) {
        let allowed = format!("at most {OLDEST_DAYS} days ago and {NEWEST_DAYS} day ahead");
        return Err(format!("audit: {field} is {at_ns}, allowed: {allowed}"));
    }
    Ok(payload)
}

/// In the order in which rows are written.
pub const AUDITS: &[Column] = &[
    ("window_start", "DateTime64(3, 'UTC')"),
    ("window_seconds", "UInt16"),
    ("data_type", TEXT),
    ("exchange", TEXT),
    ("market_type", TEXT),
    ("symbol", TEXT),
    ("edge", TEXT),
    ("region", TEXT),
    ("run", "Int64"),
    ("covers_from", "Int64"),
    ("covers_to", "Int64"),
    ("numbering", TEXT),
    ("completeness", TEXT),
    ("delay_seconds", "UInt32"),
    ("stored_count", "UInt64"),
    ("stored_xor", "UInt64"),
    ("stored_sum", "UInt64"),
    ("duplicates", "UInt64"),
    ("duplicate_ids", "Array(UInt64)"),
    ("duplicates_truncated", "Bool"),
    ("unsure", "Array(UInt128)"),
    ("unsure_truncated", "Bool"),
    ("first_sequence", "Nullable(Int64)"),
    ("last_sequence", "Nullable(Int64)"),
    ("oldest_timestamp", "Nullable(DateTime64(6, 'UTC'))"),
    ("malformed", "UInt64"),
    ("conflated", "UInt64"),
    ("dropped", "UInt64"),
    ("gaps", GAPS),
    ("stream_seq", "UInt64"),
    ("created_at", "DateTime64(3, 'UTC')"),
];

/// In the order in which rows are written.
pub const FEED_AUDITS: &[Column] = &[
    ("window_start", "DateTime64(3, 'UTC')"),
    ("window_seconds", "UInt16"),
    ("exchange", TEXT),
    ("edge", TEXT),
    ("region", TEXT),
    ("run", "Int64"),
    ("malformed", "UInt64"),
    ("reconnects", "UInt64"),
    ("adapter_faults", "UInt64"),
    ("not_running", "Nullable(String)"),
    ("not_listed", "Array(String)"),
    ("stream_seq", "UInt64"),
    ("created_at", "DateTime64(3, 'UTC')"),
];

const GAPS: &str = "Array(Tuple(kind String, cause String, from_sequence Nullable(Int64), to_sequence Nullable(Int64), \
                    missing Nullable(UInt64), from_ns Int64, to_ns Int64, venue_from_ns Nullable(Int64), \
                    venue_to_ns Nullable(Int64), evidence String))";

const MILLI_NS: i64 = 1_000_000;

/// Rows of one message: `created_at` is the broker's time, so that a redelivery gives the same bytes. Returns their number.
pub fn encode_audit_rows(audit: &Audit, stream_seq: u64, published_ns: i64, out: &mut Vec<u8>) -> usize {
    let silent = audit.silent_streams().map(|(id, capability)| StreamAudit::new(id, capability));
    let mut rows = 0;
    for stream in audit.streams.iter().cloned().chain(silent) {
        encode_row(audit, &stream, out);
        binary::uint64(out, stream_seq);
        binary::int64(out, published_ns / MILLI_NS);
        rows += 1;
    }
    rows
}

pub fn encode_feed_rows(audit: &Audit, stream_seq: u64, published_ns: i64, out: &mut Vec<u8>) {
    for feed in audit.feeds.iter().filter(|feed| !feed.is_quiet()) {
        let FeedAudit { exchange, malformed, reconnects, adapter_faults, not_running, not_listed } = feed;
        binary::int64(out, audit.window_start / MILLI_NS);
        binary::uint16(out, audit.window_seconds);
        for text in [exchange, &audit.edge, &audit.region] {
            binary::text(out, text);
        }
        binary::int64(out, audit.run);
        for number in [*malformed, *reconnects, *adapter_faults] {
            binary::uint64(out, number);
        }
        binary::nullable(out, not_running.as_deref(), binary::text);
        binary::length(out, not_listed.len());
        for symbol in not_listed {
            binary::text(out, symbol);
        }
        binary::uint64(out, stream_seq);
        binary::int64(out, published_ns / MILLI_NS);
    }
}

fn encode_row(audit: &Audit, stream: &StreamAudit, out: &mut Vec<u8>) {
    binary::int64(out, audit.window_start / MILLI_NS);
    binary::uint16(out, audit.window_seconds);
    for text in stream.id.names().into_iter().chain([audit.edge.as_str(), &audit.region]) {
        binary::text(out, text);
    }
    for number in [audit.run, audit.from, audit.to] {
        binary::int64(out, number);
    }
    binary::text(out, stream.capability.numbering.as_str());
    binary::text(out, stream.capability.completeness.as_str());
    binary::uint32(out, stream.capability.delay_seconds);
    let Fingerprint { count, xor, sum } = stream.stored;
    for number in [count, xor, sum, stream.duplicates] {
        binary::uint64(out, number);
    }
    binary::length(out, stream.duplicate_ids.len());
    for id in &stream.duplicate_ids {
        binary::uint64(out, *id);
    }
    out.push(u8::from(stream.duplicates_truncated));
    binary::length(out, stream.unsure.len());
    for id in &stream.unsure {
        binary::uint128(out, id.0);
    }
    out.push(u8::from(stream.unsure_truncated));
    binary::nullable(out, stream.first_sequence, binary::int64);
    binary::nullable(out, stream.last_sequence, binary::int64);
    binary::nullable(out, stream.oldest_timestamp, binary::int64);
    for number in [stream.malformed, stream.conflated, stream.dropped] {
        binary::uint64(out, number);
    }
    binary::length(out, stream.gaps.len());
    for gap in &stream.gaps {
        encode_gap(gap, out);
    }
}

fn encode_gap(gap: &Gap, out: &mut Vec<u8>) {
    binary::text(out, gap.kind.as_str());
    binary::text(out, gap.cause.as_str());
    binary::nullable(out, gap.from_sequence, binary::int64);
    binary::nullable(out, gap.to_sequence, binary::int64);
    binary::nullable(out, gap.missing, binary::uint64);
    binary::int64(out, gap.from);
    binary::int64(out, gap.to);
    binary::nullable(out, gap.venue_from, binary::int64);
    binary::nullable(out, gap.venue_to, binary::int64);
    binary::text(out, &gap.evidence);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::defined::{defined, owned};

    #[test]
    fn columns_are_those_of_the_table_definitions() {
        assert_eq!(owned(AUDITS), defined("audits"));
        assert_eq!(owned(FEED_AUDITS), defined("feed_audits"));
    }
}
