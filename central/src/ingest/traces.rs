//! Traces of sampled messages, from the broker to hot; the edge began them.

use std::collections::BTreeMap;
use std::sync::Arc;

use marketprism_schema::EventId;
use marketprism_traces::{SpanContext, SpanKind, SpanRecord, tracer};

use super::batch::BatchEntry;
use super::message::header;
use super::open_message::OpenMessage;
use crate::clock;
use crate::row::Target;

/// The traced messages of a batch.
#[derive(Debug)]
pub(super) struct BatchTraces {
    target: Target,
    messages: Vec<TracedMessage>,
    begun_ns: i64,
}

#[derive(Debug)]
struct TracedMessage {
    message: Arc<OpenMessage>,
    context: SpanContext,
    sequence: u64,
    published_ns: i64,
}

impl BatchTraces {
    /// The insert begins.
    pub(super) fn begin(target: Target, entries: &[BatchEntry]) -> Self {
        let mut traces = Self { target, messages: Vec::new(), begun_ns: 0 };
        if !tracer().is_on() || !matches!(target, Target::Events(_)) {
            return traces;
        }
        traces.begun_ns = clock::now_ns();
        let mut previous = None;
        for BatchEntry { message, stream_seq, published_ns, .. } in entries {
            if previous.replace(*stream_seq) == Some(*stream_seq) {
                continue;
            }
            let id = EventId::parse(header(message.headers.as_ref(), "Nats-Msg-Id"));
            if let Some(root) = id.and_then(|id| tracer().message(id.0)) {
                traces.messages.push(TracedMessage {
                    message: Arc::clone(message),
                    context: root.child(),
                    sequence: *stream_seq,
                    published_ns: *published_ns,
                });
            }
        }
        traces
    }

    /// The insert of these rows has ended; some may be refused, with the reason.
    pub(super) fn end(self, rows: usize, refused: &BTreeMap<usize, String>) {
        let (now_ns, begun_ns) = (clock::now_ns(), self.begun_ns);
        for TracedMessage { message, context, sequence, published_ns } in self.messages {
            let wait = (published_ns.min(begun_ns), begun_ns);
            tracer().send(SpanRecord::new("wait", SpanKind::Internal, context.child(), wait));
            let insert = SpanRecord::new("insert", SpanKind::Client, context.child(), (begun_ns, now_ns))
                .text("db.system.name", "clickhouse")
                .text("db.collection.name", self.target.table())
                .number("db.operation.batch.size", rows);
            tracer().send(match refused.values().next() {
                Some(reason) => insert.number("marketprism.refused", refused.len()).error(reason),
                None => insert,
            });
            let ingest = SpanRecord::new("ingest", SpanKind::Consumer, context, (wait.0, now_ns));
            tracer().send(
                ingest
                    .text("messaging.system", "nats")
                    .text("messaging.destination.name", &message.subject)
                    .number("marketprism.sequence", sequence),
            );
        }
    }
}
