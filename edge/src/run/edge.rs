//! The running edge: every part started, and stopped in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::Client;
use marketprism_adapter_host::Quarantine;
use marketprism_service::{Exit, Signals};
use marketprism_socket::Budgets;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::audit::{AuditOrigin, Auditor};
use crate::broker::{BrokerLink, answer_requests, connect};
use crate::clock;
use crate::config::{Adapters, Config};
use crate::feed::{FeedContext, FeedStatus, FrameObserver, run_feed};
use crate::http;
use crate::http::EdgeState;
use crate::limits::{HEALTH_GRACE, PUBLISHER_DRAIN};
use crate::publisher::{AuditSender, DrainResult, Publisher};
use crate::queue::{EventQueue, MemoryQueue, QueueLimits};
use crate::telemetry::{Coverage, Metrics};

/// Name of the folder of quarantined frames inside the data folder.
const QUARANTINE: &str = "quarantine";
/// Most bytes of quarantined frames. Full: the oldest are deleted, and counted.
const QUARANTINE_BYTES: u64 = 256 << 20;
/// Overrides [`HEALTH_GRACE`], in seconds.
const GRACE_VARIABLE: &str = "HEALTH_GRACE_SECONDS";

/// The parts that feeds share.
pub(crate) struct Shared {
    pub(crate) budgets: Budgets,
    pub(crate) journal: Arc<dyn EventQueue>,
    pub(crate) coverage: Arc<Coverage>,
    pub(crate) auditor: Arc<Auditor>,
    pub(crate) metrics: Metrics,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) stop: CancellationToken,
}

/// The feeds under way.
pub(crate) struct Feeds {
    pub(crate) tasks: JoinSet<()>,
    pub(crate) statuses: Vec<Arc<FeedStatus>>,
}

impl Shared {
    pub(crate) fn new(
        config: &Config,
        journal: Arc<dyn EventQueue>,
        auditor: Arc<Auditor>,
    ) -> anyhow::Result<Self> {
        // The TLS libraries in use share one provider; another choice made before stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = config.data_dir.join(QUARANTINE);
        let quarantine = Quarantine::open(&dir, config.sandbox.quarantine_files, QUARANTINE_BYTES)?;
        Ok(Self {
            budgets: Budgets::new(),
            journal,
            coverage: Arc::new(Coverage::default()),
            auditor,
            metrics: Metrics::new()?,
            quarantine: Arc::new(quarantine),
            stop: CancellationToken::new(),
        })
    }

    /// Starts every feed. `tap` gives the one that looks on, by the feed's position.
    pub(crate) fn start_feeds(
        &self,
        config: &Config,
        adapters: &Adapters,
        tap: impl Fn(usize) -> Option<Arc<dyn FrameObserver>>,
    ) -> anyhow::Result<Feeds> {
        let mut feeds = Feeds { tasks: JoinSet::new(), statuses: Vec::new() };
        for (index, feed) in config.feeds.iter().enumerate() {
            let adapter = adapters.get(&feed.adapter).context("an adapter that was checked is gone")?.clone();
            let status = Arc::new(FeedStatus::new(&feed.exchange, &feed.data_types, adapter));
            feeds.statuses.push(Arc::clone(&status));
            let context = FeedContext {
                edge: config.name.clone(),
                region: config.region.clone(),
                quarantine: Arc::clone(&self.quarantine),
                sandbox: config.sandbox,
                budgets: self.budgets.clone(),
                journal: Arc::clone(&self.journal),
                auditor: Arc::clone(&self.auditor),
                audited: self.auditor.feed(&feed.exchange),
                wire: config.wire,
                coverage: Arc::clone(&self.coverage),
                metrics: self.metrics.clone(),
                status,
                tap: tap(index),
                stop: self.stop.clone(),
            };
            feeds.tasks.spawn(run_feed(context, feed.clone()));
        }
        Ok(feeds)
    }
}

/// An edge whose parts all run.
pub struct Edge {
    shared: Shared,
    feeds: Feeds,
    journal: Arc<MemoryQueue>,
    publisher: JoinHandle<anyhow::Result<DrainResult>>,
    publisher_stop: CancellationToken,
    reports: Reports,
    http: JoinHandle<()>,
    http_stop: CancellationToken,
    signals: Signals,
}

