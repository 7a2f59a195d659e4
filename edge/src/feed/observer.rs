//! Sees what a feed receives.

use std::sync::{Mutex, PoisonError};

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

/// Answers that were read for a change of the feeds which may still be refused: only once it is made may raw frames follow its configuration.
#[derive(Debug, Default)]
pub struct HeldAnswers(Mutex<Vec<(String, Bytes, i64)>>);

impl HeldAnswers {
    pub fn give(self, observer: &dyn FrameObserver) {
        for (url, body, at_ns) in self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            observer.answer(&url, &body, at_ns);
        }
    }
}

impl FrameObserver for HeldAnswers {
    fn answer(&self, url: &str, body: &Bytes, at_ns: i64) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push((url.to_owned(), body.clone(), at_ns));
    }

    fn event(&self, _event: &SocketEvent, _sources: &SourceMap) {}
}
