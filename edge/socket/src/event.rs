//! Events from the sockets to the pipeline, in order per source.

use bytes::Bytes;
use marketprism_adapter_host::contract::DataType;
use marketprism_adapter_host::{InstrumentIndex, SourceIndex, StreamIndex};

use crate::error::{CloseReason, RequestFailure};

#[derive(Debug, Clone)]
pub struct ReceivedFrame {
    pub source: SourceIndex,
    /// Counts from 1 per connection; 0 for polls and resyncs.
    pub generation: u64,
    /// Nanoseconds since 1970.
    pub received_at_ns: i64,
    /// Time by which the venue could answer the last opening message: as long after it as the connection took to open. Every stream of the
    /// connection flows from then on, and from the frame itself if it came later. `None`: an opening message waits for the message limit.
    pub subscribed_at_ns: Option<i64>,
    pub data: Bytes,
}

/// Bytes of an event besides its data and texts.
const BOOKKEEPING: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceHint {
    /// It delivered since its subscription.
    WentQuiet,
    /// It never delivered on this connection: its name or the route may be wrong. Venues confirm
    /// subscriptions on a wrong route.
    NeverSeen,
}

#[derive(Debug, Clone)]
pub enum SocketEvent {
    Frame(ReceivedFrame),
    /// Followed by the opening messages.
    Opened {
        source: SourceIndex,
        generation: u64,
        url: String,
        at_ns: i64,
    },
    /// No frame of the generation follows. With `overlap` another one is subscribed and receives data, so
    /// nothing is lost.
    Closed {
        source: SourceIndex,
        generation: u64,
        reason: CloseReason,
        at_ns: i64,
        overlap: bool,
        /// Another one is subscribed and has brought frames, but no event, while this one brought some.
        is_late: bool,
    },
    /// Only with [`crate::SocketOptions::report_sent`].
    Sent {
        source: SourceIndex,
        generation: u64,
        text: String,
        at_ns: i64,
    },
    /// The answer follows as the next frame of `source`; `url` includes window parameters. Only with
    /// [`crate::SocketOptions::report_sent`].
    Requested {
        source: SourceIndex,
        url: String,
        at_ns: i64,
    },
    /// Once per episode.
    Silent {
        source: SourceIndex,
        stream: StreamIndex,
        data_type: DataType,
        instrument: Option<InstrumentIndex>,
        connection: String,
        url: String,
        silence_ms: u64,
        hint: SilenceHint,
        /// Time of the look. Frames of the stream may have waited in the queue then.
        at_ns: i64,
    },
    /// Polls continue on schedule; a resync must be requested again.
    RequestFailed {
        source: SourceIndex,
        reason: RequestFailure,
        at_ns: i64,
    },
}

impl SocketEvent {
    /// Bytes that count against the bound of the queue.
    pub(crate) fn size(&self) -> usize {
        let content = match self {
            Self::Frame(frame) => frame.data.len(),
            Self::Opened { url, .. } | Self::Requested { url, .. } => url.len(),
            Self::Sent { text, .. } => text.len(),
            Self::Silent { connection, url, .. } => connection.len() + url.len(),
            Self::Closed { .. } | Self::RequestFailed { .. } => 0,
        };
        content.saturating_add(BOOKKEEPING)
    }
}
