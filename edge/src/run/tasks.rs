//! Tasks of the command `run` outside the data path.

use std::sync::Arc;

use anyhow::Context;
use async_nats::Client;
use marketprism_schema::{DataType, DowntimeReason, EdgeLease};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::audit::{JournaledRun, RunJournal, StopCause};
use crate::broker::BrokerLink;
use crate::clocks::watch_steps;
use crate::config::{Adapters, Config, SelfCareLimits, SwapSettings};
use crate::feed::{EdgeContext, FeedRoster, FeedSet};
use crate::gaps::DeliveryState;
use crate::http::EdgeState;
use crate::instance::{HeartbeatWriter, InstanceLock, LeaseTimes, NameLease};
use crate::journal::{answer_requests, follow_confirmations};
use crate::limits::JOURNAL_CLOSE;
use crate::publisher::AuditSender;
use crate::selfcare::{RestartLog, RestartRequest, SelfCare};
use crate::swap::{AdapterSwaps, SwapExecutor, WishFollower};

/// Works changes of adapters off, and follows the versions that central wants.
pub(super) fn start_swaps(
    (client, link): (&Client, &Arc<BrokerLink>),
    context: &Arc<EdgeContext>,
    (config, settings, adapters): (&Config, watch::Receiver<SwapSettings>, &Adapters),
    roster: &Arc<FeedRoster>,
) -> (Arc<AdapterSwaps>, JoinHandle<()>) {
    let executor = SwapExecutor::new(context, (config, settings), adapters, roster);
    let swaps = executor.swaps();
    let broker = (client.clone(), Arc::clone(link));
    let follower = WishFollower::new(broker, context, Arc::clone(roster), Arc::clone(&swaps));
    let task = tokio::spawn(async {
        tokio::join!(executor.run(), follower.run());
    });
    (swaps, task)
}

/// Holds the edge's name at the broker.
pub(super) struct LeaseTask {
    pub(super) task: JoinHandle<Option<EdgeLease>>,
    client: Client,
    link: Arc<BrokerLink>,
    own: EdgeLease,
    stop: CancellationToken,
}

impl LeaseTask {
    pub(super) fn start(client: &Client, link: &Arc<BrokerLink>, lock: &InstanceLock) -> Self {
        let (stop, own) = (CancellationToken::new(), &lock.lease);
        let lease = NameLease::new(client.clone(), Arc::clone(link), own.clone(), LeaseTimes::default());
        let lease = lease.remembered_in(&lock.sequence);
        let task = tokio::spawn(lease.hold(stop.clone()));
        Self { task, client: client.clone(), link: Arc::clone(link), own: own.clone(), stop }
    }

    /// Returns when another process holds the name.
    pub(super) async fn twin(lease: Option<&mut Self>) -> EdgeLease {
        if let Some(lease) = lease
            && let Ok(Some(twin)) = (&mut lease.task).await
        {
            return twin;
        }
        std::future::pending().await
    }

    /// The next start in this place takes over what is kept.
    pub(super) async fn stop(self, is_kept: bool) {
        self.stop.cancel();
        if self.task.await.is_err() {
            tracing::warn!("the task that holds the edge's name panicked");
        }
        if !is_kept {
            NameLease::release(&self.client, &self.link, &self.own).await;
        }
    }
}

/// Tells central that the edge lives, and how.
pub(super) struct HeartbeatTask {
    task: JoinHandle<HeartbeatWriter>,
    stop: CancellationToken,
}

impl HeartbeatTask {
    pub(super) fn start(client: &Client, state: &Arc<EdgeState>) -> Self {
        let stop = CancellationToken::new();
        let (writer, stopped) = (HeartbeatWriter::new(client.clone(), Arc::clone(state)), stop.clone());
        let task = tokio::spawn(async move {
            writer.run(&stopped).await;
            writer
        });
        Self { task, stop }
    }

    /// `is_last`: no start in this place follows.
    pub(super) async fn stop(self, is_last: bool) {
        self.stop.cancel();
        match self.task.await {
            Ok(writer) if is_last => writer.write_last().await,
            Ok(_) => {}
            Err(_panicked) => tracing::warn!("the task of the heartbeat panicked"),
        }
    }
}

pub(super) struct SelfCareTask {
    pub(super) task: JoinHandle<()>,
    pub(super) restarts: mpsc::Receiver<RestartRequest>,
    log: RestartLog,
}

impl SelfCareTask {
    pub(super) fn start(
        config: &Config,
        limits: &watch::Sender<SelfCareLimits>,
        (context, client, link): (&Arc<EdgeContext>, &Client, &Arc<BrokerLink>),
    ) -> Self {
        let log = RestartLog::new(&config.data_dir, &config.name);
        log.show(&context.metrics);
        let (requests, restarts) = mpsc::channel(1);
        let (client, link) = (client.clone(), Arc::clone(link));
        let care = SelfCare { limits: limits.subscribe(), context: Arc::clone(context), client, link };
        Self { task: tokio::spawn(care.run(requests, context.stop.clone())), restarts, log }
    }

