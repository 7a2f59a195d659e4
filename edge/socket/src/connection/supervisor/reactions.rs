//! Reactions of a supervisor to silent streams (report, resubscribe, reconnect) and to the end of a
//! generation.

use std::collections::VecDeque;
use std::time::Duration;

use marketprism_adapter_host::contract::DataStream;
use marketprism_adapter_host::{InstrumentIndex, StreamIndex};
use marketprism_service::clock::now_ns;
use marketprism_service::mask;
use tokio::task::JoinError;
use tokio::time::Instant;

use super::{ConnectionSupervisor, GenerationStage, NEVER};
use crate::connection::mute_watch::MuteWatch;
use crate::connection::open::OpenError;
use crate::connection::send_queue::OutgoingText;
use crate::connection::session::{SessionEnd, SessionEndCause};
use crate::connection::stream_watch::{StreamCheck, StreamWatch};
use crate::connection::unanswered_watch::UnansweredWatch;
use crate::counters::SocketCounter;
use crate::error::{BudgetError, CloseReason, DialError};
use crate::event::{SilenceHint, SocketEvent};
use crate::limits::{SILENCE_RECONNECTS_MAX, SILENCE_RETRY_MAX};
use crate::options::SocketOptions;

pub(super) struct SilenceWatch {
    watches: Vec<(StreamIndex, StreamWatch)>,
    /// While none of the streams is watched. `None`: the connection has no stream.
    mute: Option<MuteWatch>,
    unanswered: UnansweredWatch,
    /// `None` while nothing is subscribed.
    check_at: Option<Instant>,
    /// Least time between two checks, since each costs time per stream.
    step: Duration,
    reconnects: VecDeque<Instant>,
}

impl SilenceWatch {
    pub(super) fn new(streams: &[DataStream], options: &SocketOptions, now: Instant) -> Self {
        let mute = (!streams.is_empty()).then(|| MuteWatch::new(options.event_timeout, now));
        let unanswered = UnansweredWatch::new(streams, options.unanswered_after, now);
        let watches = StreamIndex::enumerate(streams);
        let watches =
            watches.filter_map(|(at, stream)| Some((at, StreamWatch::new(stream.expected_silence_ms, now)?)));
        let shortest = streams.iter().map(|stream| stream.expected_silence_ms).filter(|ms| *ms > 0).min();
        let step = Duration::from_millis(u64::from(shortest.unwrap_or_default())) / 20;
        let step = step.clamp(Duration::from_millis(1), Duration::from_secs(1));
        let (watches, reconnects) = (watches.collect(), VecDeque::new());
        Self { watches, mute, unanswered, check_at: None, step, reconnects }
    }

    pub(super) fn check_at(&self, now: Instant) -> Instant {
        self.check_at.filter(|_| self.mute.is_some()).unwrap_or(now + NEVER)
    }

    /// Everything is subscribed on the serving generation: silence counts from now.
    pub(super) fn begin(&mut self, now: Instant) {
        for (_, watch) in &mut self.watches {
            watch.restart(now);
        }
        if let Some(mute) = &mut self.mute {
            mute.restart(now);
        }
        self.unanswered.begin(now);
        self.check_at = Some(now);
    }

    pub(super) fn pause(&mut self) {
        self.check_at = None;
    }

    /// A reconnect resubscribes all streams. The last allowed one is reserved for a stream that had none in
    /// its episode, so that a stream dead at the venue cannot use them all.
    fn may_reconnect(&mut self, now: Instant, first: bool) -> bool {
        while self.reconnects.front().is_some_and(|at| *at + SILENCE_RETRY_MAX <= now) {
            self.reconnects.pop_front();
        }
        let allowed = SILENCE_RECONNECTS_MAX - usize::from(!first);
        if self.reconnects.len() >= allowed {
            return false;
        }
        self.reconnects.push_back(now);
        for (_, watch) in &mut self.watches {
            watch.reconnecting();
        }
        true
    }
}

struct Silent {
    stream: StreamIndex,
    silence: Duration,
    hint: SilenceHint,
    resubscribe: bool,
}

