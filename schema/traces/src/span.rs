//! A span, and its place in a trace.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

/// Longest text of an attribute or error: texts of others are in them.
const TEXT_CHARS_MAX: usize = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    Internal,
    /// Hands a message to the broker.
    Producer,
    /// Takes a message of the broker.
    Consumer,
    /// Waits for another server.
    Client,
}

impl SpanKind {
    const fn wire(self) -> span::SpanKind {
        match self {
            Self::Internal => span::SpanKind::Internal,
            Self::Producer => span::SpanKind::Producer,
            Self::Consumer => span::SpanKind::Consumer,
            Self::Client => span::SpanKind::Client,
        }
    }
}

/// Place of a span in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanContext {
    trace_id: u128,
    span_id: u64,
    parent: Option<u64>,
}

impl SpanContext {
    /// The root of the trace of a message with this id: the same wherever it is made.
    #[expect(clippy::cast_possible_truncation, reason = "the halves are wanted")]
    pub(crate) fn of_message(id: u128) -> Self {
        let span_id = ((id >> 64) as u64) ^ (id as u64).rotate_left(32);
        Self { trace_id: id.max(1), span_id: span_id.max(1), parent: None }
    }

    /// The root of a trace of its own.
    pub(crate) fn random() -> Self {
        Self { trace_id: rand::random::<u128>().max(1), span_id: random_span(), parent: None }
    }

    /// A new span below this one.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: random_span(), parent: Some(self.span_id), ..self }
    }
}

fn random_span() -> u64 {
    rand::random::<u64>().max(1)
}

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct SpanRecord(Span);

impl SpanRecord {
    /// Times in nanoseconds since 1970 UTC. A clock that was set back makes no negative duration.
    pub fn new(
        name: impl Into<String>,
        kind: SpanKind,
        context: SpanContext,
        (started_ns, ended_ns): (i64, i64),
    ) -> Self {
        let SpanContext { trace_id, span_id, parent } = context;
        let nanos = |at_ns: i64| u64::try_from(at_ns).unwrap_or_default();
        Self(Span {
            trace_id: trace_id.to_be_bytes().to_vec(),
            span_id: span_id.to_be_bytes().to_vec(),
            parent_span_id: parent.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
            name: name.into(),
            kind: kind.wire().into(),
            start_time_unix_nano: nanos(started_ns),
            end_time_unix_nano: nanos(ended_ns.max(started_ns)),
            ..Span::default()
        })
    }

    #[must_use]
    pub fn text(self, key: &str, value: &str) -> Self {
        self.with(attribute(key, value))
    }

    #[must_use]
    pub fn number(self, key: &str, value: impl TryInto<i64>) -> Self {
        self.with(numeric(key, value))
    }

    #[must_use]
    pub fn flag(self, key: &str, value: bool) -> Self {
        self.with(pair(key, Value::BoolValue(value)))
    }

    /// Marks the span as failed. Secrets of addresses are masked.
    #[must_use]
    pub fn error(mut self, text: &str) -> Self {
        let message = cut(&marketprism_service::mask(text));
        self.0.status = Some(Status { code: StatusCode::Error.into(), message });
        self
    }

    pub(crate) fn with(mut self, attribute: KeyValue) -> Self {
        self.0.attributes.push(attribute);
        self
    }

    pub(crate) fn into_wire(self) -> Span {
        self.0
    }
}

pub(crate) fn attribute(key: &str, value: &str) -> KeyValue {
    pair(key, Value::StringValue(cut(&marketprism_service::mask(value))))
}

pub(crate) fn numeric(key: &str, value: impl TryInto<i64>) -> KeyValue {
    pair(key, Value::IntValue(value.try_into().unwrap_or(i64::MAX)))
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}
