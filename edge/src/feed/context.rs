//! The parts of the edge that its feeds share, and those of one feed.

use std::sync::Arc;

use marketprism_adapter_host::Quarantine;
use marketprism_schema::{DataTypeMap, WireForm};
use marketprism_socket::{Budgets, SocketEvent};
use tokio_util::sync::CancellationToken;

use super::sources::SourceMap;
use super::status::FeedStatus;
use crate::audit::{AuditFeed, Auditor};
use crate::config::{Config, Sandbox};
use crate::journal::Journal;
use crate::limits::QUARANTINE_BYTES_MAX;
use crate::queue::{EventQueue, QueueLane};
use crate::telemetry::{Coverage, Metrics};

/// Folder of quarantined frames inside the data folder.
const QUARANTINE: &str = "quarantine";

pub struct EdgeContext {
    pub name: String,
    pub region: String,
    pub sandbox: Sandbox,
    pub wire: DataTypeMap<WireForm>,
    pub quarantine: Arc<Quarantine>,
    /// Rate limits, shared by all feeds.
    pub budgets: Budgets,
    pub queue: Arc<dyn EventQueue>,
    /// `None`: nothing is kept on disk.
    pub journal: Option<Arc<Journal>>,
    pub coverage: Arc<Coverage>,
    pub auditor: Arc<Auditor>,
    pub metrics: Metrics,
    pub stop: CancellationToken,
}

impl EdgeContext {
    pub fn new(config: &Config, queue: Arc<dyn EventQueue>, auditor: Arc<Auditor>) -> anyhow::Result<Self> {
        // All TLS libraries in use share one provider; one that was installed before stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = config.data_dir.join(QUARANTINE);
        let quarantine = Quarantine::open(&dir, config.sandbox.quarantine_files, QUARANTINE_BYTES_MAX)?;
        Ok(Self {
            name: config.name.clone(),
            region: config.region.clone(),
            sandbox: config.sandbox,
            wire: config.wire,
            quarantine: Arc::new(quarantine),
            budgets: Budgets::new(),
            queue,
            journal: None,
            coverage: Arc::new(Coverage::default()),
            auditor,
            metrics: Metrics::new()?,
            stop: CancellationToken::new(),
        })
    }
}

pub struct FeedContext {
    pub edge: Arc<EdgeContext>,
    pub audit_feed: AuditFeed,
    pub lane: QueueLane,
    pub status: Arc<FeedStatus>,
    /// Set by `record`.
    pub observer: Option<Arc<dyn FrameObserver>>,
}

pub trait FrameObserver: Send + Sync {
    fn answer(&self, url: &str, body: &[u8], at_ns: i64);

    fn event(&self, event: &SocketEvent, sources: &SourceMap);
}
