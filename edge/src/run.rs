//! The command `run`: starts every part of the edge and stops them in the order of the data: sockets, pipelines, publisher, audits.

mod journaling;
mod settings;
mod tasks;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow};
use async_nats::Client;
use futures_util::FutureExt as _;
use futures_util::future::join;
use marketprism_schema::edge_connection;
use marketprism_service::{
    Exit, Failure, FailureContext as _, ReloadSignal, ServiceState, Signals, clock, tell_service_manager,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::journaling::{
    close_journal, end_journaled_run, open_journal, queue, resume, save_for_next_run, start_journal,
};
use self::settings::LiveSettings;
use self::tasks::{AuditTasks, HeartbeatTask, LeaseTask, SelfCareTask, close_raw, end_feeds, start_swaps};
use crate::audit::{AuditOrigin, Auditor, StopCause};
use crate::broker::{BrokerLink, connect};
use crate::config::{Adapters, Config, Http};
use crate::feed::{EdgeContext, FeedSet};
use crate::http::{Bound, EdgeState, answer_status, bind};
use crate::instance::{InstanceLock, host_name, twin_text};
use crate::limits::{PIPELINES_DRAIN, PUBLISHER_DRAIN, PUBLISHER_END};
use crate::publisher::{DrainResult, Publisher};
use crate::queue::{AbandonedRecords, EventQueue, MemoryQueue};
use crate::reload::{ConfigWatch, ReloadHandle, Reloader};
use crate::selfcare::RestartRequest;
use crate::telemetry::{LossAtStop, Metrics};

pub struct Edge {
    context: Arc<EdgeContext>,
    feeds: JoinHandle<FeedSet>,
    swaps: JoinHandle<()>,
    queue: Arc<MemoryQueue>,
    publisher: JoinHandle<anyhow::Result<DrainResult>>,
    publisher_stop: CancellationToken,
    audits: AuditTasks,
    http: JoinHandle<()>,
    http_stop: CancellationToken,
    selfcare: SelfCareTask,
    heartbeat: HeartbeatTask,
    lease: Option<LeaseTask>,
    signals: Signals,
    _lock: Option<InstanceLock>,
}

impl Edge {
    /// Starts every part. Venues and broker may be unreachable: feeds and publisher keep trying.
    /// `watch`: of the file that `config` was read from. `None`: stopped by a signal before it listened.
    pub async fn start(
        watch: ConfigWatch,
        config: Config,
        adapters: Adapters,
        (mut signals, reload_signal): (Signals, ReloadSignal),
    ) -> Result<Option<Self>, Failure> {
        let lock = lock(&config)?;
        let auditor = Arc::new(auditor(&config));
        let journal = open_journal(&config, &auditor)?;
        let Some(bound) = bind_or_stop(&config.http, &mut signals).await? else { return Ok(None) };
        // Not before the journal is locked: another process of this name would lose what its run left.
        let start = resume(&config, &auditor)?;
        let queue = Arc::new(queue(&config, &auditor, journal.as_ref()));
        start_journal(journal.as_ref(), &queue, start.as_ref())?;
        let context = EdgeContext::new(&config, Arc::clone(&queue) as Arc<dyn EventQueue>, auditor)?;
        let context = Arc::new(EdgeContext { journal, ..context });
        let (client, link) = connect(&config.nats, &edge_connection(&config.name)).await?;
        let (edge, region, nats) = (&config.name, &config.region, config.nats.shown_urls());
        tracing::info!(edge, region, nats, "edge starts");
        let lease = lock.as_ref().map(|lock| LeaseTask::start(&client, &link, lock));
        let audits = AuditTasks::start(&client, &link, &context, start);
        let settings = LiveSettings::new(&config, &queue, context.journal.as_ref());
        let publisher = publisher((&config, &settings), &context, &client, &link);
        let (publisher_stop, http_stop) = (CancellationToken::new(), CancellationToken::new());
        let publisher = tokio::spawn(publisher.run(publisher_stop.clone(), PUBLISHER_DRAIN));
        let feeds = FeedSet::start(&context, &config, &adapters, |_| None)?.with_selftest(&config)?;
        let (reload, requests) = ReloadHandle::new();
        let (reload, access) = (Arc::new(reload), Arc::clone(&settings.access));
        settings.apply(&config);
        let selfcare = SelfCareTask::start(&config, &settings.selfcare, (&context, &client, &link));
        let configured = (&config, settings.adapters.subscribe(), &adapters);
        let (swap_board, swaps) = start_swaps((&client, &link), &context, configured, &feeds.roster());
        let (certificates, apply) = (Arc::clone(&settings.certificates), settings.into_apply());
        let state = Arc::new(EdgeState {
            context: Arc::clone(&context),
            started: Instant::now(),
            started_ns: clock::now_ns(),
            host: host_name(),
            grace: config.http.health_grace,
            feeds: feeds.roster(),
            link,
            access,
            reload: Arc::clone(&reload),
            swaps: swap_board,
            certificates,
        });
        let reloader = Reloader {
            watch,
            config,
            adapters,
            feeds,
            handle: reload,
            requests,
            signal: reload_signal,
            apply,
            metrics: context.metrics.clone(),
            auditor: Arc::clone(&context.auditor),
        };
        let feeds = tokio::spawn(reloader.run(context.stop.clone()));
        let heartbeat = HeartbeatTask::start(&client, &state);
        let answers = answer_status(client, Arc::clone(&state), http_stop.clone());
        let pages = bound.serve(state, http_stop.clone());
        let http = tokio::spawn(join(pages, answers).map(drop));
        Ok(Some(Self {
            context,
            feeds,
            swaps,
            queue,
            publisher,
            publisher_stop,
            audits,
            http,
            http_stop,
            selfcare,
            heartbeat,
            lease,
            signals,
            _lock: lock,
        }))
    }

    /// Another process runs this edge: nothing more is published, neither events nor audits, and what was collected stays in the journal.
    async fn give_way(self) {
        let Self { context, feeds, queue, publisher, audits, http, selfcare, heartbeat, .. } = self;
        heartbeat.stop(false).await;
        publisher.abort();
        audits.abandon().await;
        context.stop.cancel();
        match feeds.await {
            Ok(feeds) => feeds.join().await,
            Err(_panicked) => tracing::warn!("the owner of the feeds panicked"),
        }
        close_raw(&context).await;
        queue.close();
        let AbandonedRecords { lost, kept } = queue.abandon();
        context.metrics.lost_at_stop(LossAtStop::Undelivered, lost);
        close_journal(&context, kept).await;
        http.abort();
        for task in [publisher.await.map(drop), http.await, selfcare.task.await] {
            if task.is_err_and(|error| error.is_panic()) {
                tracing::warn!("a task panicked");
            }
        }
    }

    /// Runs until a signal or a request of self-care, then stops in order. A signal while self-care stops the edge cancels the restart; a
    /// second signal ends the process at once.
    pub async fn run(mut self) -> Result<RunResult, Failure> {
        let mut restart = None;
        tell_service_manager(ServiceState::Ready);
        tokio::select! {
            () = self.signals.next() => {}
            twin = LeaseTask::twin(self.lease.as_mut()) => {
                self.give_way().await;
                return Err(anyhow!(twin_text(&twin))).or_exit(Exit::NOT_STARTED);
            }
            Some(request) = self.selfcare.restarts.recv() => restart = Some(request),
            ended = &mut self.publisher => {
                ended.context("the publisher panicked")??;
                return Err(anyhow!("the publisher ended without a stop").into());
            }
        }
        self.stop(restart).await
    }

    async fn stop(self, mut restart: Option<RestartRequest>) -> Result<RunResult, Failure> {
        tell_of_end(restart.is_some());
        tracing::info!("stopping: sockets, then pipelines, then publisher");
        let Self {
            context,
            feeds,
            swaps,
            queue,
            publisher,
            publisher_stop,
            audits,
            http,
            http_stop,
            selfcare,
            heartbeat,
            lease,
            mut signals,
            _lock,
        } = self;
        if let Some(request) = &restart {
            selfcare.note_restart(&context, request);
        }
        context.stop.cancel();
        let stopping = async {
            if swaps.await.is_err() {
                tracing::warn!("the task of changes of adapters panicked");
            }
            end_feeds(feeds, &context).await?;
            if selfcare.task.await.is_err() {
                tracing::warn!("the task of self-care panicked");
            }
            within_end(&queue, |queue| queue.close()).await;
            publisher_stop.cancel();
            let drained = end_publisher(publisher).await;
            // After the publisher: the audits get an outcome of every record.
            let abandoned = within_end(&queue, |queue| queue.abandon()).await;
            // One for the events of a queue that hangs, which nobody can count.
            let AbandonedRecords { lost, kept } = abandoned.unwrap_or(AbandonedRecords { lost: 1, kept: 0 });
            context.metrics.lost_at_stop(LossAtStop::Undelivered, lost);
            end_journaled_run(&context).await;
            audits.stop().await;
            let is_kept = close_journal(&context, kept).await && lost == 0;
            save_for_next_run(&context, is_kept).await;
            drained
        };
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                drained = &mut stopping => {
                    drained?;
                    break;
                }
                () = signals.next() => {}
            }
            if restart.take().is_some() {
                tell_of_end(false);
                tracing::info!("stopped by a signal: the edge does not start again");
                context.auditor.set_stop_cause(StopCause::default());
                continue;
            }
            let lost = context.queue.status().messages;
            tracing::error!(
                lost,
                "second signal: the process ends at once, queued events and frames are lost"
            );
            Exit::INTERRUPTED.now();
        }
        let left = StopResult::of(&context.metrics);
        log_end(&context, left);
        http_stop.cancel();
        if http.await.is_err() {
            tracing::warn!("the http listeners, or the answers to requests for the status, panicked");
        }
        if let Some(lease) = lease {
            lease.stop(restart.is_some()).await;
        }
        restart = unless_signalled(restart, &mut signals);
        heartbeat.stop(restart.is_none()).await;
        Ok(RunResult { left, restart })
    }
}

