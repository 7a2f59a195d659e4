//! The description of a fault, the same as JSON of `POST /sim/fault` and in Rust.

use serde::{Deserialize, Serialize};

/// Names a fault that was set.
pub type FaultId = u64;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultAction {
    /// Frames are not sent.
    Drop,
    /// Frames are sent twice.
    Duplicate,
    /// A frame is sent after the next one of its stream (or after `delay_ms`, 1000 unless given).
    Reorder,
    /// Book updates are skipped, so that the venue's sequence breaks.
    Gap,
    /// No data frame is sent while the socket stays open and pings are answered. Lasts until removed or
    /// `duration_ms`.
    Freeze,
    /// Bytes that are no JSON are sent: before the frame, or instead of it with `replace`; binary with
    /// `binary`.
    Garbage,
    /// The frame's JSON is cut in the middle; the whole frame follows when `replace` is false.
    Half,
    /// Numbers become text and text numbers; the right frame follows when `replace` is false.
    WrongTypes,
    /// Snapshots are answered after `delay_ms`.
    SlowSnapshot,
    /// Snapshots show the book of `updates` changes ago.
    StaleSnapshot,
    /// REST requests are answered with `status` (429, 418, 500...) and `retry_after_s`.
    RestStatus,
    /// REST requests are never answered; the connection ends after `delay_ms` (60,000 unless given).
    RestTimeout,
    /// Connections are closed with `code` and `reason`: at once, or with the frame after `after` frames.
    Close,
    /// Connections are reset without a close frame: at once, or with the frame after `after` frames.
    Cut,
    /// As `cut`, in the middle of a websocket frame.
    HalfCut,
    /// Connections are told that they will end, in the venue's own words, and end after `delay_ms` (60,000
    /// unless given). Venues without such words keep them.
    Notice,
    /// Update numbers of books start anew from a smaller one, at once, where the venue allows that.
    RestartSequence,
    /// New connections and requests of the exchange are reset before any answer, for `duration_ms`.
    Refuse,
    /// The listener itself is down for `duration_ms`: connects are refused, control requests too.
    ListenerDown,
}

/// A fault to set. Filters that are absent match everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// What goes wrong.
    pub action: FaultAction,
    /// Exchange id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// The venue's symbol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Part of the stream's name, e.g. `@trade`, `@depth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Part of the REST path. With it, `garbage`, `half` and `wrong_types` spoil the answers of such requests
    /// instead of frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Connection number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
    /// Matching frames or requests that pass before it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// How often it happens. 1 unless given, but unlimited for `freeze`, `refuse`, `listener_down`, for
    /// anything with `duration_ms`, and for a `close`, `cut` or `notice` at once (then: all matching
    /// connections).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How long it lasts from now, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Delay of the answer, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// HTTP status of `rest_status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `Retry-After` header of `rest_status`, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// Close code, 1011 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Close reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the spoiled frame takes the place of the right one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
    /// Whether garbage is a binary frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<bool>,
    /// How many changes a stale snapshot lies behind, 100 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<u64>,
}

/// Why a fault was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// A field the action needs is absent or out of range.
    #[error("field {field}: {got}, allowed: {allowed}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What was given.
        got: String,
        /// What would have been right.
        allowed: &'static str,
    },
    /// No exchange of this name is played.
    #[error("field exchange: {0} is not played by this simulator")]
    UnknownExchange(String),
}

/// A fault that was set, and what it did so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultStatus {
    /// Its id.
    pub id: FaultId,
    /// How often it happened.
    pub fired: u64,
    /// Whether it can still happen.
    pub active: bool,
    /// What was asked for.
    pub spec: FaultSpec,
}

impl FaultSpec {
    /// A fault without filters.
    #[must_use]
    pub fn new(action: FaultAction) -> FaultSpec {
        FaultSpec {
            action,
            exchange: None,
            symbol: None,
            stream: None,
            path: None,
            connection: None,
            after: None,
            count: None,
            duration_ms: None,
            delay_ms: None,
            status: None,
            retry_after_s: None,
            code: None,
            reason: None,
            replace: None,
            binary: None,
            updates: None,
        }
    }

    /// Limits the fault to an exchange.
    #[must_use]
    pub fn exchange(mut self, exchange: &str) -> FaultSpec {
        self.exchange = Some(exchange.to_owned());
        self
    }

    /// Limits the fault to a symbol.
    #[must_use]
    pub fn symbol(mut self, symbol: &str) -> FaultSpec {
        self.symbol = Some(symbol.to_owned());
        self
    }

    /// Limits the fault to streams whose name contains this.
    #[must_use]
    pub fn stream(mut self, stream: &str) -> FaultSpec {
        self.stream = Some(stream.to_owned());
        self
    }

    /// Limits the fault to one connection.
    #[must_use]
    pub fn connection(mut self, connection: u64) -> FaultSpec {
        self.connection = Some(connection);
        self
    }

    /// Sets how often it happens.
    #[must_use]
    pub fn count(mut self, count: u64) -> FaultSpec {
        self.count = Some(count);
        self
    }

    /// Lets this many matching frames pass first.
    #[must_use]
    pub fn after(mut self, frames: u64) -> FaultSpec {
        self.after = Some(frames);
        self
    }

    /// Sets how long it lasts.
    #[must_use]
    pub fn duration_ms(mut self, ms: u64) -> FaultSpec {
        self.duration_ms = Some(ms);
        self
    }

    /// Refuses what the action cannot be done with.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn validate(&self) -> Result<(), FaultError> {
        let field = |field, got: String, allowed| Err(FaultError::Field { field, got, allowed });
        match self.action {
            FaultAction::RestStatus if !self.status.is_some_and(|s| (400..600).contains(&s)) => {
                field("status", self.status.map_or("absent".into(), |s| s.to_string()), "400 to 599")
            }
            FaultAction::SlowSnapshot if self.delay_ms.is_none() => {
                field("delay_ms", "absent".into(), "milliseconds")
            }
            FaultAction::Refuse | FaultAction::ListenerDown if self.duration_ms.is_none() => {
                field("duration_ms", "absent".into(), "milliseconds")
            }
            FaultAction::Close if self.code.is_some_and(|c| !(1000..5000).contains(&c)) => {
                field("code", self.code.map_or(String::new(), |c| c.to_string()), "1000 to 4999")
            }
            _ => Ok(()),
        }
    }

    /// How often it may happen.
    pub(super) fn times(&self) -> u64 {
        let lasting =
            matches!(self.action, FaultAction::Freeze | FaultAction::Refuse | FaultAction::ListenerDown);
        match self.count {
            Some(count) => count,
            None if lasting || self.duration_ms.is_some() || self.is_immediate() => u64::MAX,
            None => 1,
        }
    }

    /// Whether it is done once, when it is set.
    pub(super) fn is_immediate(&self) -> bool {
        match self.action {
            FaultAction::Close | FaultAction::Cut | FaultAction::HalfCut => self.after.is_none(),
            FaultAction::Notice | FaultAction::RestartSequence => true,
            _ => false,
        }
    }
}
