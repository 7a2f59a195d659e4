//! Looking on at the raw input of a feed: for recordings.

use marketprism_socket::SocketEvent;

use super::sources::SourceMap;

/// Sees everything that a feed receives, as it came.
pub trait FrameObserver: Send + Sync {
    /// The answer to a request that was made for the instruments.
    fn answer(&self, url: &str, body: &[u8], at_ns: i64);

    /// What the sockets gave.
    fn input(&self, input: &SocketEvent, sources: &SourceMap);
}
