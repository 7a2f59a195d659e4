//! All network I/O of one feed, and the commands for it.

use std::sync::Arc;
use std::time::Duration;

use marketprism_adapter_host::contract::{Budget, Plan, Request, ResyncAction};
use marketprism_adapter_host::{
    InstrumentIndex, ResyncIndex, SourceIndex, StreamIndex, plan_problems, request_problems,
};
use marketprism_service::jitter;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budgets::Budgets;
use crate::connection::{ConnectionCommand, ConnectionSupervisor, OutgoingText, opening_time};
use crate::context::{BehindWatch, FeedContext, ReferenceGate, ReferencePending};
use crate::counters::{Counters, SocketCounter, SocketCounters};
use crate::dial::Dialer;
use crate::error::{CommandError, SocketError};
use crate::inputs::{InputRoom, InputSender};
use crate::limits::{CONNECTION_COMMANDS_MAX, LARGE_MESSAGES_AT_ONCE};
use crate::options::SocketOptions;
use crate::poll::{PageQueue, PollTask};
use crate::renewals::Renewals;
use crate::request_runner::{BackfillRequest, RequestRunner, ResyncRequest};
use crate::rest::RestClient;
use crate::status::{ConnectionState, ConnectionStatus};
use crate::venue_clock::run_venue_clock;
use crate::{request_runner, tls};