impl Edge {
    /// Starts every part. The network may be away: feeds and publisher keep trying.
    pub async fn start(config: Config, adapters: &Adapters) -> anyhow::Result<Self> {
        let signals = Signals::new().context("signals cannot be received")?;
        let auditor = Arc::new(auditor(&config));
        let bounds = QueueLimits {
            messages: u64::try_from(config.publisher.queue_messages)?,
            bytes: u64::try_from(config.publisher.queue_bytes)?,
        };
        let journal = Arc::new(MemoryQueue::new(bounds, Arc::clone(&auditor)));
        let shared = Shared::new(&config, Arc::clone(&journal) as Arc<dyn EventQueue>, auditor)?;
        let bound = http::bind(config.http.listen, config.http.metrics_listen).await?;
        let (client, link) = connect(&config.nats, &format!("marketprism-edge-{}", config.name)).await?;
        tracing::info!(
            edge = config.name,
            region = config.region,
            nats = config.nats.shown_urls(),
            "the edge starts"
        );
        let reports = Reports::start(&client, &link, &shared, &config.name);
        let publisher = Publisher::new(
            client,
            Arc::clone(&link),
            Arc::clone(&shared.journal),
            Arc::clone(&shared.coverage),
            Arc::clone(&shared.auditor),
            shared.metrics.clone(),
            config.publisher,
        );
        let (publisher_stop, http_stop) = (CancellationToken::new(), CancellationToken::new());
        let publisher = tokio::spawn(publisher.run(publisher_stop.clone(), PUBLISHER_DRAIN));
        let feeds = shared.start_feeds(&config, adapters, |_| None)?;
        let state = Arc::new(EdgeState {
            edge: config.name,
            region: config.region,
            started: Instant::now(),
            grace: grace()?,
            feeds: feeds.statuses.clone(),
            coverage: Arc::clone(&shared.coverage),
            journal: Arc::clone(&shared.journal),
            auditor: Arc::clone(&shared.auditor),
            link,
            metrics: shared.metrics.clone(),
        });
        let http = tokio::spawn(bound.serve(state, http_stop.clone()));
        Ok(Self { shared, feeds, journal, publisher, publisher_stop, reports, http, http_stop, signals })
    }

    /// Collects until a signal, then stops sockets, pipelines and publisher in this order. A second signal ends the process at once.
    pub async fn run(mut self) -> anyhow::Result<DrainResult> {
        let ended = tokio::select! {
            () = self.signals.next() => None,
            ended = &mut self.publisher => Some(ended),
        };
        if let Some(ended) = ended {
            let trouble = ended.context("the publisher panicked")?;
            return trouble.and_then(|_| anyhow::bail!("the publisher ended by itself"));
        }
        tracing::info!("stopping: sockets first, then what is queued");
        let Self {
            shared,
            mut feeds,
            journal,
            publisher,
            publisher_stop,
            reports,
            http,
            http_stop,
            mut signals,
        } = self;
        shared.stop.cancel();
        let stopping = async {
            while feeds.tasks.join_next().await.is_some() {}
            journal.close();
            publisher_stop.cancel();
            let drained = publisher.await.context("the publisher panicked")?;
            // Last of all: everything that will ever be known of this run's windows is known now.
            reports.stop().await;
            drained
        };
        let drained = tokio::select! {
            drained = stopping => drained?,
            () = signals.next() => {
                tracing::error!(lost = shared.journal.status().messages, "a second signal: ending at once");
                Exit::INTERRUPTED.now();
            }
        };
        report(&shared, drained);
        http_stop.cancel();
        if http.await.is_err() {
            tracing::warn!("the http listeners panicked");
        }
        Ok(drained)
    }
}

/// The tallies of this run, from now on.
fn auditor(config: &Config) -> Auditor {
    if !config.audit.enabled {
        return Auditor::off();
    }
    Auditor::new(AuditOrigin {
        edge: config.name.clone(),
        region: config.region.clone(),
        run_ns: clock::now_ns(),
        window_seconds: config.audit.window_seconds,
        settle: config.audit.settle,
    })
}

/// What speaks of the data instead of carrying it: audits, and answers to requests to send again.
struct Reports {
    audits: JoinHandle<u64>,
    repair: JoinHandle<()>,
    stop: CancellationToken,
}

impl Reports {
    fn start(client: &Client, link: &Arc<BrokerLink>, shared: &Shared, edge: &str) -> Self {
        let stop = CancellationToken::new();
        let sender = AuditSender::new(
            client.clone(),
            Arc::clone(link),
            Arc::clone(&shared.journal),
            Arc::clone(&shared.auditor),
            shared.metrics.clone(),
            edge,
        );
        let answers = answer_requests(client.clone(), edge.to_owned(), stop.clone());
        let repair = async move {
            if let Err(error) = answers.await {
                tracing::error!(error = format!("{error:#}"), "repair requests are not answered any more");
            }
        };
        Self { audits: tokio::spawn(sender.run(stop.clone())), repair: tokio::spawn(repair), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        if self.audits.await.is_err() {
            tracing::error!("the audits panicked: the last windows cannot be verified");
        }
        if self.repair.await.is_err() {
            tracing::warn!("the answers to repair requests panicked");
        }
    }
}

/// Says what the end left.
fn report(shared: &Shared, drained: DrainResult) {
    let status = shared.journal.status();
    if drained.undelivered == 0 {
        tracing::info!(delivered = status.confirmed, "stopped, every event is delivered");
        return;
    }
    let lost = shared.metrics.lost.with_label_values(&["any", "shutdown"]);
    lost.inc_by(drained.undelivered);
    let (lost, delivered) = (drained.undelivered, status.confirmed);
    tracing::error!(lost, delivered, "stopped, the time to deliver is over: events are lost");
}

fn grace() -> anyhow::Result<Duration> {
    match std::env::var(GRACE_VARIABLE) {
        Err(_) => Ok(HEALTH_GRACE),
        Ok(text) => {
            let seconds = text.trim().parse();
            let seconds =
                seconds.with_context(|| format!("{GRACE_VARIABLE}: {text:?} is no number of seconds"))?;
            Ok(Duration::from_secs(seconds))
        }
    }
}