impl ConnectionSupervisor {
    pub(super) async fn check_streams(&mut self, now: Instant) {
        let current = self.current.and_then(|current| self.generations.get(&current));
        let opened = current.and_then(|current| current.opened_at).unwrap_or(now);
        // Frames wait while the pipeline is behind, or has not begun: no silence of the venue.
        let behind = self.feed.inputs.is_behind();
        let at_ns = now_ns();
        let mut silent = Vec::new();
        let (mut frozen, mut is_watched) = (None, false);
        let mut next = now + NEVER;
        for (stream, watch) in &mut self.silence.watches {
            let Some(since) = self.state.expected_since(*stream) else {
                next = next.min(watch.rest(now));
                self.state.set_silent(*stream, false);
                continue;
            };
            is_watched = true;
            watch.expect_from(since);
            if behind {
                watch.restart(now);
            }
            let seen = self.state.seen(*stream);
            match watch.check(now, seen) {
                StreamCheck::Fine(at) => next = next.min(at),
                StreamCheck::Silent { silence, resubscribe } => {
                    let never = seen.is_none_or(|seen| seen < opened);
                    let hint = if never { SilenceHint::NeverSeen } else { SilenceHint::WentQuiet };
                    silent.push(Silent { stream: *stream, silence, hint, resubscribe });
                    next = now;
                }
                StreamCheck::Reconnect { first } => {
                    // Prefer a stream without a reconnect in this episode: it has a larger allowance.
                    if first || frozen.is_none() {
                        frozen = Some((*stream, first));
                    }
                    next = now;
                }
            }
            self.state.set_silent(*stream, watch.is_silent());
        }
        next = next.min(self.check_events(now, behind || is_watched));
        if !behind {
            next = next.min(self.check_unanswered(now));
        }
        self.silence.check_at = Some(next.max(now + self.silence.step));
        if let Some((stream, first)) = frozen {
            self.reconnect(CloseReason::Silent(stream), first, now);
        }
        for silent in silent {
            self.report_silent(silent, at_ns).await;
        }
    }

    /// The streams of the connection each may be silent: without an event of any it is replaced, since its venue may answer pings and send
    /// nothing else. Returns the time of the next look.
    fn check_events(&mut self, now: Instant, is_watched: bool) -> Instant {
        let Some(mute) = &mut self.silence.mute else { return now + NEVER };
        let Some((since, seen)) = self.state.expectation().filter(|_| !is_watched) else {
            return mute.restart(now);
        };
        mute.expect_from(since);
        if let Some(at) = mute.check(now, seen) {
            return at;
        }
        self.reconnect(CloseReason::NoEvent, false, now);
        now
    }

    /// A subscription that the venue does not answer looks like a quiet stream: without an event of the connection's generation it is sent
    /// again. Returns the time of the next look.
    fn check_unanswered(&mut self, now: Instant) -> Instant {
        let (state, serving) = (&self.state, self.current.unwrap_or(self.newest));
        let look = |stream| Some((state.expected_since(stream)?, state.has_brought(serving, stream)));
        let (due, next) = self.silence.unanswered.check(now, look);
        if let Some((stream, plan)) = due.and_then(|due| Some((due, self.plan.streams.get(due.position())?)))
        {
            let (connection, data_type, instrument) = (&self.plan.name, plan.data_type, plan.instrument);
            tracing::info!(
                %connection, %stream, ?data_type, ?instrument,
                "no event since the stream was subscribed: subscribing it again, the venue may not have taken it"
            );
            self.feed.counters.count(SocketCounter::UnansweredResubscribes);
            for text in &plan.resubscribe {
                self.send(self.current, OutgoingText::new(text.clone(), false));
            }
        }
        next.unwrap_or(now + NEVER)
    }

    fn reconnect(&mut self, reason: CloseReason, first: bool, now: Instant) {
        if self.replacement_reason.is_some() {
            return;
        }
        if !self.silence.may_reconnect(now, first) {
            self.feed.counters.count(SocketCounter::SilenceReconnectsHeld);
            return;
        }
        self.feed.counters.count(SocketCounter::SilenceReconnects);
        self.request_replacement(reason);
    }

    async fn report_silent(&mut self, silent: Silent, at_ns: i64) {
        let Some(stream) = self.plan.streams.get(silent.stream.position()) else { return };
        self.feed.counters.count(SocketCounter::Silences);
        let requested = stream.resubscribe.last().map(String::as_str).unwrap_or_default();
        let (connection, url, silence) = (&self.plan.name, mask(&self.plan.url), silent.silence);
        let (data_type, instrument) = (stream.data_type, stream.instrument.map(InstrumentIndex::from));
        match silent.hint {
            SilenceHint::NeverSeen => tracing::error!(
                %connection, %url, stream = %silent.stream, ?data_type, ?instrument, requested, ?silence,
                "stream never delivered since its subscription: its name or the URL's route may be wrong"
            ),
            SilenceHint::WentQuiet => tracing::warn!(
                %connection, %url, stream = %silent.stream, ?data_type, ?instrument, requested, ?silence,
                "stream is silent"
            ),
        }
        let input = SocketEvent::Silent {
            source: self.source,
            stream: silent.stream,
            data_type,
            instrument,
            connection: connection.clone(),
            url: url.into_owned(),
            silence_ms: u64::try_from(silence.as_millis()).unwrap_or(u64::MAX),
            hint: silent.hint,
            at_ns,
        };
        if !stream.resubscribe.is_empty() {
            if silent.resubscribe {
                self.feed.counters.count(SocketCounter::SilenceResubscribes);
                for text in &stream.resubscribe {
                    self.send(self.current, OutgoingText::new(text.clone(), false));
                }
            } else {
                self.feed.counters.count(SocketCounter::SilenceResubscribesHeld);
            }
        }
        let _ = self.feed.deliver(input).await;
    }
}

