//! Traces of sampled messages, from the broker to hot; the edge began them.

use std::collections::BTreeMap;
use std::ops::Range;
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
    /// Its rows of the batch.
    rows: Range<usize>,
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
        let mut next = 0;
        for of_message in entries.chunk_by(|one, other| one.stream_seq == other.stream_seq) {
            let rows = next..next + of_message.len();
            next = rows.end;
            let Some(BatchEntry { message, stream_seq, published_ns, .. }) = of_message.first() else {
                continue;
            };
            let id = EventId::parse(header(message.headers.as_ref(), "Nats-Msg-Id"));
            if let Some(root) = id.and_then(|id| tracer().message(id.0)) {
                traces.messages.push(TracedMessage {
                    message: Arc::clone(message),
                    context: root.child(),
                    sequence: *stream_seq,
                    rows,
                    published_ns: *published_ns,
                });
            }
        }
        traces
    }

    /// The insert of these rows has ended; some may be refused, with the reason.
    pub(super) fn end(self, rows: usize, refused: &BTreeMap<usize, String>) {
        let (now_ns, begun_ns) = (clock::now_ns(), self.begun_ns);
        for TracedMessage { message, context, sequence, rows: own, published_ns } in self.messages {
            let wait = (published_ns.min(begun_ns), begun_ns);
            tracer().send(SpanRecord::new("wait", SpanKind::Internal, context.child(), wait));
            let insert = SpanRecord::new("insert", SpanKind::Client, context.child(), (begun_ns, now_ns))
                .text("db.system.name", "clickhouse")
                .text("db.collection.name", self.target.table())
                .number("db.operation.batch.size", rows);
            let (count, reason) = refusals_of(&own, refused);
            tracer().send(match reason {
                Some(reason) => insert.number("marketprism.refused", count).error(reason),
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

/// Number of a message's rows that were refused, and the first reason.
fn refusals_of<'a>(own: &Range<usize>, refused: &'a BTreeMap<usize, String>) -> (usize, Option<&'a str>) {
    let mut reasons = refused.range(own.clone()).map(|(_, reason)| reason.as_str());
    let first = reasons.next();
    (usize::from(first.is_some()) + reasons.count(), first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_marked_by_refusals_of_its_own_rows_only() {
        let refused =
            BTreeMap::from([(3, "price".to_owned()), (4, "time".to_owned()), (9, "side".to_owned())]);
        for (own, expected) in [
            (0..3, (0, None)),
            (3..4, (1, Some("price"))),
            (2..6, (2, Some("price"))),
            (4..10, (2, Some("time"))),
            (5..9, (0, None)),
            (10..12, (0, None)),
        ] {
            assert_eq!(refusals_of(&own, &refused), expected, "{own:?}");
        }
    }
}
