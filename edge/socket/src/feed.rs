//! All input and output of one feed.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use marketprism_adapter_host::contract::{Connection, Plan, Request, ResyncAction};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::random_up_to;
use crate::budgets::Budgets;
use crate::connection::{Command, Supervisor, Text, UnderWay};
use crate::context::FeedContext;
use crate::counters::{Counted, Counters, SocketCounters};
use crate::error::{Refused, SocketError};
use crate::input::Input;
use crate::limits::CONNECTION_COMMANDS_MAX;
use crate::options::SocketOptions;
use crate::plan::BudgetUnits;
use crate::poll::{Pages, PollTask};
use crate::references::{Pending, References};
use crate::renewals::Renewals;
use crate::requester::Requester;
use crate::rest::RestClient;
use crate::resync::Ask;
use crate::status::{ConnectionState, ConnectionStatus};
use crate::{plan, resync, tls};

/// Owns every task of a feed. Dropping it stops them too, but does not wait for them.
#[derive(Debug)]
pub struct FeedSockets {
    connections: Vec<ConnectionHandle>,
    polls: Vec<Pages>,
    resyncs: Vec<ResyncHandle>,
    asks: mpsc::Sender<Ask>,
    budget_units: BudgetUnits,
    counters: Arc<Counters>,
    stop: CancellationToken,
    /// Cancelled when the tasks had their time to end by themselves.
    abort: CancellationToken,
    tasks: TaskTracker,
    /// Awaits all other tasks.
    owner: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct ConnectionHandle {
    plan: Arc<Connection>,
    state: Arc<ConnectionState>,
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
struct ResyncHandle {
    action: ResyncKind,
    under_way: Arc<AtomicBool>,
}

#[derive(Debug)]
enum ResyncKind {
    Request { source: u32, request: Arc<Request> },
    Resubscribe { connection: u32, messages: Vec<String> },
}

impl FeedSockets {
    /// Starts to carry out a plan. Everything read goes to `inputs`; while it is full, nothing is read.
    ///
    /// # Errors
    /// A plan that contradicts itself, a CA file that cannot be used, or no running tokio runtime.
    pub fn start(
        plan: &Plan,
        options: SocketOptions,
        budgets: Budgets,
        inputs: mpsc::Sender<Input>,
    ) -> Result<Self, SocketError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| SocketError::NoRuntime)?;
        plan::check(plan)?;
        let options = Arc::new(options);
        let tls = Arc::new(tls::client_config(&options.ca_files, &["http/1.1"])?);
        let counters = Arc::new(Counters::default());
        let client = RestClient::new(Arc::clone(&options), Arc::clone(&counters))?;
        for budget in &plan.budgets {
            budgets.define(&budget.name, budget.units, Duration::from_millis(u64::from(budget.window_ms)));
        }
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let at_once = options.requests_at_once.max(1);
        let (references, pending) = References::new(options.reference_wait, Arc::clone(&counters));
        let renewed = plan.connections.iter().filter(|connection| connection.max_age_ms > 0).count();
        let feed = FeedContext {
            options,
            tls,
            budgets,
            inputs,
            counters: Arc::clone(&counters),
            references,
            renewals: Renewals::new(renewed),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        let feed = Arc::new(feed);
        let _entered = runtime.enter();
        let mut set = JoinSet::new();
        let connections = start_connections(plan, &feed, &mut set);
        // Each kind has its own turns: many resyncs waiting for a budget must not hold up the polls.
        let requester =
            |client| Requester { feed: Arc::clone(&feed), client, at_once: Semaphore::new(at_once) };
        let polls = start_polls(plan, &Arc::new(requester(client.clone())), &pending, &mut set);
        drop(pending);
        let (resyncs, asks) = start_resyncs(plan, &Arc::new(requester(client)), &mut set);
        let abort = CancellationToken::new();
        let owned = own(set, Arc::clone(&counters), abort.clone());
        let owner = Some(runtime.spawn(tasks.track_future(owned)));
        tasks.close();
        let budget_units = plan::budget_units(plan);
        Ok(Self { connections, polls, resyncs, asks, budget_units, counters, stop, abort, tasks, owner })
    }

    /// Asks for a new starting state: the answer comes as a frame of the resync's source number, or in-band.
    ///
    /// # Errors
    /// [`Refused::InFlight`] while the same resync is under way.
    pub fn resync(&self, resync_index: u32) -> Result<(), Refused> {
        let handle = at(&self.resyncs, resync_index).ok_or(Refused::UnknownResync(resync_index))?;
        let under_way = UnderWay::begin(&handle.under_way).ok_or(Refused::InFlight)?;
        match &handle.action {
            ResyncKind::Request { source, request } => {
                let ask = Ask { source: *source, request: Arc::clone(request), under_way };
                self.asks.try_send(ask).map_err(|error| refused(&error))
            }
            ResyncKind::Resubscribe { connection, messages } => {
                let under_way = Arc::new(under_way);
                let texts = messages.iter().map(|text| Text::resync(text.clone(), Arc::clone(&under_way)));
                self.command(*connection, Command::Send(texts.collect()))
            }
        }
    }

    /// Sends a text on one generation of a connection, before subscriptions that wait.
    ///
    /// # Errors
    /// An unknown connection or a full command queue.
    pub fn reply(&self, source: u32, generation: u64, text: String) -> Result<(), Refused> {
        self.command(source, Command::Reply { generation, text })
    }

    /// Opens a replacement of a connection now, overlapping. Does nothing while one is on its way.
    ///
    /// # Errors
    /// An unknown connection or a full command queue.
    pub fn replace(&self, source: u32, reason: &str) -> Result<(), Refused> {
        self.command(source, Command::Replace(reason.to_owned()))
    }

    /// Asks for one stream again on the generation that serves.
    ///
    /// # Errors
    /// An unknown connection or stream, a stream without such messages, or a full command queue.
    pub fn resubscribe(&self, source: u32, stream: u32) -> Result<(), Refused> {
        let connection = at(&self.connections, source).ok_or(Refused::UnknownSource(source))?;
        let found = at(&connection.plan.streams, stream).ok_or(Refused::UnknownStream(stream))?;
        if found.resubscribe.is_empty() {
            return Err(Refused::NothingToSend);
        }
        let texts = found.resubscribe.iter().map(|text| Text::new(text.clone(), false));
        self.command(source, Command::Send(texts.collect()))
    }

    /// Asks for one more page of a poll's answer. Pages are carried out in order, before the poll's next
    /// round; the answer comes with the poll's source number.
    ///
    /// # Errors A source that is no poll, more than 100 pages in a round, a request that cannot be sent
    /// within the plan's budgets. Counted; the adapter that asks for it does not come to an end by itself.
    pub fn follow_up(&self, source: u32, request: Request) -> Result<(), Refused> {
        let index = usize::try_from(source).ok().and_then(|at| at.checked_sub(self.connections.len()));
        let pages = index.and_then(|index| self.polls.get(index)).ok_or(Refused::NotAPoll(source))?;
        let problems = plan::check_follow_up(&self.budget_units, &request);
        if !problems.is_empty() {
            tracing::warn!(source, problems = problems.join("; "), "a further page cannot be asked for");
            return Err(pages.refuse(Refused::BadRequest));
        }
        pages.ask(request)
    }

    /// Tells which stream a frame belonged to: silence is judged by that alone, since acknowledgements and
    /// heartbeats go on while a stream is frozen. `at_ns` is when the frame was received.
    pub fn saw(&self, source: u32, stream: u32, at_ns: i64) {
        if let (Some(connection), Ok(stream)) = (at(&self.connections, source), usize::try_from(stream)) {
            connection.state.saw(stream, at_ns);
        }
    }

    /// The state of every connection, in the order of the plan.
    pub fn status(&self) -> Vec<ConnectionStatus> {
        self.connections.iter().map(|connection| connection.state.read()).collect()
    }

    /// What happened so far.
    pub fn counters(&self) -> SocketCounters {
        self.counters.read()
    }

    /// Closes every socket politely and awaits every task; after `deadline`, what still runs is aborted. Keep
    /// receiving inputs meanwhile: what the venues had already sent is still delivered.
    pub async fn stop(mut self, deadline: Duration) {
        self.stop.cancel();
        if timeout(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!(?deadline, left = self.tasks.len(), "sockets did not stop in time, aborting them");
            self.abort.cancel();
        }
        if let Some(owner) = self.owner.take()
            && let Err(error) = owner.await
        {
            tracing::error!(%error, "the owner of a feed's sockets died");
        }
        self.tasks.wait().await;
    }

    fn command(&self, source: u32, command: Command) -> Result<(), Refused> {
        let connection = at(&self.connections, source).ok_or(Refused::UnknownSource(source))?;
        connection.commands.try_send(command).map_err(|error| refused(&error))
    }
}

impl Drop for FeedSockets {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn at<T>(items: &[T], index: u32) -> Option<&T> {
    items.get(usize::try_from(index).ok()?)
}

fn refused<T>(error: &TrySendError<T>) -> Refused {
    match error {
        TrySendError::Full(_) => Refused::QueueFull,
        TrySendError::Closed(_) => Refused::Stopping,
    }
}

/// Awaits a feed's tasks.
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
                counters.count(Counted::TasksDied);
                tracing::error!(%error, "a task of the sockets died");
            }
        }
    }
}