impl ConnectionSupervisor {
    pub(super) async fn on_ended(&mut self, joined: Result<SessionEnd, JoinError>) {
        let Some((generation, ended)) = self.identify(joined) else { return };
        let Some(known) = self.generations.remove(&generation) else { return };
        let stopping = self.stop.is_cancelled();
        if self.candidate == Some(generation) {
            self.candidate = None;
            self.takeover_at = None;
        }
        match (ended.opened, ended.end) {
            (_, SessionEndCause::NotOpened(error)) => self.not_opened(generation, &error),
            (None, _) => {}
            (Some(opened), end) => {
                let retired = known.retired.is_some();
                let reason = match (known.retired, end) {
                    (Some(reason), _) | (None, SessionEndCause::Closed(reason)) => reason,
                    (None, _) => CloseReason::Stopped,
                };
                let is_current = self.current == Some(generation);
                let is_late = is_current && self.candidate_is_late_until().is_some();
                if is_current {
                    self.current_ended(opened);
                } else if !stopping && !retired {
                    self.open_at = Instant::now() + self.pause_after(opened);
                }
                self.report_closed(generation, reason, is_late).await;
            }
        }
    }

    /// An open candidate takes over at once.
    fn pause_after(&mut self, opened: Instant) -> Duration {
        self.backoff.pause_after(opened.elapsed(), self.feed.options.backoff.healthy_after)
    }

    fn current_ended(&mut self, opened: Instant) {
        self.current = None;
        self.state.change(|status| status.connected_since_ns = None);
        self.feed.renewals.cancel(self.source);
        // The candidate is now the only generation, not a replacement.
        self.replacement_reason = None;
        self.open_at = Instant::now() + self.pause_after(opened);
        let standing = self.candidate.and_then(|candidate| self.generations.get(&candidate));
        if standing.is_some_and(|candidate| candidate.stage != GenerationStage::Opening) {
            self.take_over();
        }
    }

    fn not_opened(&mut self, generation: u64, error: &OpenError) {
        let mut wait = self.backoff.pause();
        let counted = match error {
            OpenError::Dial(DialError::Resolve { .. } | DialError::Tcp { .. }) => {
                SocketCounter::ConnectFailedTcp
            }
            OpenError::Dial(DialError::Tls { .. }) => SocketCounter::ConnectFailedTls,
            OpenError::Dial(DialError::Proxy { .. }) => SocketCounter::ConnectFailedProxy,
            OpenError::Handshake { .. } => SocketCounter::ConnectFailedHandshake,
            OpenError::Refused { retry_after, .. } => {
                wait = wait.max(retry_after.unwrap_or_default());
                SocketCounter::ConnectFailedHandshake
            }
            OpenError::Budget(error) => {
                if let BudgetError::Blocked { remaining, .. } = error {
                    wait = wait.max(*remaining);
                }
                SocketCounter::ConnectFailedBudget
            }
        };
        self.feed.counters.count(counted);
        self.state.record_failure("connect_failed", error.to_string());
        tracing::warn!(connection = %self.plan.name, generation, ?wait, %error, "connect failed");
        self.open_at = Instant::now() + wait;
    }

    /// `is_late`: the generation that goes on has brought no event yet.
    async fn report_closed(&mut self, generation: u64, reason: CloseReason, is_late: bool) {
        let current = self.current.and_then(|current| self.generations.get(&current));
        let overlap = current.is_some_and(|current| current.stage == GenerationStage::Ready) && !is_late;
        self.feed.counters.count(reason.counter());
        self.state.record_failure(reason.label(), reason.to_string());
        if reason.is_planned() {
            tracing::info!(connection = %self.plan.name, generation, %reason, overlap, "connection closed");
        } else {
            tracing::warn!(connection = %self.plan.name, generation, %reason, overlap, "connection closed");
        }
        let source = self.source;
        let closed = SocketEvent::Closed { source, generation, reason, at_ns: now_ns(), overlap, is_late };
        // An error means that the pipeline has ended.
        let _ = self.feed.deliver(closed).await;
    }

    /// A panicked task counts as a lost connection.
    fn identify(&mut self, joined: Result<SessionEnd, JoinError>) -> Option<(u64, SessionEnd)> {
        let error = match joined {
            Ok(ended) => return Some((ended.generation, ended)),
            Err(error) => error,
        };
        let mut generations = self.generations.iter();
        let (generation, found) = generations.find(|(_, one)| one.task.id() == error.id())?;
        let generation = *generation;
        let opened = found.opened_at;
        if error.is_panic() {
            self.feed.counters.count(SocketCounter::TasksDied);
            tracing::error!(connection = %self.plan.name, generation, %error, "connection task panicked");
        }
        let end = SessionEndCause::Closed(CloseReason::Lost(format!("task panicked: {error}")));
        // Back off also if it never opened.
        self.open_at = Instant::now() + self.backoff.pause();
        Some((generation, SessionEnd { generation, opened, end }))
    }
}
