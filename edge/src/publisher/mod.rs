//! From the queue to JetStream: pipelined, bounded, every acknowledgement awaited. Audits go the same way, one by one.

mod ack_progress;
mod audit_request;
mod audits;
mod batches;
mod checkpoint_pace;
mod edge_health;
mod events;
mod hops;
mod inflight;
mod mirror;
mod outbox;
mod run_writer;
mod send_window;
mod stored_audits;
mod traces;

pub use audits::AuditSender;
pub use events::{DrainResult, PUBLISHER, Publisher, REJECTED};
pub use inflight::RetryReason;
pub use mirror::MirrorDrop;
