//! Traces of sampled messages: from the receipt of the first frame to the broker's answer.

use std::time::Instant;

use marketprism_traces::{SpanContext, SpanKind, SpanRecord, tracer};

use super::inflight::InFlightMessage;
use crate::audit::PublishOutcome;

/// The broker has the message.
pub(super) fn stored(flight: &InFlightMessage, now: (Instant, i64), outcome: PublishOutcome, sequence: u64) {
    if let Some(root) = root(flight) {
        // Another copy of the message has this trace's root.
        let context = if outcome == PublishOutcome::Stored { root } else { root.child() };
        let span = publish(flight, context, now);
        let is_copy = outcome != PublishOutcome::Stored;
        tracer().send(span.number("marketprism.sequence", sequence).flag("marketprism.duplicate", is_copy));
    }
}

/// The broker will never have the message.
pub(super) fn rejected(flight: &InFlightMessage, now: (Instant, i64), text: &str) {
    if let Some(root) = root(flight) {
        tracer().send(publish(flight, root, now).error(text));
    }
}

/// A message that is sent again for repair has no id, and no trace.
fn root(flight: &InFlightMessage) -> Option<SpanContext> {
    tracer().message(flight.message.message_id?.0)
}

/// Sends the spans of the hops, and returns that of all of them.
fn publish(flight: &InFlightMessage, context: SpanContext, (now, now_ns): (Instant, i64)) -> SpanRecord {
    let message = &flight.message;
    let at_ns = |at: Instant| {
        let ago = now.saturating_duration_since(at).as_nanos();
        now_ns.saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX))
    };
    let (opened_ns, sent_ns) = (at_ns(message.opened), at_ns(flight.first_sent));
    let received = message.entries.iter().map(|entry| entry.record.received_at_ns);
    let received_ns = received.min().unwrap_or(opened_ns).min(opened_ns);
    for (name, kind, span) in [
        ("collect", SpanKind::Internal, (received_ns, opened_ns)),
        ("join", SpanKind::Internal, (opened_ns, sent_ns)),
        ("store", SpanKind::Client, (sent_ns, now_ns)),
    ] {
        tracer().send(SpanRecord::new(name, kind, context.child(), span));
    }
    SpanRecord::new("publish", SpanKind::Producer, context, (received_ns, now_ns))
        .text("messaging.system", "nats")
        .text("messaging.destination.name", &message.subject)
        .number("messaging.message.body.size", message.payload.len())
        .number("marketprism.events", message.entries.len())
        .number("marketprism.tries", flight.tries)
}
