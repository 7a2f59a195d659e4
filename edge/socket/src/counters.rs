//! What happened, by reason: everything discarded, failed or slowed down.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident = $label:literal,)+) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Counted { $($(#[doc = $doc])+ $name,)+ }

        impl Counted {
            /// Everything that is counted.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Name for metrics: a closed set, lower case with underscores.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }
        }
    };
}

counters! {
    /// Connections that stood.
    Opened = "opened",
    /// Connects that failed at name resolution or TCP.
    ConnectFailedTcp = "connect_failed_tcp",
    /// Connects that failed at TLS.
    ConnectFailedTls = "connect_failed_tls",
    /// Connects that failed at the websocket handshake.
    ConnectFailedHandshake = "connect_failed_handshake",
    /// Connects given up for want of room in a budget.
    ConnectFailedBudget = "connect_failed_budget",
    /// Ends by the venue's close frame.
    ClosedVenue = "closed_venue",
    /// Ends without a closing handshake.
    ClosedLost = "closed_lost",
    /// Ends by the idle timeout.
    ClosedIdle = "closed_idle",
    /// Ends by a protocol violation of the venue.
    ClosedProtocol = "closed_protocol",
    /// Ends by a message above the size limit, which is lost.
    ClosedTooLarge = "closed_too_large",
    /// Ends because a write did not finish in time.
    ClosedWriteTimeout = "closed_write_timeout",
    /// Planned renewals.
    ClosedRenewed = "closed_renewed",
    /// Replacements that the pipeline asked for.
    ClosedReplaced = "closed_replaced",
    /// Replacements because of silence.
    ClosedSilent = "closed_silent",
    /// Ends at stop.
    ClosedStopped = "closed_stopped",
    /// Frames delivered.
    Frames = "frames",
    /// Bytes of those frames.
    FrameBytes = "frame_bytes",
    /// Frames discarded because the sockets were stopping and nobody took them.
    DiscardedFrameStopping = "discarded_frame_stopping",
    /// Texts of ours sent.
    TextsSent = "texts_sent",
    /// Ping frames of the venue, each answered.
    PingsAnswered = "pings_answered",
    /// Texts of ours discarded because their generation was not open.
    DiscardedTextNotOpen = "discarded_text_not_open",
    /// Texts of ours discarded because too many were waiting.
    DiscardedTextQueueFull = "discarded_text_queue_full",
    /// Texts of ours discarded because the connection ended before the message limit let them through.
    DiscardedTextClosed = "discarded_text_closed",
    /// Times that the reader waited for the pipeline.
    Stalls = "stalls",
    /// Microseconds spent so.
    StalledMicroseconds = "stalled_microseconds",
    /// Episodes of silence.
    Silences = "silences",
    /// Resubscriptions after a silence.
    SilenceResubscribes = "silence_resubscribes",
    /// Resubscriptions not sent because the stream falls silent again and again.
    SilenceResubscribesHeld = "silence_resubscribes_held",
    /// Replacements started after a silence.
    SilenceReconnects = "silence_reconnects",
    /// Replacements not started because the connection had too many of them.
    SilenceReconnectsHeld = "silence_reconnects_held",
    /// Poll answers delivered.
    PollsAnswered = "polls_answered",
    /// Polls given up.
    PollsFailed = "polls_failed",
    /// Poll times passed over because the poll before was still under way.
    PollsSkippedLate = "polls_skipped_late",
    /// Poll times passed over because the venue told us to stay away.
    PollsSkippedBlocked = "polls_skipped_blocked",
    /// Stretches of time that no answer of a poll covered, because its rounds before had failed for too long.
    PollWindowHoles = "poll_window_holes",
    /// Feeds that opened their connections without the first answer of a reference poll.
    ReferencesLate = "references_late",
    /// Answers of further pages delivered.
    FollowUpsAnswered = "follow_ups_answered",
    /// Further pages given up.
    FollowUpsFailed = "follow_ups_failed",
    /// Further pages refused: too many in a round, or a request outside of the plan's budgets.
    FollowUpsRefused = "follow_ups_refused",
    /// Resync answers delivered.
    ResyncsAnswered = "resyncs_answered",
    /// Resync requests given up.
    ResyncsFailed = "resyncs_failed",
    /// Tries of requests.
    RequestTries = "request_tries",
    /// Requests tried again after 429.
    RetriesRateLimited = "retries_rate_limited",
    /// Requests tried again after 418.
    RetriesBanned = "retries_banned",
    /// Requests tried again after 5xx.
    RetriesVenueError = "retries_venue_error",
    /// Requests tried again after another status that may pass.
    RetriesStatus = "retries_status",
    /// Requests tried again for want of a complete answer in time.
    RetriesTimeout = "retries_timeout",
    /// Requests tried again because no connection could be made.
    RetriesConnect = "retries_connect",
    /// Requests tried again because the connection broke.
    RetriesTransport = "retries_transport",
    /// Requests tried again for want of room in a budget.
    RetriesBudget = "retries_budget",
    /// Microseconds waited between such tries, waits for budgets aside.
    BackoffMicroseconds = "backoff_microseconds",
    /// Answers 429.
    RateLimited = "rate_limited",
    /// Answers 418.
    Banned = "banned",
    /// Answers 403.
    Forbidden = "forbidden",
    /// Answers 5xx.
    VenueErrors = "venue_errors",
    /// Answers above the size limit.
    DiscardedAnswerTooLarge = "discarded_answer_too_large",
    /// Answers discarded because nobody took them at stop.
    DiscardedAnswerStopping = "discarded_answer_stopping",
    /// Tasks that ended by a panic. Always 0 unless this crate has a defect.
    TasksDied = "tasks_died",
}

/// Counters that many tasks add to.
#[derive(Debug)]
pub(crate) struct Counters(Vec<AtomicU64>);

impl Default for Counters {
    fn default() -> Self {
        Self(Counted::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl Counters {
    pub(crate) fn add(&self, what: Counted, by: u64) {
        if let Some(counter) = self.0.get(what as usize) {
            counter.fetch_add(by, Ordering::Relaxed);
        }
    }

    pub(crate) fn count(&self, what: Counted) {
        self.add(what, 1);
    }

    pub(crate) fn read(&self) -> SocketCounters {
        let values = self.0.iter().map(|counter| counter.load(Ordering::Relaxed));
        SocketCounters(Counted::ALL.iter().copied().zip(values).collect())
    }
}

/// A reading of all counters. They only grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketCounters(Vec<(Counted, u64)>);

impl SocketCounters {
    /// One counter.
    pub fn get(&self, what: Counted) -> u64 {
        self.iter().find(|(name, _)| *name == what).map_or(0, |(_, value)| value)
    }

    /// All of them, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (Counted, u64)> + '_ {
        self.0.iter().copied()
    }
}
