//! What the pipeline receives.

use bytes::Bytes;
use marketprism_adapter_host::contract::DataType;

use crate::error::{CloseReason, RequestFailure};

/// Bytes of a venue: a websocket message or the body of an answer.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Where it came from: connections first, then polls, then resyncs of the plan.
    pub source: u32,
    /// Which life of the connection, counted from 1; 0 for polls and resyncs.
    pub generation: u64,
    /// When it was read, nanoseconds since 1970.
    pub received_at_ns: i64,
    /// The message itself. Text messages are valid UTF-8.
    pub data: Bytes,
}

/// Why a stream may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceHint {
    /// It delivered since it was subscribed, then stopped.
    WentQuiet,
    /// It never delivered since it was subscribed on this connection: the stream's name or the connection's
    /// route may be wrong. Venues are known to confirm a subscription on a wrong route and then to send
    /// nothing.
    NeverSeen,
}

/// What the pipeline receives, in order per source.
#[derive(Debug, Clone)]
pub enum Input {
    /// Data.
    Frame(Frame),
    /// A connection stands; its opening messages follow.
    Opened {
        /// The connection.
        source: u32,
        /// Its new generation.
        generation: u64,
        /// The URL it was opened with.
        url: String,
        /// When, nanoseconds since 1970.
        at_ns: i64,
    },
    /// A generation ended. No frame of it follows.
    Closed {
        /// The connection.
        source: u32,
        /// The generation that ended.
        generation: u64,
        /// Why.
        reason: CloseReason,
        /// When, nanoseconds since 1970.
        at_ns: i64,
        /// Another generation of the connection has sent all its opening messages and receives data: nothing
        /// is lost.
        overlap: bool,
    },
    /// A text was sent. Only with [`crate::SocketOptions::report_sent`].
    Sent {
        /// The connection.
        source: u32,
        /// The generation it was sent on.
        generation: u64,
        /// The text.
        text: String,
        /// When, nanoseconds since 1970.
        at_ns: i64,
    },
    /// A URL was asked; the frame with its answer follows at once. Only with
    /// [`crate::SocketOptions::report_sent`].
    Asked {
        /// The poll or resync.
        source: u32,
        /// With the window's parameters; that of the page where it is a further one.
        url: String,
        /// When the answer was complete, nanoseconds since 1970.
        at_ns: i64,
    },
    /// A stream exceeded its expected silence. Once per episode.
    Silent {
        /// The connection.
        source: u32,
        /// Position in the connection's streams.
        stream: u32,
        /// As in the plan.
        data_type: DataType,
        /// As in the plan.
        instrument: Option<u32>,
        /// The connection's name in the plan.
        connection: String,
        /// Its URL: the route that may be the wrong one.
        url: String,
        /// How long it has been silent.
        silence_ms: u64,
        /// What kind of silence it is.
        hint: SilenceHint,
    },
    /// A request was given up for now. Polls go on with their schedule; a resync must be asked for again.
    RequestFailed {
        /// The poll or resync.
        source: u32,
        /// Why.
        reason: RequestFailure,
        /// When, nanoseconds since 1970.
        at_ns: i64,
    },
}
