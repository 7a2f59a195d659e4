//! The threads that run queries, behind bounded queues, and the cancelling of queries whose client has disconnected. Inserts and looks
//! at the running queries have threads and places of their own, which other queries never take.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use enum_map::{Enum, EnumMap, enum_map};
use marketprism_service::start_thread;
use tokio::sync::oneshot;

use super::connection::{mark, quoted};
use super::{Code, Connection, Engine, EngineError, QueryResult, Statement};
use crate::limits::{CONTROL_PLACES, INSERT_PLACES, PoolSize};

/// The engine recurses deeply when it analyses a query, and derives its limit from the thread's stack.
const STACK_BYTES: usize = 16 << 20;

/// Queue of a statement. Threads of a lane also run what the lanes after it left waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum Lane {
    General,
    /// Inserts with their data.
    Insert,
    /// `KILL QUERY`, `system.processes`.
    Control,
}

/// A statement with the resources it needs.
pub struct Job {
    pub lane: Lane,
    pub statement: Statement,
    /// Descriptors that the text names as `/proc/self/fd/N`; open until the query has ended.
    pub descriptors: Vec<OwnedFd>,
    /// Dropped when the query has ended.
    pub hold: Option<Box<dyn Send>>,
}

/// All threads of the lane are busy and its queue is full.
#[derive(Debug, thiserror::Error)]
#[error("{running} queries run and {waiting} wait, the maximum of this server")]
pub struct PoolFull {
    pub running: usize,
    pub waiting: usize,
}

struct Queued {
    job: Job,
    state: Arc<JobState>,
    reply: oneshot::Sender<QueryResult>,
}

#[derive(Default)]
struct Queue {
    lanes: EnumMap<Lane, LaneQueue>,
    closed: bool,
}

#[derive(Default)]
struct LaneQueue {
    jobs: VecDeque<Queued>,
    /// Idle threads of the lane.
    idle: usize,
}

struct PoolState {
    engine: Engine,
    queue: Mutex<Queue>,
    /// Idle threads, by their lane.
    arrived: EnumMap<Lane, Condvar>,
    sizes: EnumMap<Lane, PoolSize>,
}

/// Runs each statement on a connection of its own, so that `USE`, `SET` and temporary tables never leak to
/// another client. Opening one takes about a millisecond and is done ahead of the request.
pub struct Pool {
    shared: Arc<PoolState>,
    orders: SyncSender<Arc<JobState>>,
    numbers: AtomicU64,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    pub fn start(engine: Engine, general: PoolSize) -> anyhow::Result<Pool> {
        let queue = Mutex::new(Queue::default());
        let sizes = enum_map! {
            Lane::General => general,
            Lane::Insert => INSERT_PLACES,
            Lane::Control => CONTROL_PLACES,
        };
        let places = sizes.values().map(|size| size.threads + size.waiting).sum();
        let shared = Arc::new(PoolState { engine, queue, arrived: EnumMap::default(), sizes });
        let (orders, inbox) = sync_channel(places);
        let mut workers = Vec::new();
        for (lane, size) in sizes {
            for _ in 0..size.threads {
                let shared = Arc::clone(&shared);
                workers.push(spawn(format!("query-{}", workers.len()), move || work(&shared, lane))?);
            }
        }
        let canceller = Arc::clone(&shared);
        // Ends with the last order sender.
        spawn("cancel".to_owned(), move || run_cancelling(&canceller.engine, &inbox))?;
        Ok(Pool { shared, orders, numbers: AtomicU64::new(1), workers: Mutex::new(workers) })
    }

    /// Queues a job. The guard cancels it when dropped early.
    pub fn submit(&self, job: Job) -> Result<(oneshot::Receiver<QueryResult>, CancelGuard), PoolFull> {
        let (reply, query_result) = oneshot::channel();
        let state = Arc::new(JobState {
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            ..JobState::default()
        });
        let job_lane = job.lane;
        let PoolSize { threads, waiting } = self.shared.sizes[job_lane];
        let mut queue = self.shared.lock();
        let lane = &mut queue.lanes[job_lane];
        lane.forget_cancelled();
        if lane.jobs.len() >= waiting + lane.idle {
            return Err(PoolFull { running: threads, waiting });
        }
        lane.jobs.push_back(Queued { job, state: Arc::clone(&state), reply });
        drop(queue);
        // One thread of each lane that takes this job: waking all of them cost more than a small query.
        self.shared.arrived.values().take(job_lane.into_usize() + 1).for_each(Condvar::notify_one);
        Ok((query_result, CancelGuard { state, orders: self.orders.clone() }))
    }

