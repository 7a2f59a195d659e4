//! One frame, encoded once and shared by every connection that gets it.

use std::sync::{Arc, OnceLock};

use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::ledger::LedgerEntry;

#[derive(Debug)]
pub struct Frame {
    pub stream: Arc<str>,
    pub book: bool,
    pub carries: Vec<LedgerEntry>,
    raw: Utf8Bytes,
    wrapped: OnceLock<Utf8Bytes>,
}

impl Frame {
    pub fn new(stream: Arc<str>, book: bool, carries: Vec<LedgerEntry>, raw: String) -> Frame {
        Frame { stream, book, carries, raw: Utf8Bytes::from(raw), wrapped: OnceLock::new() }
    }

    pub fn raw(&self) -> &Utf8Bytes {
        &self.raw
    }

    /// The frame wrapped with its stream's name, cached.
    pub fn wrapped(&self, wrap: impl FnOnce(&str, &str) -> String) -> &Utf8Bytes {
        self.wrapped.get_or_init(|| Utf8Bytes::from(wrap(&self.stream, &self.raw)))
    }
}
