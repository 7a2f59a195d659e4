//! Keeps one connection open over its generations.
//! At most one generation serves (`current`) and one is about to replace it (`candidate`). A candidate
//! takes over when none serves, or after it received data and both ran together for the overlap. If it
//! fails, or brings no event while the serving one does, the serving one stays and another candidate is
//! opened later.

mod reactions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use marketprism_adapter_host::SourceIndex;
use marketprism_adapter_host::contract::Connection;
use marketprism_service::Backoff;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::reactions::SilenceWatch;
use super::send_queue::{OutgoingText, Pacer};
use super::session::{Session, SessionEnd, SessionEvent};
use crate::context::FeedContext;
use crate::counters::SocketCounter;
use crate::error::CloseReason;
use crate::limits::{SESSION_COMMANDS_MAX, SESSION_EVENTS_MAX, TAKEOVER_LOOK};
use crate::status::{ConnectionPhase, ConnectionState, SubscriptionPhase};

#[derive(Debug)]
pub(crate) enum ConnectionCommand {
    Reply { generation: u64, text: String },
    Send(Vec<OutgoingText>),
    Replace { generation: u64, reason: String },
}

const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum GenerationStage {
    Opening,
    Open,
    Subscribed,
    Ready,
}

struct Generation {
    stage: GenerationStage,
    opened_at: Option<Instant>,
    opened_at_ns: i64,
    subscribed_at: Option<Instant>,
    texts: mpsc::Sender<OutgoingText>,
    retire: CancellationToken,
    /// Reason of a requested close.
    retired: Option<CloseReason>,
    task: AbortHandle,
}

pub(crate) struct ConnectionSupervisor {
    source: SourceIndex,
    plan: Arc<Connection>,
    feed: Arc<FeedContext>,
    state: Arc<ConnectionState>,
    commands: mpsc::Receiver<ConnectionCommand>,
    /// Cancelled with the feed, or for this connection alone.
    stop: CancellationToken,
    /// Cloned into every session.
    news: mpsc::Sender<(u64, SessionEvent)>,
    events: mpsc::Receiver<(u64, SessionEvent)>,
    sessions: JoinSet<SessionEnd>,
    generations: BTreeMap<u64, Generation>,
    newest: u64,
    current: Option<u64>,
    candidate: Option<u64>,
    /// Set while the serving generation is to be replaced.
    replacement_reason: Option<CloseReason>,
    backoff: Backoff,
    /// Staggers the first connects of a feed.
    open_delay: Duration,
    /// Earliest time of the next candidate.
    open_at: Instant,
    /// When the candidate takes over.
    takeover_at: Option<Instant>,
    renew_at: Option<Instant>,
    silence: SilenceWatch,
}

impl ConnectionSupervisor {
    pub(crate) fn new(
        source: SourceIndex,
        plan: Arc<Connection>,
        feed: Arc<FeedContext>,
        state: Arc<ConnectionState>,
        (commands, stop): (mpsc::Receiver<ConnectionCommand>, CancellationToken),
        open_delay: Duration,
    ) -> Self {
        let silence = SilenceWatch::new(&plan.streams, &feed.options, Instant::now());
        let backoff = feed.options.backoff.start();
        let (news, events) = mpsc::channel(SESSION_EVENTS_MAX);
        Self {
            source,
            plan,
            feed,
            state,
            commands,
            stop,
            news,
            events,
            sessions: JoinSet::new(),
            generations: BTreeMap::new(),
            newest: 0,
            current: None,
            candidate: None,
            replacement_reason: None,
            backoff,
            open_delay,
            open_at: Instant::now(),
            takeover_at: None,
            renew_at: None,
            silence,
        }
    }

