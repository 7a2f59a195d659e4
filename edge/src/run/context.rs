//! The parts that all feeds share, and the start of the feeds. `run` and `record` use the same.

use std::sync::Arc;

use anyhow::Context;
use marketprism_adapter_host::Quarantine;
use marketprism_socket::Budgets;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::Auditor;
use crate::config::{Adapters, Config};
use crate::feed::{FeedContext, FeedStatus, FrameObserver, run_feed};
use crate::limits::QUARANTINE_BYTES_MAX;
use crate::queue::EventQueue;
use crate::telemetry::{Coverage, Metrics};

/// Folder of quarantined frames inside the data folder.
const QUARANTINE: &str = "quarantine";

pub(crate) struct EdgeContext {
    budgets: Budgets,
    pub(crate) queue: Arc<dyn EventQueue>,
    pub(crate) coverage: Arc<Coverage>,
    pub(crate) auditor: Arc<Auditor>,
    pub(crate) metrics: Metrics,
    quarantine: Arc<Quarantine>,
    /// Stops the feeds.
    pub(crate) stop: CancellationToken,
}

/// The running feeds.
pub(crate) struct FeedTasks {
    pub(crate) tasks: JoinSet<()>,
    pub(crate) statuses: Vec<Arc<FeedStatus>>,
}

impl FeedTasks {
    /// Waits until all feeds have ended.
    pub(crate) async fn join(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl EdgeContext {
    pub(crate) fn new(
        config: &Config,
        queue: Arc<dyn EventQueue>,
        auditor: Arc<Auditor>,
    ) -> anyhow::Result<Self> {
        // All TLS libraries in use share one provider; one that was installed before stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = config.data_dir.join(QUARANTINE);
        let quarantine = Quarantine::open(&dir, config.sandbox.quarantine_files, QUARANTINE_BYTES_MAX)?;
        Ok(Self {
            budgets: Budgets::new(),
            queue,
            coverage: Arc::new(Coverage::default()),
            auditor,
            metrics: Metrics::new()?,
            quarantine: Arc::new(quarantine),
            stop: CancellationToken::new(),
        })
    }

    /// `observer` gives the observer of a feed by its position in the configuration.
    pub(crate) fn start_feeds(
        &self,
        config: &Config,
        adapters: &Adapters,
        observer: impl Fn(usize) -> Option<Arc<dyn FrameObserver>>,
    ) -> anyhow::Result<FeedTasks> {
        let mut feeds = FeedTasks { tasks: JoinSet::new(), statuses: Vec::new() };
        for (index, feed) in config.feeds.iter().enumerate() {
            let adapter = adapters.get(&feed.adapter).context("the adapter is not loaded")?.clone();
            let status = Arc::new(FeedStatus::new(&feed.exchange, &feed.data_types, adapter));
            feeds.statuses.push(Arc::clone(&status));
            let context = FeedContext {
                edge: config.name.clone(),
                region: config.region.clone(),
                quarantine: Arc::clone(&self.quarantine),
                sandbox: config.sandbox,
                budgets: self.budgets.clone(),
                queue: Arc::clone(&self.queue),
                auditor: Arc::clone(&self.auditor),
                audit_feed: self.auditor.feed(&feed.exchange),
                wire: config.wire,
                coverage: Arc::clone(&self.coverage),
                metrics: self.metrics.clone(),
                status,
                observer: observer(index),
                stop: self.stop.clone(),
            };
            feeds.tasks.spawn(run_feed(context, feed.clone()));
        }
        Ok(feeds)
    }
}
