//! Batches of audit messages, fixed before the first insert.

use async_nats::jetstream;
use async_nats::{Message, Subject};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::message;
use super::row::{encode_audit_rows, encode_feed_rows};
use crate::ingest::{Delivery, header};
use crate::row::{CREATED_AT_BYTES, DeadLetter, encode_dead_letter};

pub const AUDIT: &str = "AUDIT";

pub struct AuditMessage {
    pub message: Message,
    pub delivery: Delivery,
    pub rows: Bytes,
    pub feeds: Bytes,
    /// First nanosecond of the audited window; none when the message is refused.
    pub window: Option<i64>,
}

#[derive(Default)]
pub struct AuditBatch {
    pub entries: Vec<AuditMessage>,
}

#[derive(Default)]
pub struct DecodedAudits {
    pub good: AuditBatch,
    pub bad: AuditBatch,
}

impl DecodedAudits {
    pub fn add(&mut self, message: jetstream::Message, now_ns: i64) {
        let Some(delivery) = Delivery::of(&message) else {
            tracing::error!("dropped a message without JetStream metadata: it cannot be acknowledged");
            return;
        };
        let message = message.message;
        match message::read(&message, now_ns) {
            Ok(audit) => {
                let (mut rows, mut feeds) = (Vec::new(), Vec::new());
                encode_audit_rows(&audit, delivery.stream_seq, delivery.published_ns, &mut rows);
                encode_feed_rows(&audit, delivery.stream_seq, delivery.published_ns, &mut feeds);
                let (rows, feeds, window) = (rows.into(), feeds.into(), Some(audit.window_start));
                self.good.entries.push(AuditMessage { message, delivery, rows, feeds, window });
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
        let (rows, feeds) = (row.into(), Bytes::new());
        self.bad.entries.push(AuditMessage { message, delivery, rows, feeds, window: None });
    }
}

impl AuditBatch {
    pub fn rows(&self) -> Bytes {
        self.entries.iter().flat_map(|entry| entry.rows.iter().copied()).collect()
    }

    pub fn feeds(&self) -> Bytes {
        self.entries.iter().flat_map(|entry| entry.feeds.iter().copied()).collect()
    }

    pub fn replies(&self) -> Vec<Subject> {
        self.entries.iter().filter_map(|entry| entry.message.reply.clone()).collect()
    }

    /// Deduplication token of an insert of the given rows.
    pub fn token(&self, table: &str, rows: &[u8]) -> String {
        let seqs = || self.entries.iter().map(|entry| entry.delivery.stream_seq);
        let (first, last) = (seqs().min().unwrap_or_default(), seqs().max().unwrap_or_default());
        format!("{AUDIT}:{table}:{first}-{last}:{}:{:016x}", self.entries.len(), xxh3_64(rows))
    }
}