    /// Lets running queries end, rejects waiting ones, closes the engine. `false`: a query still ran after
    /// `patience`; the tables stay intact, as after any sudden end.
    pub fn close(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.lanes.values_mut().for_each(|lane| lane.jobs.clear());
        drop(queue);
        self.shared.arrived.values().for_each(Condvar::notify_all);
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in workers {
            while !worker.is_finished() {
                if Instant::now() >= deadline {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = worker.join();
        }
        self.shared.engine.close();
        true
    }
}

impl LaneQueue {
    /// Frees the queue places of disconnected clients.
    fn forget_cancelled(&mut self) {
        self.jobs.retain(|queued| {
            let left = queued.state.cancelled.load(Ordering::Acquire);
            if left {
                queued.state.done.store(true, Ordering::Release);
            }
            !left
        });
    }
}

impl PoolState {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job for a thread of the lane; `None` when the pool closes.
    fn next(&self, lane: Lane) -> Option<Queued> {
        let mut queue = self.lock();
        queue.lanes[lane].idle += 1;
        loop {
            let job = queue.lanes.values_mut().skip(lane.into_usize()).find_map(|lane| lane.jobs.pop_front());
            if job.is_some() {
                queue.lanes[lane].idle -= 1;
                return job;
            }
            if queue.closed {
                return None;
            }
            queue = self.arrived[lane].wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name).stack_size(STACK_BYTES);
    start_thread(thread, body).context("cannot start a thread for queries")
}

fn work(shared: &PoolState, lane: Lane) {
    let mut ready: Option<Connection> = shared.engine.connect();
    while let Some(Queued { job, state, reply }) = shared.next(lane) {
        let query_result = if state.cancelled.load(Ordering::Acquire) {
            Err(EngineError::new(Code::QUERY_WAS_CANCELLED, "query was cancelled while it waited"))
        } else if let Some(mut connection) = ready.take().or_else(|| shared.engine.connect()) {
            connection.run(&job.statement, state.number)
        } else {
            Err(EngineError::new(Code::UNKNOWN_EXCEPTION, "the engine opened no connection"))
        };
        state.done.store(true, Ordering::Release);
        // Ends the reader's stream, after which it awaits the result.
        drop(job.descriptors);
        drop(job.hold);
        // Fails if the client has disconnected.
        let _ = reply.send(query_result);
        if ready.is_none() {
            ready = shared.engine.connect();
        }
    }
}

/// Cancelling is repeated after this time: the first attempt misses a query that the engine has not
/// registered yet.
const REPEAT_AFTER: Duration = Duration::from_millis(200);

/// State of one query, shared by the pool and the client's side.
#[derive(Debug, Default)]
struct JobState {
    number: u64,
    cancelled: AtomicBool,
    done: AtomicBool,
}

/// Held by the client's side of a query. Dropping it before the query has ended cancels the query.
pub struct CancelGuard {
    state: Arc<JobState>,
    orders: SyncSender<Arc<JobState>>,
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if self.state.done.load(Ordering::Acquire) {
            return;
        }
        self.state.cancelled.store(true, Ordering::Release);
        // Never full: the channel has a place for every running and waiting query.
        if let Err(TrySendError::Full(state)) = self.orders.try_send(Arc::clone(&self.state)) {
            tracing::warn!(request = state.number, "cancel queue is full; the query runs to its end");
        }
    }
}

/// Body of the cancelling thread; ends with the last sender.
fn run_cancelling(engine: &Engine, orders: &Receiver<Arc<JobState>>) {
    let mut stopping: Vec<Arc<JobState>> = Vec::new();
    loop {
        let wait = if stopping.is_empty() { Duration::from_secs(3600) } else { REPEAT_AFTER };
        match orders.recv_timeout(wait) {
            Ok(state) => stopping.push(state),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        stopping.extend(orders.try_iter());
        stopping.retain(|state| !state.done.load(Ordering::Acquire));
        if stopping.is_empty() {
            continue;
        }
        let Some(mut connection) = engine.connect() else {
            tracing::error!("cannot cancel queries: the engine opened no connection");
            continue;
        };
        for state in &stopping {
            let mark = quoted(&mark(state.number), '\'');
            let text = format!("KILL QUERY WHERE endsWith(Settings['log_comment'], {mark}) ASYNC");
            match connection.plain(&text, "Null") {
                Ok(_) => tracing::debug!(request = state.number, "client disconnected, query cancelled"),
                Err(error) => tracing::warn!(request = state.number, %error, "cannot cancel a query"),
            }
        }
    }
}
