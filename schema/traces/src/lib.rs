//! OpenTelemetry traces of edge and central: spans of sampled messages and of single operations, sent over OTLP/HTTP. Off without an
//! address of a collector. A slow or unreachable collector costs spans, which are counted, and nothing else.
//!
//! Trace and root span of a message come from its id, which both sides know: no byte of context goes with a message, and both sides
//! choose the same messages.

mod collector;
mod export;
mod operation;
mod settings;
mod span;
mod tracer;

pub use export::TraceExport;
pub use operation::OperationSpan;
pub use settings::TraceSettings;
pub use span::{SpanContext, SpanKind, SpanRecord};
pub use tracer::{TraceCounts, Tracer, tracer};
