//! Errors, each with a label from a closed set.

use std::path::PathBuf;
use std::time::Duration;

use marketprism_adapter_host::{ResyncIndex, SourceIndex, StreamIndex};
use thiserror::Error;

use crate::counters::SocketCounter;

#[derive(Debug, Error)]
pub enum SocketError {
    #[error("invalid plan: {}", .0.join("; "))]
    Plan(Vec<String>),
    #[error("ca_file {path}: {reason}, allowed: a readable PEM file with at least one certificate")]
    CaFile { path: PathBuf, reason: String },
    #[error("invalid TLS configuration: {0}")]
    Tls(String),
    #[error("sockets need a running tokio runtime")]
    NoRuntime,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BudgetError {
    #[error("charge to budget `{budget}` is {units} units, allowed: at most {limit}")]
    TooLarge { budget: String, units: u64, limit: u32 },
    #[error("budget `{budget}` is blocked by the venue for {} ms more", .remaining.as_millis())]
    Blocked { budget: String, remaining: Duration },
    #[error("budget `{budget}` has no room for {} ms", .waited.as_millis())]
    Exhausted { budget: String, waited: Duration },
}

/// A connection was not established.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DialError {
    #[error("cannot resolve {host}: {reason}")]
    Resolve { host: String, reason: String },
    #[error("cannot connect to {target}: {reason}")]
    Tcp { target: String, reason: String },
    #[error("tls with {host} failed: {reason}")]
    Tls { host: String, reason: String },
    /// `lasting`: the same request is refused again.
    #[error("cannot connect to {target} through proxy {proxy}: {reason}")]
    Proxy { target: String, proxy: String, reason: String, lasting: bool },
}

impl DialError {
    pub(crate) fn because(mut self, text: String) -> Self {
        match &mut self {
            Self::Resolve { reason, .. }
            | Self::Tcp { reason, .. }
            | Self::Tls { reason, .. }
            | Self::Proxy { reason, .. } => *reason = text,
        }
        self
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Resolve { .. } | Self::Tcp { .. } | Self::Tls { .. } => "connect",
            Self::Proxy { .. } => "proxy",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestFailure {
    #[error("request cannot be sent: {0}")]
    Invalid(String),
    #[error(transparent)]
    Budget(#[from] BudgetError),
    #[error("no complete response within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("connection lost: {0}")]
    Transport(String),
    /// `retry_after` is the venue's header.
    #[error("status {status}: {snippet}{}", region_hint(*.status, .snippet))]
    Status { status: u16, snippet: String, retry_after: Option<Duration> },
    #[error("response is larger than {limit} bytes")]
    TooLarge { limit: usize },
}

impl RequestFailure {
    /// Every label.
    pub const LABELS: [&'static str; 12] = [
        "invalid",
        "budget",
        "timeout",
        "connect",
        "proxy",
        "transport",
        "rate_limited",
        "forbidden",
        "region_blocked",
        "venue_error",
        "refused",
        "too_large",
    ];

    /// A repeated request may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::TooLarge { .. } | Self::Budget(BudgetError::TooLarge { .. }) => false,
            Self::Dial(DialError::Proxy { lasting, .. }) => !lasting,
            Self::Budget(_) | Self::Timeout(_) | Self::Dial(_) | Self::Transport(_) => true,
            Self::Status { status, .. } => matches!(status, 408 | 418 | 425 | 429 | 500..=599),
        }
    }

    /// The venue refuses what was requested, and not this machine or its region: past trades may be older than its history.
    pub fn is_bad_request(&self) -> bool {
        matches!(self, Self::Status { status: 400, snippet, .. } if region_hint(400, snippet).is_empty())
    }

    /// Rank among the failures of several tries: an answer is more specific than none, a cause more than a timeout.
    pub(crate) const fn specificity(&self) -> u8 {
        match self {
            Self::Budget(_) => 0,
            Self::Timeout(_) => 1,
            Self::Transport(_) => 2,
            Self::Dial(DialError::Proxy { .. }) => 4,
            Self::Dial(_) => 3,
            Self::Status { .. } | Self::Invalid(_) | Self::TooLarge { .. } => 5,
        }
    }

    pub fn label(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Budget(_) => "budget",
            Self::Timeout(_) => "timeout",
            Self::Dial(error) => error.label(),
            Self::Transport(_) => "transport",
            Self::Status { status: 418 | 429, .. } => "rate_limited",
            Self::Status { status: 403, .. } => "forbidden",
            Self::Status { status: 451, .. } => "region_blocked",
            Self::Status { status: 500..=599, .. } => "venue_error",
            Self::Status { .. } => "refused",
            Self::TooLarge { .. } => "too_large",
        }
    }
}

/// Texts by which venues and their front ends refuse a region, whatever the status.
const REGION_TEXTS: [&str; 5] =
    ["restricted location", "your country", "your region", "your jurisdiction", "restricted jurisdiction"];

/// Hint for a refusal that depends on the place of this machine; empty for others.
pub(crate) fn region_hint(status: u16, answer: &str) -> &'static str {
    let answer = answer.to_ascii_lowercase();
    let is_named = REGION_TEXTS.iter().any(|text| answer.contains(text));
    match status {
        451 => {
            " (the venue does not serve this region: run this feed on an edge elsewhere, or set its proxy)"
        }
        400..=499 if is_named => {
            " (the venue does not serve this region: run this feed on an edge elsewhere, or set its proxy)"
        }
        403 => {
            " (the venue may block this region or address: if it answers elsewhere, run this feed on an edge there, or set its proxy)"
        }
        _ => "",
    }
}

/// Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CommandError {
    #[error("source {0} is not a connection of the plan")]
    UnknownSource(SourceIndex),
    #[error("resync {0} is not in the plan")]
    UnknownResync(ResyncIndex),
    #[error("the resync is already in progress")]
    InFlight,
    #[error("source {0} is not a poll of the plan")]
    NotAPoll(SourceIndex),
    #[error("too many pages in this round of the poll")]
    TooManyPages,
    #[error("the request is invalid or exceeds the plan's budgets")]
    BadRequest,
    #[error("the command queue is full")]
    QueueFull,
    #[error("the sockets are stopping")]
    Stopping,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// `code` is 1005 if the venue gave none.
    #[error("closed by the venue: {code} {text}")]
    Venue { code: u16, text: String },
    #[error("lost: {0}")]
    Lost(String),
    #[error("no data for {} ms", .0.as_millis())]
    Idle(Duration),
    #[error("protocol violation: {0}")]
    Protocol(String),
    #[error("message too large: {0}")]
    TooLarge(String),
    #[error("a message could not be written within {} ms", .0.as_millis())]
    WriteTimeout(Duration),
    #[error("renewed before its maximum age")]
    Renewed,
    #[error("replaced: {0}")]
    Replaced(String),
    #[error("replaced: stream {0} stayed silent")]
    Silent(StreamIndex),
    #[error("replaced: no event of any stream")]
    NoEvent,
    #[error("stopped")]
    Stopped,
}

impl CloseReason {
    /// A name from a closed set, for metrics: the counter's without `closed_`.
    pub fn label(&self) -> &'static str {
        let label = self.counter().label();
        label.strip_prefix("closed_").unwrap_or(label)
    }

    pub(crate) fn counter(&self) -> SocketCounter {
        match self {
            Self::Venue { .. } => SocketCounter::ClosedVenue,
            Self::Lost(_) => SocketCounter::ClosedLost,
            Self::Idle(_) => SocketCounter::ClosedIdle,
            Self::Protocol(_) => SocketCounter::ClosedProtocol,
            Self::TooLarge(_) => SocketCounter::ClosedTooLarge,
            Self::WriteTimeout(_) => SocketCounter::ClosedWriteTimeout,
            Self::Renewed => SocketCounter::ClosedRenewed,
            Self::Replaced(_) => SocketCounter::ClosedReplaced,
            Self::Silent(_) | Self::NoEvent => SocketCounter::ClosedSilent,
            Self::Stopped => SocketCounter::ClosedStopped,
        }
    }

    /// Closed by us, with or without a replacement.
    pub(crate) fn is_planned(&self) -> bool {
        matches!(self, Self::Renewed | Self::Replaced(_) | Self::Silent(_) | Self::NoEvent | Self::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, snippet: &str) -> RequestFailure {
        RequestFailure::Status { status, snippet: snippet.to_owned(), retry_after: None }
    }

    #[test]
    fn a_refusal_by_region_says_so_whatever_its_status() {
        let restricted = "Service unavailable from a restricted location according to 'b. Eligibility'";
        let cloudfront =
            "The Amazon CloudFront distribution is configured to block access from your country.";
        for (status, body) in [(451, restricted), (451, ""), (403, cloudfront), (400, restricted)] {
            let text = refusal(status, body).to_string();
            assert!(text.contains("does not serve this region"), "{text}");
        }
        assert!(refusal(403, "WAF").to_string().contains("may block this region or address"));
        for (status, body) in [(404, "no such symbol"), (429, "slow down"), (503, "your region is down")] {
            assert!(!refusal(status, body).to_string().contains("region:"), "{status}");
        }
    }

    #[test]
    fn only_a_bad_request_may_be_for_trades_from_before_the_history() {
        let regional = "Service unavailable from a restricted location";
        for (status, body) in
            [(302, ""), (401, ""), (403, "WAF"), (404, ""), (400, regional), (429, ""), (503, "")]
        {
            assert!(!refusal(status, body).is_bad_request(), "{status} {body}");
        }
        assert!(refusal(400, r#"{"code":-4166,"msg":"Search window is restricted"}"#).is_bad_request());
    }

    #[test]
    fn every_failure_has_a_label_of_the_closed_set() {
        let budget = BudgetError::Exhausted { budget: String::new(), waited: Duration::ZERO };
        let others = [
            RequestFailure::Invalid(String::new()),
            RequestFailure::Budget(budget),
            RequestFailure::Timeout(Duration::ZERO),
            RequestFailure::Dial(DialError::Tcp { target: String::new(), reason: String::new() }),
            RequestFailure::Dial(DialError::Proxy {
                target: String::new(),
                proxy: String::new(),
                reason: String::new(),
                lasting: false,
            }),
            RequestFailure::Transport(String::new()),
            RequestFailure::TooLarge { limit: 1 },
        ];
        let all = others.into_iter().chain([418, 403, 451, 500, 404].map(|status| refusal(status, "")));
        let mut labels: Vec<&str> = all.map(|failure| failure.label()).collect();
        labels.sort_unstable();
        let mut known = RequestFailure::LABELS;
        known.sort_unstable();
        assert_eq!(labels, known);
    }
}