/// Dropping it stops the tasks without waiting for them.
#[derive(Debug)]
pub struct FeedSockets {
    connections: Vec<ConnectionHandle>,
    polls: Vec<PageQueue>,
    resyncs: Vec<ResyncHandle>,
    resync_requests: mpsc::Sender<ResyncRequest>,
    backfills: mpsc::Sender<BackfillRequest>,
    plan_budgets: Vec<Budget>,
    opening: Duration,
    settle: Duration,
    counters: Arc<Counters>,
    inputs: InputRoom,
    behind: Arc<BehindWatch>,
    stop: CancellationToken,
    /// Cancelled after the deadline of a stop.
    abort: CancellationToken,
    tasks: TaskTracker,
    owner: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct ConnectionHandle {
    state: Arc<ConnectionState>,
    commands: mpsc::Sender<ConnectionCommand>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct ResyncHandle {
    source: SourceIndex,
    action: ResyncAction,
    in_progress: Arc<Semaphore>,
}

impl FeedSockets {
    /// Everything read goes to `inputs`; while it is full, nothing is read.
    pub fn start(
        plan: &Plan,
        options: SocketOptions,
        budgets: Budgets,
        inputs: InputSender,
    ) -> Result<Self, SocketError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| SocketError::NoRuntime)?;
        let problems = plan_problems(plan);
        if !problems.is_empty() {
            return Err(SocketError::Plan(problems));
        }
        let options = Arc::new(options);
        let dialer = Arc::new(Dialer::new(&options, Arc::new(tls::client_config(&options.ca_files)?)));
        let counters = Arc::new(Counters::default());
        // Answers come to the pipeline as frames.
        let (shared, counted) = (Arc::clone(&options), Arc::clone(&counters));
        let client = RestClient::new(Arc::clone(&dialer), shared, counted, options.max_frame_bytes);
        for budget in &plan.budgets {
            budgets.define(&budget.name, budget.units, Duration::from_millis(u64::from(budget.window_ms)));
        }
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let at_once = options.requests_at_once.max(1);
        let (references, pending) = ReferenceGate::new(options.reference_wait, Arc::clone(&counters));
        let renewed = plan.connections.iter().filter(|connection| connection.max_age_ms > 0).count();
        let (gauge, behind) = (inputs.gauge(), Arc::new(BehindWatch::default()));
        let feed = FeedContext {
            options,
            dialer,
            budgets,
            inputs,
            behind: Arc::clone(&behind),
            large_messages: Arc::new(Semaphore::new(LARGE_MESSAGES_AT_ONCE)),
            counters: Arc::clone(&counters),
            references,
            renewals: Renewals::new(renewed),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        let feed = Arc::new(feed);
        let _entered = runtime.enter();
        let mut set = JoinSet::new();
        let settle = feed.options.overlap_settle;
        let (connections, opening) = start_connections(plan, &feed, &mut set);
        // Separate slots: resyncs waiting for a budget must not delay polls.
        let requester =
            |client| RequestRunner { feed: Arc::clone(&feed), client, at_once: Semaphore::new(at_once) };
        let polls = start_polls(plan, &Arc::new(requester(client.clone())), &pending, &mut set);
        drop(pending);
        let (resyncs, resync_requests) = start_resyncs(plan, &Arc::new(requester(client.clone())), &mut set);
        let (backfills, asked) = mpsc::channel(1);
        if let (Some(clock), Some(options)) = (&plan.clock, &feed.options.clock) {
            let measuring = run_venue_clock(requester(client.clone()), clock.clone(), options.clone());
            set.spawn(feed.tasks.track_future(measuring));
        }
        set.spawn(feed.tasks.track_future(request_runner::run_backfills(requester(client), asked)));
        let abort = CancellationToken::new();
        let owned = own(set, Arc::clone(&counters), abort.clone());
        let owner = Some(runtime.spawn(tasks.track_future(owned)));
        tasks.close();
        let plan_budgets = plan.budgets.clone();
        Ok(Self {
            connections,
            polls,
            resyncs,
            resync_requests,
            backfills,
            plan_budgets,
            opening,
            settle,
            counters,
            inputs: gauge,
            behind,
            stop,
            abort,
            tasks,
            owner,
        })
    }

    /// The snapshot comes as a frame with the resync's source, or in-band.
    pub fn resync(&self, resync: impl Into<ResyncIndex>) -> Result<(), CommandError> {
        let resync = resync.into();
        let handle = self.resyncs.get(resync.position()).ok_or(CommandError::UnknownResync(resync))?;
        let in_progress =
            Arc::clone(&handle.in_progress).try_acquire_owned().map_err(|_| CommandError::InFlight)?;
        match &handle.action {
            ResyncAction::Request(request) => {
                let request = ResyncRequest { source: handle.source, request: request.clone(), in_progress };
                self.resync_requests.try_send(request).map_err(|error| refused(&error))
            }
            ResyncAction::Resubscribe(again) => {
                let in_progress = Arc::new(in_progress);
                let texts = again
                    .messages
                    .iter()
                    .map(|text| OutgoingText::resync(text.clone(), Arc::clone(&in_progress)));
                self.command(again.connection.into(), ConnectionCommand::Send(texts.collect()))
            }
        }
    }

    /// Sends a text on one generation, before queued subscriptions.
    pub fn reply(
        &self,
        source: impl Into<SourceIndex>,
        generation: u64,
        text: String,
    ) -> Result<(), CommandError> {
        self.command(source.into(), ConnectionCommand::Reply { generation, text })
    }

    /// Opens an overlapping replacement of this generation, unless one is being opened. If the generation is itself a replacement that does not
    /// serve yet, it closes, and another one is opened after a pause.
    pub fn replace(
        &self,
        source: impl Into<SourceIndex>,
        generation: u64,
        reason: &str,
    ) -> Result<(), CommandError> {
        self.command(source.into(), ConnectionCommand::Replace { generation, reason: reason.to_owned() })
    }

    /// Requests a further page of a poll's answer. Pages run in order before the next round and have the
    /// poll's source. Bounded per round and to the plan's budgets; refusals are counted.
    pub fn follow_up(&self, source: impl Into<SourceIndex>, request: Request) -> Result<(), CommandError> {
        let source = source.into();
        let index = source.position().checked_sub(self.connections.len());
        let pages = index.and_then(|index| self.polls.get(index)).ok_or(CommandError::NotAPoll(source))?;
        let problems = request_problems("follow_up", &request, Some(&self.plan_budgets));
        if !problems.is_empty() {
            tracing::warn!(%source, problems = problems.join("; "), "further page refused");
            return Err(pages.refuse(CommandError::BadRequest));
        }
        pages.request(request)
    }

    /// Requests past trades: the answer is a frame with this source, else there is a [`SocketEvent::RequestFailed`](crate::SocketEvent) of it.
    /// Requests run one at a time while their budgets have room to spare; one may wait.
    pub fn backfill(&self, source: impl Into<SourceIndex>, request: Request) -> Result<(), CommandError> {
        let problems = request_problems("backfill", &request, Some(&self.plan_budgets));
        if !problems.is_empty() {
            return Err(CommandError::BadRequest);
        }
        let asked = BackfillRequest { source: source.into(), request };
        self.backfills.try_send(asked).map_err(|error| refused(&error))
    }

    /// A poll's answer was an error or unreadable: its round counts for nothing, and a window is requested again.
    pub fn answer_unusable(&self, source: impl Into<SourceIndex>) {
        let index = source.into().position().checked_sub(self.connections.len());
        if let Some(poll) = index.and_then(|index| self.polls.get(index)) {
            poll.unusable();
        }
    }

    /// Assigns a frame to its stream: acknowledgements and heartbeats do not count against silence. `at_ns`
    /// is its receive time.
    pub fn stream_received(
        &self,
        source: impl Into<SourceIndex>,
        generation: u64,
        stream: impl Into<StreamIndex>,
        at_ns: i64,
    ) {
        if let Ok(connection) = self.connection(source.into()) {
            connection.state.stream_received(generation, stream.into(), at_ns);
        }
    }

    /// Of the streams of other instruments nothing can come: their silence is not watched until they are expected again.
    pub fn expect(&self, is_expected: impl Fn(InstrumentIndex) -> bool) {
        self.connections.iter().for_each(|connection| connection.state.expect(&is_expected));
    }

    /// Ends a connection or a poll whose data is not needed any more; the others stay.
    pub fn retire(&self, source: impl Into<SourceIndex>) {
        let position = source.into().position();
        let poll = || self.polls.get(position.checked_sub(self.connections.len())?).map(PageQueue::stop);
        if let Some(stop) = self.connections.get(position).map(|connection| &connection.stop).or_else(poll) {
            stop.cancel();
        }
    }

    pub fn status(&self) -> Vec<ConnectionStatus> {
        self.connections.iter().map(|connection| connection.state.read()).collect()
    }

    /// Least time until the last opening message is sent: the stagger of the connections, and their message limits.
    pub const fn opening_time(&self) -> Duration {
        self.opening
    }

    /// See [`SocketOptions::overlap_settle`].
    pub const fn settle_time(&self) -> Duration {
        self.settle
    }

    pub fn counters(&self) -> SocketCounters {
        self.counters.read()
    }

    /// Bytes read that the pipeline has not taken.
    pub fn queued_bytes(&self) -> usize {
        self.inputs.queued_bytes()
    }

    /// Time for which sockets have been waiting for the pipeline without a pause, or an input for being processed.
    pub fn behind_for(&self) -> Option<Duration> {
        self.behind.since().map(|since| since.elapsed()).max(self.inputs.behind_for())
    }

    /// Closes every socket and joins every task; aborts them after `deadline`. Keep receiving: messages
    /// already sent by the venues are delivered. Returns the final counters.
    pub async fn stop(mut self, deadline: Duration) -> SocketCounters {
        self.stop.cancel();
        if timeout(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                ?deadline,
                left = self.tasks.len(),
                "sockets did not stop before the deadline: aborting their tasks"
            );
            self.abort.cancel();
        }
        if let Some(owner) = self.owner.take()
            && let Err(error) = owner.await
        {
            tracing::error!(%error, "socket owner task panicked");
        }
        self.tasks.wait().await;
        self.counters.read()
    }

