//! Access to the raw input of a feed, for recordings.

use marketprism_socket::SocketEvent;

use super::sources::SourceMap;

pub trait FrameObserver: Send + Sync {
    /// The answer to an instrument request.
    fn answer(&self, url: &str, body: &[u8], at_ns: i64);

    fn event(&self, event: &SocketEvent, sources: &SourceMap);
}
