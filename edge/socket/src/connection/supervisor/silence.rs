//! What follows the silence of a stream.

use std::collections::VecDeque;
use std::time::Duration;

use marketprism_adapter_host::contract::DataStream;
use tokio::time::Instant;

use super::{NEVER, Supervisor};
use crate::connection::outbox::Text;
use crate::connection::watchdog::{StreamWatch, Verdict};
use crate::counters::Counted;
use crate::error::CloseReason;
use crate::input::{Input, SilenceHint};
use crate::limits::{SILENCE_RECONNECTS_MAX, SILENCE_RETRY_MAX};

/// The watched streams of a connection.
pub(super) struct Silence {
    watches: Vec<(usize, StreamWatch)>,
    /// When to look next; `None` while nothing is subscribed.
    look_at: Option<Instant>,
    /// A look costs a little for every stream: the least time between two.
    step: Duration,
    /// Reconnects for silent streams, as long as they count.
    reconnects: VecDeque<Instant>,
}

impl Silence {
    pub(super) fn new(streams: &[DataStream], now: Instant) -> Self {
        let watches = streams.iter().enumerate();
        let watches =
            watches.filter_map(|(at, stream)| Some((at, StreamWatch::new(stream.expected_silence_ms, now)?)));
        let shortest = streams.iter().map(|stream| stream.expected_silence_ms).filter(|ms| *ms > 0).min();
        let step = Duration::from_millis(u64::from(shortest.unwrap_or_default())) / 20;
        let step = step.clamp(Duration::from_millis(1), Duration::from_secs(1));
        Self { watches: watches.collect(), look_at: None, step, reconnects: VecDeque::new() }
    }

    pub(super) fn look_at(&self, now: Instant) -> Instant {
        self.look_at.filter(|_| !self.watches.is_empty()).unwrap_or(now + NEVER)
    }

    /// Everything is subscribed on the generation that serves: each stream has its time again.
    pub(super) fn begin(&mut self, now: Instant) {
        for (_, watch) in &mut self.watches {
            watch.restart(now);
        }
        self.look_at = Some(now);
    }

    /// The generation that serves is not subscribed yet.
    pub(super) fn pause(&mut self) {
        self.look_at = None;
    }

    /// Whether the connection may be replaced for a stream, for the `first` time in its episode or again. It
    /// is for all silent streams then: each subscription is made anew. The last of the allowed ones is kept
    /// for a stream that was not helped yet: one that is dead at the venue must not use them all.
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

/// A stream that became silent.
struct Silent {
    stream: usize,
    silence: Duration,
    hint: SilenceHint,
    resubscribe: bool,
}

impl Supervisor {
    pub(super) async fn look_at_streams(&mut self, now: Instant) {
        let current = self.current.and_then(|current| self.generations.get(&current));
        let opened = current.and_then(|current| current.opened_at).unwrap_or(now);
        // While the pipeline is behind, frames wait unseen: that silence is our own.
        let behind = self.feed.inputs.capacity() == 0;
        let mut silent = Vec::new();
        let mut frozen = None;
        let mut next = now + NEVER;
        for (stream, watch) in &mut self.silence.watches {
            if behind {
                watch.restart(now);
            }
            let seen = self.state.seen(*stream);
            match watch.check(now, seen) {
                Verdict::Fine(at) => next = next.min(at),
                Verdict::Silent { silence, resubscribe } => {
                    let never = seen.is_none_or(|seen| seen < opened);
                    let hint = if never { SilenceHint::NeverSeen } else { SilenceHint::WentQuiet };
                    silent.push(Silent { stream: *stream, silence, hint, resubscribe });
                    next = now;
                }
                Verdict::Reconnect { first } => {
                    // One that was not helped yet is preferred: more is allowed for it.
                    if first || frozen.is_none() {
                        frozen = Some((*stream, first));
                    }
                    next = now;
                }
            }
            self.state.set_silent(*stream, watch.is_silent());
        }
        self.silence.look_at = Some(next.max(now + self.silence.step));
        if let Some((stream, first)) = frozen {
            self.reconnect_for(stream, first, now);
        }
        for silent in silent {
            self.report_silent(silent).await;
        }
    }

    fn reconnect_for(&mut self, stream: usize, first: bool, now: Instant) {
        if self.wanted.is_some() {
            return;
        }
        if !self.silence.may_reconnect(now, first) {
            self.feed.counters.count(Counted::SilenceReconnectsHeld);
            return;
        }
        self.feed.counters.count(Counted::SilenceReconnects);
        self.want_replacement(CloseReason::Silent(u32::try_from(stream).unwrap_or(u32::MAX)));
    }

    async fn report_silent(&mut self, silent: Silent) {
        let Some(stream) = self.plan.streams.get(silent.stream) else { return };
        self.feed.counters.count(Counted::Silences);
        let asked = stream.resubscribe.last().map(String::as_str).unwrap_or_default();
        let (connection, url, silence) = (&self.plan.name, &self.plan.url, silent.silence);
        let (data_type, instrument) = (stream.data_type, stream.instrument);
        match silent.hint {
            SilenceHint::NeverSeen => tracing::error!(
                %connection, %url, stream = silent.stream, ?data_type, ?instrument, asked, ?silence,
                "a stream never delivered since it was subscribed: its name or the connection's route may be wrong"
            ),
            SilenceHint::WentQuiet => tracing::warn!(
                %connection, %url, stream = silent.stream, ?data_type, ?instrument, asked, ?silence,
                "a stream is silent"
            ),
        }
        let input = Input::Silent {
            source: self.source,
            stream: u32::try_from(silent.stream).unwrap_or(u32::MAX),
            data_type,
            instrument,
            connection: connection.clone(),
            url: url.clone(),
            silence_ms: u64::try_from(silence.as_millis()).unwrap_or(u64::MAX),
            hint: silent.hint,
        };
        if !stream.resubscribe.is_empty() {
            if silent.resubscribe {
                self.feed.counters.count(Counted::SilenceResubscribes);
                for text in &stream.resubscribe {
                    self.send(self.current, Text::new(text.clone(), false));
                }
            } else {
                self.feed.counters.count(Counted::SilenceResubscribesHeld);
            }
        }
        let _ = self.feed.deliver(input).await;
    }
}
