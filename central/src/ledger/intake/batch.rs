//! Audit messages on their way into `audits`, `feed_audits`, `edge_audits`, `downtimes`, `edge_changes`, `corrections` and `instruments`: decoded, validated,
//! encoded as rows, fixed before the first insert.

use async_nats::{Message, Subject, jetstream};
use marketprism_schema::{
    Audit, AuditPayload, Downtime, FeedAudit, Fingerprint, Gap, StreamAudit, UnknownName, audit_subject,
    correction_subject, decode_audit_payload, with_unknown_names,
};

use super::change_rows::{EDGE_CHANGES, encode_change_rows};
use super::correction_rows::{CORRECTIONS, encode_correction_rows};
use super::downtime_rows::{DOWNTIMES, encode_downtime_rows, touched_windows};
use super::edge_rows::{EDGE_AUDITS, audited_windows, encode_edge_row};
use crate::ingest::{Delivery, header};
use crate::ledger::instruments::InstrumentReports;
use crate::ledger::windows::WindowGrid;
use crate::row::{Column, DeadLetter, RowWriter, TEXT, TableRows, Target, encode_dead_letter};
use crate::storage::shorten;

pub const AUDIT: &str = "AUDIT";
/// Label of refused audits among the dead letters.
pub const AUDIT_DEAD_LETTER: &str = "audit";

pub struct AuditMessage {
    pub message: Message,
    pub delivery: Delivery,
    /// The reason of the refusal for a message that becomes a dead letter.
    pub payload: Result<AuditPayload, String>,
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
    /// Names of newer edges, by edge.
    pub unknown: Vec<(String, Vec<UnknownName>)>,
}

impl DecodedAudits {
    /// `now_ns` bounds the windows that a downtime touches. Times are judged by the broker's clock, as those of events: what this one refuses is
    /// lost for good.
    pub fn add(&mut self, message: jetstream::Message, grid: WindowGrid, now_ns: i64) {
        let Some(delivery) = Delivery::of(&message) else {
            tracing::error!("dropped a message without JetStream metadata: it cannot be acknowledged");
            return;
        };
        self.add_delivered(message.message, delivery, grid, now_ns);
    }

    fn add_delivered(&mut self, message: Message, delivery: Delivery, grid: WindowGrid, now_ns: i64) {
        let (read, unknown) = with_unknown_names(|| read_audit(&message, delivery.published_ns));
        match read {
            Ok(payload) => {
                if !unknown.is_empty() {
                    let edge = message.subject.trim_start_matches("audit.").to_owned();
                    self.unknown.push((edge, unknown));
                }
                let windows = match &payload {
                    AuditPayload::Audit(audit) => {
                        audited_windows(audit.window_start, &audit.health.clock_steps, grid)
                    }
                    AuditPayload::Downtime(downtime) => touched_windows(downtime, grid, now_ns),
                    AuditPayload::Instruments(_) | AuditPayload::Changes(_) | AuditPayload::Correction(_) => {
                        Vec::new()
                    }
                };
                let payload = Ok(payload);
                self.good.entries.push(AuditMessage { message, delivery, payload, windows });
            }
            Err(reason) => self.refuse(message, delivery, &reason),
        }
    }

    pub fn refuse(&mut self, message: Message, delivery: Delivery, reason: &str) {
        let (stream_seq, reason) = (delivery.stream_seq, shorten(reason));
        tracing::warn!(stream = AUDIT, stream_seq, reason, "audit refused; moved to dead_letters");
        let (payload, windows) = (Err(reason), Vec::new());
        self.bad.entries.push(AuditMessage { message, delivery, payload, windows });
    }
}

