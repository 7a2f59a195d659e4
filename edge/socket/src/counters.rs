//! Counters by reason: everything discarded, failed or delayed.

use std::sync::atomic::{AtomicU64, Ordering};

use enum_map::{Enum, EnumMap};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident = $label:literal,)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum)]
        #[non_exhaustive]
        pub enum SocketCounter { $($(#[doc = $doc])* $name,)+ }

        impl SocketCounter {
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }
        }
    };
}

counters! {
    Opened = "opened",
    ConnectFailedTcp = "connect_failed_tcp",
    ConnectFailedTls = "connect_failed_tls",
    ConnectFailedProxy = "connect_failed_proxy",
    ConnectFailedHandshake = "connect_failed_handshake",
    /// No room in a budget.
    ConnectFailedBudget = "connect_failed_budget",
    ClosedVenue = "closed_venue",
    ClosedLost = "closed_lost",
    ClosedIdle = "closed_idle",
    ClosedProtocol = "closed_protocol",
    /// Message above the size limit, which is lost.
    ClosedTooLarge = "closed_too_large",
    ClosedWriteTimeout = "closed_write_timeout",
    ClosedRenewed = "closed_renewed",
    /// Requested by the pipeline.
    ClosedReplaced = "closed_replaced",
    ClosedSilent = "closed_silent",
    ClosedStopped = "closed_stopped",
    Frames = "frames",
    FrameBytes = "frame_bytes",
    DiscardedFrameStopping = "discarded_frame_stopping",
    TextsSent = "texts_sent",
    PingsAnswered = "pings_answered",
    /// Generation not open.
    DiscardedTextNotOpen = "discarded_text_not_open",
    DiscardedTextQueueFull = "discarded_text_queue_full",
    /// Connection closed before the message limit allowed it.
    DiscardedTextClosed = "discarded_text_closed",
    /// Waits of the reader for the pipeline.
    Stalls = "stalls",
    StalledMicroseconds = "stalled_microseconds",
    Silences = "silences",
    SilenceResubscribes = "silence_resubscribes",
    /// Not sent: the stream falls silent repeatedly.
    SilenceResubscribesHeld = "silence_resubscribes_held",
    SilenceReconnects = "silence_reconnects",
    /// Not started: too many for this connection.
    SilenceReconnectsHeld = "silence_reconnects_held",
    /// Nothing had come of the stream since its connection was subscribed.
    UnansweredResubscribes = "unanswered_resubscribes",
    PollsAnswered = "polls_answered",
    PollsFailed = "polls_failed",
    /// The previous round was still running.
    PollsSkippedLate = "polls_skipped_late",
    /// Budget blocked by the venue.
    PollsSkippedBlocked = "polls_skipped_blocked",
    /// Time covered by no answer, because earlier rounds failed for too long.
    PollWindowHoles = "poll_window_holes",
    /// Connections opened without the first answer of a reference poll.
    ReferencesLate = "references_late",
    FollowUpsAnswered = "follow_ups_answered",
    FollowUpsFailed = "follow_ups_failed",
    /// Too many in a round, or a request outside the plan's budgets.
    FollowUpsRefused = "follow_ups_refused",
    BackfillsAnswered = "backfills_answered",
    BackfillsFailed = "backfills_failed",
    ResyncsAnswered = "resyncs_answered",
    ResyncsFailed = "resyncs_failed",
    RequestTries = "request_tries",
    RetriesRateLimited = "retries_rate_limited",
    RetriesBanned = "retries_banned",
    RetriesVenueError = "retries_venue_error",
    RetriesStatus = "retries_status",
    RetriesTimeout = "retries_timeout",
    RetriesConnect = "retries_connect",
    RetriesProxy = "retries_proxy",
    RetriesTransport = "retries_transport",
    RetriesBudget = "retries_budget",
    /// Waits between tries, without waits for budgets.
    BackoffMicroseconds = "backoff_microseconds",
    RateLimited = "rate_limited",
    Banned = "banned",
    Forbidden = "forbidden",
    VenueErrors = "venue_errors",
    DiscardedAnswerTooLarge = "discarded_answer_too_large",
    DiscardedAnswerStopping = "discarded_answer_stopping",
    /// Panicked tasks.
    TasksDied = "tasks_died",
}

#[derive(Debug, Default)]
pub(crate) struct Counters(EnumMap<SocketCounter, AtomicU64>);

impl Counters {
    pub(crate) fn add(&self, what: SocketCounter, by: u64) {
        self.0[what].fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, what: SocketCounter) {
        self.add(what, 1);
    }

    pub(crate) fn read(&self) -> SocketCounters {
        EnumMap::from_fn(|what| self.0[what].load(Ordering::Relaxed))
    }
}

pub type SocketCounters = EnumMap<SocketCounter, u64>;
