//! The parts of the edge that a feed uses.

use std::sync::Arc;

use marketprism_adapter_host::Quarantine;
use marketprism_schema::{DataTypeMap, WireForm};
use marketprism_socket::{Budgets, SocketEvent};
use tokio_util::sync::CancellationToken;

use super::sources::SourceMap;
use super::status::FeedStatus;
use crate::audit::{AuditFeed, Auditor};
use crate::config::Sandbox;
use crate::queue::EventQueue;
use crate::telemetry::{Coverage, Metrics};

#[derive(Clone)]
pub struct FeedContext {
    pub edge: String,
    pub region: String,
    pub quarantine: Arc<Quarantine>,
    pub sandbox: Sandbox,
    /// Rate limits, shared by all feeds.
    pub budgets: Budgets,
    pub queue: Arc<dyn EventQueue>,
    pub auditor: Arc<Auditor>,
    pub audit_feed: AuditFeed,
    pub wire: DataTypeMap<WireForm>,
    pub coverage: Arc<Coverage>,
    pub metrics: Metrics,
    pub status: Arc<FeedStatus>,
    /// Set by `record`.
    pub observer: Option<Arc<dyn FrameObserver>>,
    pub stop: CancellationToken,
}

pub trait FrameObserver: Send + Sync {
    fn answer(&self, url: &str, body: &[u8], at_ns: i64);

    fn event(&self, event: &SocketEvent, sources: &SourceMap);
}