fn start_connections(plan: &Plan, feed: &Arc<FeedContext>, set: &mut JoinSet<()>) -> Vec<ConnectionHandle> {
    let origin = Instant::now();
    let mut delay = Duration::ZERO;
    let mut handles = Vec::with_capacity(plan.connections.len());
    for (source, connection) in (0u32..).zip(&plan.connections) {
        let connection = Arc::new(connection.clone());
        let state = Arc::new(ConnectionState::new(source, &connection, origin));
        let (commands, receiver) = mpsc::channel(CONNECTION_COMMANDS_MAX);
        let supervisor = Supervisor::new(
            source,
            Arc::clone(&connection),
            Arc::clone(feed),
            Arc::clone(&state),
            receiver,
            delay,
        );
        set.spawn(feed.tasks.track_future(supervisor.run()));
        handles.push(ConnectionHandle { plan: connection, state, commands });
        delay += feed.options.stagger / 2 + random_up_to(feed.options.stagger);
    }
    handles
}

fn start_polls(
    plan: &Plan,
    requester: &Arc<Requester>,
    pending: &Pending,
    set: &mut JoinSet<()>,
) -> Vec<Pages> {
    let count = plan.polls.len();
    let polls = plan.polls.iter().enumerate().map(|(index, poll)| {
        let source = source_of(plan.connections.len() + index);
        let (pages, queue, round) = Pages::new(Arc::clone(&requester.feed.counters));
        let requester = Arc::clone(requester);
        let tasks = requester.feed.tasks.clone();
        let (place, pending) = ((index, count), Arc::clone(pending));
        let task = PollTask::new(requester, source, poll.clone(), place, (queue, round), pending);
        set.spawn(tasks.track_future(task.run()));
        pages
    });
    polls.collect()
}

fn start_resyncs(
    plan: &Plan,
    requester: &Arc<Requester>,
    set: &mut JoinSet<()>,
) -> (Vec<ResyncHandle>, mpsc::Sender<Ask>) {
    let before = plan.connections.len() + plan.polls.len();
    let handles = plan.resyncs.iter().enumerate().map(|(index, resync)| ResyncHandle {
        action: match &resync.action {
            ResyncAction::Request(request) => {
                ResyncKind::Request { source: source_of(before + index), request: Arc::new(request.clone()) }
            }
            ResyncAction::Resubscribe(again) => {
                ResyncKind::Resubscribe { connection: again.connection, messages: again.messages.clone() }
            }
        },
        under_way: Arc::new(AtomicBool::new(false)),
    });
    let handles = handles.collect();
    // Room for every resync at once: each is asked for only once at a time.
    let (asks, receiver) = mpsc::channel(plan.resyncs.len().max(1));
    set.spawn(requester.feed.tasks.track_future(resync::run(Arc::clone(requester), receiver)));
    (handles, asks)
}

/// The plan's check made sure that it fits.
fn source_of(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
