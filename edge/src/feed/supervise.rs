//! The owner of one feed: starts it, restarts it after errors, stops it in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use marketprism_service::Backoff;
use marketprism_socket::FeedSockets;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::context::FeedContext;
use super::pipeline::{Pipeline, PipelineParts};
use super::startup::{self, StartedFeed};
use super::status::FeedPhase;
use crate::config::FeedConfig;
use crate::limits::{PIPELINES_DRAIN, SOCKETS_STOP, START_BACKOFF};

/// Runs one feed until the edge stops its feeds.
pub async fn run_feed(context: FeedContext, config: FeedConfig) {
    let mut backoff = Backoff::new(START_BACKOFF.0, START_BACKOFF.1);
    while !context.edge.stop.is_cancelled() {
        let started = tokio::select! {
            started = startup::start(&context, &config) => started,
            () = context.edge.stop.cancelled() => break,
        };
        let ended = match started {
            Ok(feed) => {
                backoff.reset();
                collect(&context, feed).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { break };
        let error = format!("{error:#}");
        tracing::error!(exchange = config.exchange, error, "the feed failed, starting it again");
        let labels = [config.exchange.as_str(), "any", "feed_start"];
        context.edge.metrics.collector_errors.with_label_values(&labels).inc();
        context.edge.auditor.feed_ended(context.audit_feed, Some(&error));
        context.status.set_phase(FeedPhase::Starting(error));
        tokio::select! {
            () = sleep(backoff.pause()) => {}
            () = context.edge.stop.cancelled() => break,
        }
    }
    context.edge.auditor.feed_ended(context.audit_feed, None);
    context.status.set_phase(FeedPhase::Stopped);
}

/// Runs the pipeline until the feed is stopped; any other end is an error.
async fn collect(context: &FeedContext, feed: StartedFeed) -> anyhow::Result<()> {
    let sockets = Arc::downgrade(&feed.sockets);
    let (stats, adapter) = (Arc::clone(feed.adapter.stats()), &feed.adapter);
    context.status.set_running(adapter.instruments(), feed.sockets, stats, adapter.plan());
    let abort = CancellationToken::new();
    let pipeline = Pipeline::new(PipelineParts {
        inputs: feed.inputs,
        adapter: feed.adapter,
        builder: feed.builder,
        sources: feed.sources,
        sockets,
        queue: Arc::clone(&context.edge.queue),
        status: Arc::clone(&context.status),
        metrics: context.edge.metrics.clone(),
        gaps: feed.gaps,
        observer: context.observer.clone(),
        abort: abort.clone(),
    });
    let (ended, mut end) = oneshot::channel::<()>();
    let runtime = Handle::current();
    let thread = std::thread::Builder::new()
        .name(format!("feed-{}", context.status.exchange))
        .spawn(move || {
            pipeline.run(&runtime);
            // Wakes the receiver, if it is still there.
            drop(ended);
        })
        .context("the pipeline's thread cannot start")?;
    let was_stopped = tokio::select! {
        _ = &mut end => false,
        () = context.edge.stop.cancelled() => true,
    };
    stop_sockets(context).await;
    if was_stopped && timeout(PIPELINES_DRAIN, &mut end).await.is_err() {
        let (exchange, limit) = (&context.status.exchange, PIPELINES_DRAIN);
        tracing::warn!(exchange, ?limit, "the pipeline did not drain in time, frames may be lost");
        abort.cancel();
        let _ = timeout(PIPELINES_DRAIN, &mut end).await;
    }
    if thread.is_finished() || was_stopped {
        let joined = tokio::task::block_in_place(|| thread.join());
        ensure!(joined.is_ok(), "the pipeline panicked");
    }
    ensure!(was_stopped, "the pipeline ended without a stop");
    Ok(())
}

/// Waits until no HTTP page reads the sockets, then stops them.
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