    fn connection(&self, source: SourceIndex) -> Result<&ConnectionHandle, CommandError> {
        self.connections.get(source.position()).ok_or(CommandError::UnknownSource(source))
    }

    fn command(&self, source: SourceIndex, command: ConnectionCommand) -> Result<(), CommandError> {
        let connection = self.connection(source)?;
        connection.commands.try_send(command).map_err(|error| refused(&error))
    }
}

impl Drop for FeedSockets {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn refused<T>(error: &TrySendError<T>) -> CommandError {
    match error {
        TrySendError::Full(_) => CommandError::QueueFull,
        TrySendError::Closed(_) => CommandError::Stopping,
    }
}

async fn own(mut set: JoinSet<()>, counters: Arc<Counters>, abort: CancellationToken) {
    loop {
        let joined = tokio::select! {
            biased;
            () = abort.cancelled() => return set.shutdown().await,
            joined = set.join_next() => joined,
        };
        match joined {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                counters.count(SocketCounter::TasksDied);
                tracing::error!(%error, "socket task panicked");
            }
        }
    }
}

/// Gives the time until the last opening message may be sent, too.
fn start_connections(
    plan: &Plan,
    feed: &Arc<FeedContext>,
    set: &mut JoinSet<()>,
) -> (Vec<ConnectionHandle>, Duration) {
    let origin = Instant::now();
    let (mut delay, mut opening) = (Duration::ZERO, Duration::ZERO);
    let mut handles = Vec::with_capacity(plan.connections.len());
    for (source, connection) in SourceIndex::enumerate(&plan.connections) {
        opening = opening.max(delay + opening_time(connection));
        let connection = Arc::new(connection.clone());
        let state = Arc::new(ConnectionState::new(source, &connection, origin));
        let (commands, receiver) = mpsc::channel(CONNECTION_COMMANDS_MAX);
        let stop = feed.stop.child_token();
        let supervisor = ConnectionSupervisor::new(
            source,
            connection,
            Arc::clone(feed),
            Arc::clone(&state),
            (receiver, stop.clone()),
            delay,
        );
        set.spawn(feed.tasks.track_future(supervisor.run()));
        handles.push(ConnectionHandle { state, commands, stop });
        delay += feed.options.stagger / 2 + jitter(feed.options.stagger);
    }
    (handles, opening)
}