impl AuditBatch {
    /// The rows of each table. Audits last: their arrival triggers the evaluation, which reads downtimes and troubles of feeds too.
    pub fn tables(&self) -> [(&'static str, TableRows); 6] {
        let [mut feeds, mut edges, mut downtimes, mut changes, mut corrections, mut audits] =
            [FEED_AUDITS, EDGE_AUDITS, DOWNTIMES, EDGE_CHANGES, CORRECTIONS, AUDITS].map(TableRows::new);
        for entry in &self.entries {
            let Delivery { stream_seq, published_ns, .. } = entry.delivery;
            match &entry.payload {
                Ok(AuditPayload::Audit(audit)) => {
                    encode_feed_rows(audit, stream_seq, published_ns, &mut feeds);
                    encode_edge_row(audit, stream_seq, published_ns, &mut edges);
                    encode_audit_rows(audit, stream_seq, published_ns, &mut audits);
                }
                Ok(AuditPayload::Downtime(downtime)) => {
                    encode_downtime_rows(downtime, stream_seq, published_ns, &mut downtimes);
                }
                Ok(AuditPayload::Changes(changed)) => {
                    encode_change_rows(changed, stream_seq, published_ns, &mut changes);
                }
                Ok(AuditPayload::Correction(correction)) => {
                    encode_correction_rows(correction, stream_seq, published_ns, &mut corrections);
                }
                Ok(AuditPayload::Instruments(_)) | Err(_) => {}
            }
        }
        [
            ("feed_audits", feeds),
            ("edge_audits", edges),
            ("downtimes", downtimes),
            ("edge_changes", changes),
            ("corrections", corrections),
            ("audits", audits),
        ]
    }

    pub fn instruments(&self) -> Vec<InstrumentReports> {
        let reports = |entry: &AuditMessage| match &entry.payload {
            Ok(AuditPayload::Downtime(downtime)) => {
                InstrumentReports::of_downtime(downtime, entry.delivery.published_ns)
            }
            Ok(AuditPayload::Instruments(listing)) => {
                vec![InstrumentReports::of_listing(listing.clone(), entry.delivery.published_ns)]
            }
            _ => Vec::new(),
        };
        self.entries.iter().flat_map(reports).collect()
    }

    /// Rows of the refused messages.
    pub fn dead_letters(&self) -> TableRows {
        let mut rows = TableRows::new(Target::DeadLetters.columns());
        for AuditMessage { message, delivery, payload, .. } in &self.entries {
            let Err(reason) = payload else { continue };
            let headers = message.headers.as_ref();
            let first = rows.len();
            let letter = DeadLetter {
                stream: AUDIT,
                stream_seq: delivery.stream_seq,
                subject: &message.subject,
                content_type: header(headers, "Content-Type"),
                message_id: header(headers, "Nats-Msg-Id"),
                reason,
                payload: &message.payload,
            };
            encode_dead_letter(&letter, &mut rows);
            // The broker's time, so that a redelivery gives the same row.
            rows.set_created_at(first, delivery.published_ns / 1_000_000);
        }
        rows
    }

    pub fn replies(&self) -> Vec<Subject> {
        self.entries.iter().filter_map(|entry| entry.message.reply.clone()).collect()
    }
}

/// Allowed age of an audit in days when the broker stored it: a window far in the future would stay open for ever.
const OLDEST_DAYS: i64 = 3_650;
const NEWEST_DAYS: i64 = 1;
const DAY_NS: i64 = 86_400_000_000_000;

fn read_audit(message: &Message, published_ns: i64) -> Result<AuditPayload, String> {
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
    let subject = match &payload {
        AuditPayload::Correction(correction) => correction_subject(edge, &correction.exchange),
        _ => audit_subject(edge),
    };
    if *message.subject != *subject {
        return Err(format!("audit: subject is {:?}, allowed: {subject:?}", &*message.subject));
    }
    let age_ns = published_ns.saturating_sub(at_ns);
    if !(-NEWEST_DAYS * DAY_NS..=OLDEST_DAYS * DAY_NS).contains(&age_ns) {
        let allowed = format!("at most {OLDEST_DAYS} days ago and {NEWEST_DAYS} day ahead");
        return Err(format!("audit: {field} is {at_ns}, allowed: {allowed}"));
    }
    Ok(payload)
}

/// In the order in which rows are written.
const AUDITS: &[Column] = &[
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
const FEED_AUDITS: &[Column] = &[
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

/// Rows of one message: `created_at` is the broker's time, so that a redelivery gives the same bytes.
fn encode_audit_rows(audit: &Audit, stream_seq: u64, published_ns: i64, rows: &mut TableRows) {
    let silent = audit.silent_streams().map(|(id, capability)| StreamAudit::new(id, capability));
    for stream in audit.streams.iter().cloned().chain(silent) {
        rows.push(|row| {
            encode_stream(audit, &stream, row);
            row.uint64(stream_seq);
            row.int64(published_ns / MILLI_NS);
        });
    }
}

fn encode_feed_rows(audit: &Audit, stream_seq: u64, published_ns: i64, rows: &mut TableRows) {
    for feed in audit.feeds.iter().filter(|feed| !feed.is_quiet()) {
        let FeedAudit { exchange, malformed, reconnects, adapter_faults, not_running, not_listed } = feed;
        rows.push(|row| {
            row.int64(audit.window_start / MILLI_NS);
            row.uint16(audit.window_seconds);
            for text in [exchange, &audit.edge, &audit.region] {
                row.text(text);
            }
            row.int64(audit.run);
            for number in [*malformed, *reconnects, *adapter_faults] {
                row.uint64(number);
            }
            row.nullable(not_running.as_deref(), |row, cause| row.text(cause));
            row.array(not_listed, |row, symbol| row.text(symbol));
            row.uint64(stream_seq);
            row.int64(published_ns / MILLI_NS);
        });
    }
}

fn encode_stream(audit: &Audit, stream: &StreamAudit, row: &mut RowWriter<'_>) {
    row.int64(audit.window_start / MILLI_NS);
    row.uint16(audit.window_seconds);
    for text in stream.id.names().into_iter().chain([audit.edge.as_str(), &audit.region]) {
        row.text(text);
    }
    for number in [audit.run, audit.from, audit.to] {
        row.int64(number);
    }
    row.text(stream.capability.numbering.as_str());
    row.text(stream.capability.completeness.as_str());
    row.uint32(stream.capability.delay_seconds);
    let Fingerprint { count, xor, sum } = stream.stored;
    for number in [count, xor, sum, stream.duplicates] {
        row.uint64(number);
    }
    row.array(&stream.duplicate_ids, |row, id| row.uint64(*id));
    row.bool(stream.duplicates_truncated);
    row.array(&stream.unsure, |row, id| row.uint128(id.0));
    row.bool(stream.unsure_truncated);
    for time in [stream.first_sequence, stream.last_sequence, stream.oldest_timestamp] {
        row.nullable(time, |row, time| row.int64(time));
    }
    for number in [stream.malformed, stream.conflated, stream.dropped] {
        row.uint64(number);
    }
    row.array(&stream.gaps, |row, gap| encode_gap(gap, row));
}

fn encode_gap(gap: &Gap, row: &mut RowWriter<'_>) {
    row.text(gap.kind.as_str());
    row.text(gap.cause.as_str());
    for sequence in [gap.from_sequence, gap.to_sequence] {
        row.nullable(sequence, |row, sequence| row.int64(sequence));
    }
    row.nullable(gap.missing, |row, missing| row.uint64(missing));
    row.int64(gap.from);
    row.int64(gap.to);
    for time in [gap.venue_from, gap.venue_to] {
        row.nullable(time, |row, time| row.int64(time));
    }
    row.text(&gap.evidence);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use marketprism_schema::{DOWNTIME_VERSION, DowntimeReason, StreamId};

    use super::*;
    use crate::fixtures;
    use crate::row::defined::{defined, owned};

    /// A central that started with its clock far behind refused every audit for good until that was right.
    #[test]
    fn an_audit_is_taken_whatever_the_clock_of_central_says() {
        const NOW_NS: i64 = 1_763_800_000_000_000_000;
        let taken = |at_ns: i64, own_clock_ns: i64| {
            let downtime = Downtime {
                version: DOWNTIME_VERSION,
                edge: "e1".into(),
                region: "r".into(),
                from: at_ns,
                to: None,
                reason: DowntimeReason::Stopped,
                detail: None,
                streams: vec![StreamId::parse("trade.sim_spot.spot.A-B").unwrap()],
            };
            let payload = serde_json::to_vec(&downtime).unwrap();
            let message = fixtures::message(&audit_subject("e1"), None, payload);
            let delivery = Delivery { stream_seq: 1, is_redelivered: false, published_ns: NOW_NS };
            let mut decoded = DecodedAudits::default();
            decoded.add_delivered(message, delivery, WindowGrid::new(Duration::from_secs(60)), own_clock_ns);
            decoded.good.entries.len()
        };
        for own_clock_ns in [0, NOW_NS - 2 * DAY_NS, NOW_NS] {
            assert_eq!(taken(NOW_NS, own_clock_ns), 1, "{own_clock_ns}");
            assert_eq!(taken(NOW_NS + 2 * DAY_NS, own_clock_ns), 0, "{own_clock_ns}");
        }
    }

    #[test]
    fn columns_are_those_of_the_table_definitions() {
        assert_eq!(owned(AUDITS), defined("audits"));
        assert_eq!(owned(FEED_AUDITS), defined("feed_audits"));
    }
}
