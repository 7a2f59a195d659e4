//! The owner of one feed: starts it, tries again, and takes it down in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use marketprism_adapter_host::Quarantine;
use marketprism_schema::WireForm;
use marketprism_service::Backoff;
use marketprism_socket::{Budgets, FeedSockets};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::observer::FrameObserver;
use super::pipeline::{Pipeline, PipelineParts};
use super::startup;
use super::startup::StartedFeed;
use super::status::{FeedPhase, FeedStatus};
use crate::audit::Auditor;
use crate::config::{FeedConfig, Sandbox};
use crate::limits::{PIPELINES_DRAIN, SOCKETS_STOP, START_BACKOFF};
use crate::queue::EventQueue;
use crate::telemetry::{Coverage, Metrics};

/// What a feed needs of its edge.
#[derive(Clone)]
pub struct FeedContext {
    /// Name of the edge.
    pub edge: String,
    /// Region of the edge.
    pub region: String,
    /// Keeps the frames that made an adapter fault.
    pub quarantine: Arc<Quarantine>,
    /// Bounds of the adapter.
    pub sandbox: Sandbox,
    /// Rate limits, shared by all feeds.
    pub budgets: Budgets,
    /// Takes the records.
    pub journal: Arc<dyn EventQueue>,
    /// Tallies what becomes of the records.
    pub auditor: Arc<Auditor>,
    /// Number of this feed there.
    pub audited: usize,
    /// How each data type is encoded, in the order of `DataType::ALL`.
    pub wire: [WireForm; 8],
    /// What is confirmed.
    pub coverage: Arc<Coverage>,
    /// Every metric.
    pub metrics: Metrics,
    /// What the feed tells about itself.
    pub status: Arc<FeedStatus>,
    /// Looks on, when recording.
    pub tap: Option<Arc<dyn FrameObserver>>,
    /// Stop collecting.
    pub stop: CancellationToken,
}

/// Keeps one feed going until it is told to stop.
pub async fn run_feed(context: FeedContext, config: FeedConfig) {
    let mut backoff = Backoff::new(START_BACKOFF.0, START_BACKOFF.1);
    while !context.stop.is_cancelled() {
        let started = tokio::select! {
            started = startup::start(&context, &config) => started,
            () = context.stop.cancelled() => break,
        };
        let trouble = match started {
            Ok(feed) => {
                backoff.reset();
                match collect(&context, feed).await {
                    Ok(()) => break,
                    Err(error) => format!("{error:#}"),
                }
            }
            Err(error) => format!("{error:#}"),
        };
        tracing::error!(exchange = config.exchange, trouble, "the feed does not run, trying again");
        let labels = [config.exchange.as_str(), "any", "feed_start"];
        context.metrics.collector_errors.with_label_values(&labels).inc();
        context.auditor.feed_ended(context.audited, Some(&trouble));
        context.status.set_phase(FeedPhase::Starting(trouble));
        tokio::select! {
            () = sleep(backoff.pause()) => {}
            () = context.stop.cancelled() => break,
        }
    }
    context.auditor.feed_ended(context.audited, None);
    context.status.set_phase(FeedPhase::Stopped);
}

/// Runs the pipeline until the feed is stopped. An end that nobody asked for is an error.
async fn collect(context: &FeedContext, feed: StartedFeed) -> anyhow::Result<()> {
    let stats = Arc::clone(feed.adapter.stats());
    let names = startup::instrument_names(&feed.instruments);
    let plan = feed.adapter.plan().clone();
    let abort = CancellationToken::new();
    let pipeline = Pipeline::new(PipelineParts {
        inputs: feed.inputs,
        adapter: feed.adapter,
        router: feed.router,
        sources: feed.sources,
        sockets: Arc::downgrade(&feed.sockets),
        journal: Arc::clone(&context.journal),
        status: Arc::clone(&context.status),
        metrics: context.metrics.clone(),
        watch: feed.watch,
        tap: context.tap.clone(),
        abort: abort.clone(),
    });
    context.status.set_running(names, feed.sockets, stats, &plan);
    let (ended, mut end) = oneshot::channel::<()>();
    let runtime = Handle::current();
    let thread = std::thread::Builder::new()
        .name(format!("feed-{}", context.status.exchange))
        .spawn(move || {
            pipeline.run(&runtime);
            // The receiver may be gone; it needs the end of the thread only.
            drop(ended);
        })
        .context("the pipeline's thread cannot start")?;
    let was_stopped = tokio::select! {
        _ = &mut end => false,
        () = context.stop.cancelled() => true,
    };
    stop_sockets(context).await;
    if was_stopped && timeout(PIPELINES_DRAIN, &mut end).await.is_err() {
        tracing::warn!(exchange = context.status.exchange, "the pipeline did not drain in time");
        abort.cancel();
        let _ = timeout(PIPELINES_DRAIN, &mut end).await;
    }
    if thread.is_finished() || was_stopped {
        let joined = tokio::task::block_in_place(|| thread.join());
        anyhow::ensure!(joined.is_ok(), "the pipeline panicked");
    }
    anyhow::ensure!(was_stopped, "the pipeline ended by itself");
    Ok(())
}

/// Others may look at the sockets for a moment; nobody keeps them.
async fn stop_sockets(context: &FeedContext) {
    let Some(mut sockets) = context.status.take_sockets() else { return };
    loop {
        match Arc::<FeedSockets>::try_unwrap(sockets) {
            Ok(owned) => return owned.stop(SOCKETS_STOP).await,
            Err(shared) => {
                sockets = shared;
                sleep(Duration::from_millis(2)).await;
            }
        }
    }
}