/// A manager that hears of a stop would kill the new start that follows. It waits as long for the next sign of life.
fn tell_of_end(is_restart: bool) {
    tell_service_manager(if is_restart { ServiceState::Alive } else { ServiceState::Stopping });
}

/// A signal that came meanwhile would be lost with this process's image.
fn unless_signalled(restart: Option<RestartRequest>, signals: &mut Signals) -> Option<RestartRequest> {
    let restart = restart?;
    if signals.next().now_or_never().is_none() {
        return Some(restart);
    }
    tell_of_end(false);
    None
}

/// Before anything of the last run is changed: a run that never began leaves nothing. `None`: stopped by a signal.
async fn bind_or_stop(http: &Http, signals: &mut Signals) -> anyhow::Result<Option<Bound>> {
    tokio::select! {
        bound = bind(http) => bound.map(Some),
        () = signals.next() => {
            tracing::info!("stopped by a signal while it waited for a listen address");
            Ok(None)
        }
    }
}

#[derive(Debug)]
pub struct RunResult {
    pub left: StopResult,
    /// The process has to start again.
    pub restart: Option<RestartRequest>,
}

/// Left behind by the stop, and lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopResult {
    /// Frames that were read and not processed.
    pub unprocessed: u64,
    /// Events without an acknowledgement.
    pub undelivered: u64,
}

