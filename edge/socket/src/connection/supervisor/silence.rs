//! What follows the silence of a stream.

use std::time::Duration;

use tokio::time::Instant;

use super::{NEVER, Supervisor};
use crate::connection::outbox::Text;
use crate::connection::watchdog::Verdict;
use crate::counters::Counted;
use crate::error::CloseReason;
use crate::input::{Input, SilenceHint};

impl Supervisor {
    pub(super) async fn look_at_streams(&mut self, now: Instant) {
        let current = self.current.and_then(|current| self.generations.get(&current));
        let opened = current.and_then(|current| current.opened_at).unwrap_or(now);
        // While the pipeline is behind, frames wait unseen: that silence is our own.
        let behind = self.feed.inputs.capacity() == 0;
        let mut silent = Vec::new();
        let mut frozen = None;
        let mut next = now + NEVER;
        for (stream, watch) in &mut self.watches {
            if behind {
                watch.restart(now);
            }
            let seen = self.state.seen(*stream);
            match watch.check(now, seen) {
                Verdict::Fine(at) => next = next.min(at),
                Verdict::Silent(silence) => {
                    let never = seen.is_none_or(|seen| seen < opened);
                    silent.push((
                        *stream,
                        silence,
                        if never { SilenceHint::NeverSeen } else { SilenceHint::WentQuiet },
                    ));
                    next = now;
                }
                Verdict::Reconnect => {
                    frozen = frozen.or(u32::try_from(*stream).ok());
                    next = now;
                }
            }
            self.state.set_silent(*stream, watch.is_silent());
        }
        // A short step is enough after an action: the next look sets the real time.
        self.watch_at = next.max(now + Duration::from_millis(1));
        if let Some(stream) = frozen {
            self.feed.counters.count(Counted::SilenceReconnects);
            self.want_replacement(CloseReason::Silent(stream));
        }
        for (stream, silence, hint) in silent {
            self.report_silent(stream, silence, hint).await;
        }
    }

    async fn report_silent(&mut self, stream: usize, silence: Duration, hint: SilenceHint) {
        self.feed.counters.count(Counted::Silences);
        tracing::warn!(connection = %self.plan.name, stream, ?silence, ?hint, "stream is silent");
        let texts =
            self.plan.streams.get(stream).map(|stream| stream.resubscribe.clone()).unwrap_or_default();
        if !texts.is_empty() {
            self.feed.counters.count(Counted::SilenceResubscribes);
            for text in texts {
                self.send(self.current, Text::new(text, false));
            }
        }
        let silence_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        let stream = u32::try_from(stream).unwrap_or(u32::MAX);
        let _ = self.feed.deliver(Input::Silent { source: self.source, stream, silence_ms, hint }).await;
    }
}