    pub(super) fn note_restart(
        &self,
        context: &EdgeContext,
        RestartRequest { cause, detail }: &RestartRequest,
    ) {
        let detail = Some(detail.clone());
        context.auditor.set_stop_cause(StopCause { reason: DowntimeReason::SelfCare, detail });
        context.metrics.selfcare_restarts.with_label_values(&[cause.as_str()]).inc();
        if let Err(error) = self.log.add(*cause) {
            tracing::warn!(%error, "number of restarts not written: the next run counts without this one");
        }
    }
}

pub(super) struct JournaledStart {
    pub(super) journal: RunJournal,
    pub(super) run: JournaledRun,
}

/// The tasks that report about the data: audits, answers to repair requests, confirmed sequences, steps of the clock.
pub(super) struct AuditTasks {
    audits: JoinHandle<u64>,
    repair: JoinHandle<()>,
    confirmations: Option<JoinHandle<()>>,
    positions: JoinHandle<()>,
    clock_steps: JoinHandle<()>,
    stop: CancellationToken,
}

impl AuditTasks {
    pub(super) fn start(
        client: &Client,
        link: &Arc<BrokerLink>,
        context: &EdgeContext,
        start: Option<JournaledStart>,
    ) -> Self {
        let stop = CancellationToken::new();
        let mut sender = AuditSender::new(
            client.clone(),
            Arc::clone(link),
            Arc::clone(&context.queue),
            Arc::clone(&context.auditor),
            context.metrics.clone(),
            &context.name,
        );
        if let Some(JournaledStart { journal, run }) = start {
            sender = sender.with_runs(journal, run);
        }
        sender = sender.with_journal(context.journal.clone()).with_clocks(Arc::clone(&context.clocks));
        let answers =
            answer_requests(client.clone(), context.name.clone(), context.journal.clone(), stop.clone());
        let repair = async move {
            if let Err(error) = answers.await {
                tracing::error!(error = format!("{error:#}"), "repair requests are no longer answered");
            }
        };
        let confirmations = context.journal.clone().map(|journal| {
            tokio::spawn(follow_confirmations(client.clone(), Arc::clone(link), journal, stop.clone()))
        });
        Self {
            audits: tokio::spawn(sender.run(stop.clone())),
            repair: tokio::spawn(repair),
            confirmations,
            positions: tokio::spawn(Arc::clone(&context.positions).keep(delivery(context), stop.clone())),
            clock_steps: tokio::spawn(watch_steps(Arc::clone(&context.clocks), stop.clone())),
            stop,
        }
    }

    pub(super) async fn abandon(self) {
        let repair = [self.repair, self.positions, self.clock_steps].into_iter().chain(self.confirmations);
        self.audits.abort();
        // Their end was asked for.
        let _ = self.audits.await;
        for task in repair {
            task.abort();
            let _ = task.await;
        }
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        if self.audits.await.is_err() {
            tracing::error!("the audit task panicked: the last windows cannot be verified");
        }
        end(self.repair, "answers to repair requests").await;
        if let Some(confirmations) = self.confirmations {
            end(confirmations, "confirmed sequences").await;
        }
        end(self.positions, "trade positions").await;
        end(self.clock_steps, "steps of the clock").await;
    }
}

pub(super) async fn end_feeds(feeds: JoinHandle<FeedSet>, context: &Arc<EdgeContext>) -> anyhow::Result<()> {
    feeds.await.context("the owner of the feeds panicked")?.join().await;
    close_raw(context).await;
    Ok(())
}

/// After the pipelines: no frame comes any more.
pub(super) async fn close_raw(context: &Arc<EdgeContext>) {
    let closing = Arc::clone(context);
    let open = tokio::task::spawn_blocking(move || closing.raw.close(JOURNAL_CLOSE)).await;
    for exchange in open.unwrap_or_default() {
        tracing::warn!(exchange, limit = ?JOURNAL_CLOSE, "raw frames not closed: their disk does not answer");
    }
}

/// Waits for a task that was stopped. One that waits for its disk is left.
async fn end(mut task: JoinHandle<()>, name: &str) {
    match timeout(JOURNAL_CLOSE, &mut task).await {
        Ok(Ok(())) => {}
        Ok(Err(_panicked)) => tracing::warn!(name, "a task panicked"),
        Err(_elapsed) => {
            task.abort();
            tracing::warn!(name, limit = ?JOURNAL_CLOSE, "a task waits for its disk: the stop goes on without it");
        }
    }
}

fn delivery(context: &EdgeContext) -> impl Fn() -> DeliveryState + Send + use<> {
    let (queue, journal) = (Arc::clone(&context.queue), context.journal.clone());
    move || {
        // First: an event that the journal did not take later is pending.
        let oldest_pending_ns = queue.oldest_pending_ns();
        let status = journal.as_ref().map(|journal| journal.status());
        let working = status.filter(|status| status.failing.is_none());
        let journal_errors = working.map(|status| status.write_errors + status.unjournaled[DataType::Trade]);
        DeliveryState { oldest_pending_ns, journal_errors }
    }
}