    /// Runs until the stop, or until the event queue is closed, then waits for every generation.
    pub(crate) async fn run(mut self) {
        let (feed, stop) = (Arc::clone(&self.feed), self.stop.clone());
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = feed.inputs.closed() => feed.stop.cancel(),
            () = feed.references.opened() => self.open_at = Instant::now() + self.open_delay,
        }
        loop {
            self.show_phase();
            let wake = self.next_wake();
            // Events first: the end of a generation must not overtake its opening.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Without a reader of the events there is nothing to do.
                () = feed.inputs.closed() => feed.stop.cancel(),
                Some((generation, event)) = self.events.recv() => self.on_event(generation, event),
                Some(ended) = self.sessions.join_next() => self.on_ended(ended).await,
                Some(command) = self.commands.recv() => self.on_command(command),
                () = sleep_until(wake) => self.on_timer(Instant::now()).await,
            }
        }
        // Generations stop with the feed.
        while let Some(ended) = self.sessions.join_next().await {
            self.on_ended(ended).await;
        }
        self.state.change(|status| status.phase = ConnectionPhase::Stopped);
    }

    fn show_phase(&self) {
        let phase = match (self.current, self.candidate) {
            (Some(_), Some(_)) => ConnectionPhase::Replacing,
            (Some(_), None) => ConnectionPhase::Open,
            (None, Some(_)) => ConnectionPhase::Connecting,
            (None, None) => ConnectionPhase::Waiting,
        };
        let serving = self.current.and_then(|current| self.generations.get(&current));
        let stage = serving.map_or(GenerationStage::Opening, |serving| serving.stage);
        self.state.change(|status| {
            status.phase = phase;
            status.subscription = match (stage, status.subscription) {
                (GenerationStage::Opening | GenerationStage::Open, _) => SubscriptionPhase::Pending,
                (GenerationStage::Subscribed, _) => SubscriptionPhase::Sent,
                (GenerationStage::Ready, answered @ SubscriptionPhase::Answered(_)) => answered,
                (GenerationStage::Ready, _) => SubscriptionPhase::Answered(Instant::now()),
            };
        });
    }

    fn needs_candidate(&self) -> bool {
        self.candidate.is_none() && (self.current.is_none() || self.replacement_reason.is_some())
    }

    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let open = self.needs_candidate().then_some(self.open_at);
        let renew = self.renew_at.filter(|_| self.current.is_some());
        let check = self.current.map(|_| self.silence.check_at(now));
        [open, self.takeover_at, renew, check].into_iter().flatten().min().unwrap_or(now + NEVER)
    }

    async fn on_timer(&mut self, now: Instant) {
        if self.takeover_at.is_some_and(|at| now >= at) {
            self.end_overlap(now);
        }
        if self.current.is_some() && self.renew_at.is_some_and(|at| now >= at) {
            self.renew_at = None;
            self.request_replacement(CloseReason::Renewed);
        }
        if self.current.is_some() && now >= self.silence.check_at(now) {
            self.check_streams(now).await;
        }
        if self.needs_candidate() && now >= self.open_at {
            self.open_candidate();
        }
    }

    fn open_candidate(&mut self) {
        self.newest += 1;
        let generation = self.newest;
        let (texts, receiver) = mpsc::channel(SESSION_COMMANDS_MAX);
        let retire = self.stop.child_token();
        let session = Session {
            source: self.source,
            generation,
            plan: Arc::clone(&self.plan),
            feed: Arc::clone(&self.feed),
            state: Arc::clone(&self.state),
            events: self.news.clone(),
            texts: receiver,
            retire: retire.clone(),
        };
        let task = self.sessions.spawn(self.feed.tasks.track_future(session.run()));
        let stage = GenerationStage::Opening;
        let opened = Generation {
            stage,
            opened_at: None,
            opened_at_ns: 0,
            subscribed_at: None,
            texts,
            retire,
            retired: None,
            task,
        };
        self.generations.insert(generation, opened);
        self.candidate = Some(generation);
        self.takeover_at = None;
    }

    fn on_event(&mut self, generation: u64, event: SessionEvent) {
        let options = &self.feed.options;
        let Some(found) = self.generations.get_mut(&generation) else { return };
        match event {
            SessionEvent::Opened { at, at_ns } => {
                found.stage = GenerationStage::Open;
                found.opened_at = Some(at);
                found.opened_at_ns = at_ns;
                self.feed.counters.count(SocketCounter::Opened);
                tracing::info!(connection = %self.plan.name, generation, "connection open");
                if self.candidate == Some(generation) && self.current.is_none() {
                    self.take_over();
                }
            }
            SessionEvent::Subscribed => {
                found.stage = GenerationStage::Subscribed;
                let now = Instant::now();
                found.subscribed_at = Some(now);
                if self.current == Some(generation) {
                    self.silence.begin(now);
                } else if self.candidate == Some(generation) {
                    // Not earlier: the message limit may delay the opening messages.
                    self.takeover_at = Some(now + options.overlap);
                }
            }
            SessionEvent::Ready => {
                found.stage = GenerationStage::Ready;
                if self.candidate == Some(generation) {
                    let settled = Instant::now() + options.overlap_settle;
                    self.takeover_at = Some(self.takeover_at.map_or(settled, |at| at.min(settled)));
                }
            }
        }
    }

    /// A frame alone is no proof that the streams flow: pongs and heartbeats come although the venue has subscribed none yet.
    fn end_overlap(&mut self, now: Instant) {
        match self.candidate_is_late_until() {
            None => self.take_over(),
            // Its first event may be under way.
            Some(until) if now < until => self.takeover_at = Some(until.min(now + TAKEOVER_LOOK)),
            // Or it waits in the queue, behind those of the serving generation.
            Some(_) if self.feed.inputs.is_behind() => self.takeover_at = Some(now + TAKEOVER_LOOK),
            Some(_) => {
                let overlap = self.feed.options.overlap;
                let reason = format!("no event within {overlap:?} while the connection before brings some");
                self.retire_candidate(CloseReason::Replaced(reason));
            }
        }
    }

    /// End of the wait for a candidate that brought no event, while the serving generation brought some since the candidate is subscribed.
    fn candidate_is_late_until(&self) -> Option<Instant> {
        let candidate = self.candidate?;
        let subscribed_at = self.generations.get(&candidate)?.subscribed_at?;
        let is_late = self.state.has_older_events_only(candidate, subscribed_at);
        is_late.then(|| subscribed_at + self.feed.options.overlap)
    }

    /// The candidate serves from now on and the previous generation closes.
    fn take_over(&mut self) {
        self.takeover_at = None;
        let Some(generation) = self.candidate.take() else { return };
        let reason = self.replacement_reason.take().unwrap_or(CloseReason::Renewed);
        if let Some(old) = self.current.replace(generation)
            && let Some(old) = self.generations.get_mut(&old)
        {
            old.retired = Some(reason);
            old.retire.cancel();
        }
        let Some(new) = self.generations.get(&generation) else { return };
        let opened_at = new.opened_at.unwrap_or_else(Instant::now);
        let subscribed = new.stage >= GenerationStage::Subscribed;
        let since_ns = Some(new.opened_at_ns);
        self.state.change(|status| (status.generation, status.connected_since_ns) = (generation, since_ns));
        let latest = renewal_age(&self.plan, self.feed.options.overlap);
        self.renew_at = latest.map(|age| self.feed.renewals.book(self.source, opened_at, opened_at + age));
        if subscribed {
            self.silence.begin(Instant::now());
        } else {
            self.silence.pause();
        }
    }

    fn request_replacement(&mut self, reason: CloseReason) {
        let current = self.current.and_then(|current| self.generations.get(&current));
        let Some(current) = current.filter(|_| self.replacement_reason.is_none()) else { return };
        tracing::info!(connection = %self.plan.name, %reason, "replacing connection");
        let lived = current.opened_at.map(|at| at.elapsed()).unwrap_or_default();
        if matches!(reason, CloseReason::Replaced(_)) && lived < self.feed.options.backoff.healthy_after {
            // A venue that refuses each new connection too is not asked in a loop.
            self.open_at = Instant::now() + self.backoff.pause();
        }
        self.replacement_reason = Some(reason);
    }

    fn on_command(&mut self, command: ConnectionCommand) {
        match command {
            ConnectionCommand::Reply { generation, text } => {
                self.send(Some(generation), OutgoingText::new(text, true))
            }
            ConnectionCommand::Send(texts) => {
                for text in texts {
                    self.send(self.current, text);
                }
            }
            ConnectionCommand::Replace { generation, reason } => {
                let reason = CloseReason::Replaced(reason);
                if self.candidate == Some(generation) {
                    self.retire_candidate(reason);
                } else if self.current == Some(generation) {
                    self.request_replacement(reason);
                }
            }
        }
    }

    /// The candidate must not take over: the next one is opened after a pause, while the current generation serves.
    fn retire_candidate(&mut self, reason: CloseReason) {
        let Some(generation) = self.candidate.take() else { return };
        tracing::info!(connection = %self.plan.name, generation, %reason, "replacement closed before it serves");
        self.takeover_at = None;
        self.open_at = Instant::now() + self.backoff.pause();
        if let Some(candidate) = self.generations.get_mut(&generation) {
            candidate.retired = Some(reason);
            candidate.retire.cancel();
        }
    }

    fn send(&self, generation: Option<u64>, text: OutgoingText) {
        let found = generation.and_then(|generation| self.generations.get(&generation));
        self.feed.counters.count(match found.map(|found| found.texts.try_send(text)) {
            Some(Ok(())) => return,
            Some(Err(mpsc::error::TrySendError::Full(_))) => SocketCounter::DiscardedTextQueueFull,
            Some(Err(mpsc::error::TrySendError::Closed(_))) | None => SocketCounter::DiscardedTextNotOpen,
        });
    }
}

/// Age at which a replacement is opened: early enough for its opening messages and the overlap.
fn renewal_age(plan: &Connection, overlap: Duration) -> Option<Duration> {
    if plan.max_age_ms == 0 {
        return None;
    }
    let max_age = Duration::from_millis(u64::from(plan.max_age_ms));
    let lead = (overlap * 2).min(max_age / 4) + opening_time(plan);
    Some(max_age - lead.min(max_age / 4 * 3))
}

/// Least time for the opening messages within the message limit.
pub(crate) fn opening_time(plan: &Connection) -> Duration {
    let window = Duration::from_millis(u64::from(plan.messages_window_ms));
    Pacer::new(plan.messages_max, window).time_for(plan.on_open.len())
}