impl StopResult {
    fn of(metrics: &Metrics) -> Self {
        Self {
            unprocessed: metrics.left_at_stop(LossAtStop::Unprocessed),
            undelivered: metrics.left_at_stop(LossAtStop::Undelivered),
        }
    }

    pub const fn is_complete(self) -> bool {
        self.unprocessed == 0 && self.undelivered == 0
    }
}

fn publisher(
    (config, settings): (&Config, &LiveSettings),
    context: &EdgeContext,
    client: &Client,
    link: &Arc<BrokerLink>,
) -> Publisher {
    Publisher::new(
        client.clone(),
        Arc::clone(link),
        Arc::clone(&context.queue),
        Arc::clone(&context.coverage),
        Arc::clone(&context.auditor),
        context.metrics.clone(),
        config.publisher,
    )
    .with_limits(settings.publisher.subscribe())
    .with_mirror(settings.mirror.subscribe())
}

/// Waits for the publisher. One that hangs is left: the journal has its events.
async fn end_publisher(mut publisher: JoinHandle<anyhow::Result<DrainResult>>) -> anyhow::Result<()> {
    match timeout(PUBLISHER_END, &mut publisher).await {
        Ok(ended) => ended.context("the publisher panicked")?.map(drop),
        Err(_elapsed) => {
            publisher.abort();
            tracing::error!(limit = ?PUBLISHER_END, "the publisher hangs: the stop goes on without it");
            Ok(())
        }
    }
}

/// `None`: the queue hangs.
async fn within_end<T: Send + 'static>(
    queue: &Arc<MemoryQueue>,
    work: impl FnOnce(&MemoryQueue) -> T + Send + 'static,
) -> Option<T> {
    let queue = Arc::clone(queue);
    let done = timeout(PUBLISHER_END, tokio::task::spawn_blocking(move || work(&queue))).await;
    if !matches!(done, Ok(Ok(_))) {
        tracing::error!(limit = ?PUBLISHER_END, "the event queue hangs: the stop goes on without it");
    }
    done.ok()?.ok()
}

/// Before all that writes into the folders of this edge.
fn lock(config: &Config) -> Result<Option<InstanceLock>, Failure> {
    (!config.allow_multiple).then(|| InstanceLock::take(&config.data_dir, &config.name)).transpose()
}

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

fn log_end(context: &EdgeContext, left: StopResult) {
    let queue = context.queue.status();
    let (delivered, dropped) = (queue.confirmed, queue.dropped.values().sum::<u64>());
    let StopResult { unprocessed, undelivered } = left;
    if !left.is_complete() {
        let (drain, limit) = (PIPELINES_DRAIN, PUBLISHER_DRAIN);
        tracing::error!(
            unprocessed,
            undelivered,
            dropped,
            delivered,
            ?drain,
            ?limit,
            "stopped, frames not processed and events not delivered in time are lost"
        );
    } else if dropped > 0 {
        tracing::error!(dropped, delivered, "stopped, events were lost to the full queue before");
    } else {
        tracing::info!(delivered, "stopped, no event was lost");
    }
}