fn start_polls(
    plan: &Plan,
    requester: &Arc<RequestRunner>,
    pending: &ReferencePending,
    set: &mut JoinSet<()>,
) -> Vec<PageQueue> {
    let count = plan.polls.len();
    let polls = plan.polls.iter().enumerate().map(|(index, poll)| {
        let source = SourceIndex::of_poll(plan, index);
        let stop = requester.feed.stop.child_token();
        let (pages, queue, round) = PageQueue::new(Arc::clone(&requester.feed.counters), stop.clone());
        let requester = Arc::clone(requester);
        let tasks = requester.feed.tasks.clone();
        let (place, pending) = ((index, count), Arc::clone(pending));
        let task = PollTask::new(requester, source, poll.clone(), place, (queue, round, stop), pending);
        set.spawn(tasks.track_future(task.run()));
        pages
    });
    polls.collect()
}

fn start_resyncs(
    plan: &Plan,
    requester: &Arc<RequestRunner>,
    set: &mut JoinSet<()>,
) -> (Vec<ResyncHandle>, mpsc::Sender<ResyncRequest>) {
    let handles = plan.resyncs.iter().enumerate().map(|(index, resync)| ResyncHandle {
        source: SourceIndex::of_resync(plan, index),
        action: resync.action.clone(),
        in_progress: Arc::new(Semaphore::new(1)),
    });
    let handles = handles.collect();
    // Each resync is queued at most once.
    let (resync_requests, receiver) = mpsc::channel(plan.resyncs.len().max(1));
    set.spawn(
        requester.feed.tasks.track_future(request_runner::run_resyncs(Arc::clone(requester), receiver)),
    );
    (handles, resync_requests)
}
