//! Sees what a feed receives.

use bytes::Bytes;
use marketprism_adapter_host::Adapter;
use marketprism_socket::SocketEvent;

use super::sources::SourceMap;

pub trait FrameObserver: Send + Sync {
    /// Answer of a request for instruments.
    fn answer(&self, url: &str, body: &Bytes, at_ns: i64);

    fn event(&self, event: &SocketEvent, sources: &SourceMap);

    /// This adapter normalizes what follows.
    fn adapter(&self, _adapter: &Adapter, _at_ns: i64) {}
}
