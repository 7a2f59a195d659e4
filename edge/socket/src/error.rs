//! What can go wrong, by kind.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why a feed's sockets or a REST client cannot be made.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The plan contradicts itself. Every problem is listed.
    #[error("the plan cannot be carried out: {}", .0.join("; "))]
    Plan(Vec<String>),
    /// A file of certificate authorities cannot be used.
    #[error("ca_file {path}: {reason}, allowed: a readable PEM file with at least one certificate")]
    CaFile {
        /// The file as configured.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS library refused the configuration.
    #[error("tls cannot be set up: {0}")]
    Tls(String),
    /// The HTTP library refused the configuration.
    #[error("the http client cannot be set up: {0}")]
    HttpClient(String),
    /// Not called from within a tokio runtime.
    #[error("sockets need a running tokio runtime")]
    NoRuntime,
}

/// Why a charge was not granted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BudgetError {
    /// The charge can never be granted.
    #[error("a charge of {units} units exceeds budget `{budget}`, allowed: at most {limit}")]
    TooLarge {
        /// The budget's name.
        budget: String,
        /// What was asked for.
        units: u64,
        /// What the budget holds.
        limit: u32,
    },
    /// The venue told us to stay away for longer than the caller waits.
    #[error("budget `{budget}` is blocked by the venue for {} ms more", .remaining.as_millis())]
    Blocked {
        /// The budget's name.
        budget: String,
        /// Time until requests are allowed again.
        remaining: Duration,
    },
    /// There was no room within the time that the caller waits.
    #[error("budget `{budget}` had no room within {} ms", .waited.as_millis())]
    Exhausted {
        /// The budget's name.
        budget: String,
        /// How long the caller waited.
        waited: Duration,
    },
}

/// Why a REST request was given up.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestFailure {
    /// The request cannot be sent as it is.
    #[error("request cannot be sent: {0}")]
    Invalid(String),
    /// No room in a budget.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// No complete answer in time.
    #[error("no complete answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The connection could not be made (name, TCP, TLS).
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection broke before the answer was complete.
    #[error("connection broke: {0}")]
    Transport(String),
    /// The venue answered with an error.
    #[error("status {status}: {snippet}")]
    Status {
        /// HTTP status code.
        status: u16,
        /// Beginning of the body.
        snippet: String,
        /// What the venue's `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// The answer is larger than allowed.
    #[error("answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
}

impl RequestFailure {
    /// The same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::TooLarge { .. } | Self::Budget(BudgetError::TooLarge { .. }) => false,
            Self::Budget(_) | Self::Timeout(_) | Self::Connect(_) | Self::Transport(_) => true,
            Self::Status { status, .. } => matches!(status, 408 | 418 | 425 | 429 | 500..=599),
        }
    }

    /// A short name from a closed set, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Budget(_) => "budget",
            Self::Timeout(_) => "timeout",
            Self::Connect(_) => "connect",
            Self::Transport(_) => "transport",
            Self::Status { status: 418 | 429, .. } => "rate_limited",
            Self::Status { status: 403, .. } => "forbidden",
            Self::Status { status: 500..=599, .. } => "venue_error",
            Self::Status { .. } => "refused",
            Self::TooLarge { .. } => "too_large",
        }
    }
}

/// Why a command was not accepted. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// No connection has this source number.
    #[error("source {0} is no connection of the plan")]
    UnknownSource(u32),
    /// The connection has no such stream.
    #[error("stream {0} is not in the plan")]
    UnknownStream(u32),
    /// The plan has no such resync.
    #[error("resync {0} is not in the plan")]
    UnknownResync(u32),
    /// The plan gives nothing to send for it.
    #[error("the plan gives nothing to send for it")]
    NothingToSend,
    /// The same resync is still under way.
    #[error("the same resync is still under way")]
    InFlight,
    /// Only a poll has further pages.
    #[error("source {0} is no poll of the plan")]
    NotAPoll(u32),
    /// The answers of this poll asked for too many pages in one round.
    #[error("the poll asked for more pages than a round may have")]
    TooManyPages,
    /// The request cannot be sent, or draws on a budget that the plan does not define or that is too small.
    #[error("the request cannot be sent within the plan's budgets")]
    BadRequest,
    /// The bounded command queue is full.
    #[error("the command queue is full")]
    QueueFull,
    /// The sockets are stopping.
    #[error("the sockets are stopping")]
    Stopping,
}

/// Why one generation of a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// The venue closed it.
    #[error("closed by the venue: {code} {text}")]
    Venue {
        /// Websocket close code; 1005 where the venue gave none.
        code: u16,
        /// The venue's words.
        text: String,
    },
    /// The connection broke without a closing handshake.
    #[error("lost: {0}")]
    Lost(String),
    /// No byte for the plan's idle timeout.
    #[error("no byte for {} ms", .0.as_millis())]
    Idle(Duration),
    /// The venue broke the websocket protocol (or sent text that is not UTF-8).
    #[error("protocol violation: {0}")]
    Protocol(String),
    /// A message is larger than allowed.
    #[error("message too large: {0}")]
    TooLarge(String),
    /// A message of ours could not be written in time.
    #[error("a message could not be written within {} ms", .0.as_millis())]
    WriteTimeout(Duration),
    /// Replaced before the plan's maximum age.
    #[error("renewed before its maximum age")]
    Renewed,
    /// Replaced because the pipeline asked for it.
    #[error("replaced: {0}")]
    Replaced(String),
    /// Replaced because a stream stayed silent after it was asked for again.
    #[error("replaced: stream {0} stayed silent")]
    Silent(u32),
    /// The sockets were stopped, or nobody receives their input any more.
    #[error("stopped")]
    Stopped,
}

impl CloseReason {
    /// A short name from a closed set, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Venue { .. } => "venue",
            Self::Lost(_) => "lost",
            Self::Idle(_) => "idle",
            Self::Protocol(_) => "protocol",
            Self::TooLarge(_) => "too_large",
            Self::WriteTimeout(_) => "write_timeout",
            Self::Renewed => "renewed",
            Self::Replaced(_) => "replaced",
            Self::Silent(_) => "silent",
            Self::Stopped => "stopped",
        }
    }
}

/// An error with the errors that caused it, on one line: libraries keep the useful part in the sources.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
