//! One frame, encoded once and shared by every connection that gets it.

use std::sync::{Arc, OnceLock};

use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::ledger::Entry;

/// A data frame of a stream.
#[derive(Debug)]
pub struct Frame {
    /// Stream name.
    pub stream: Arc<str>,
    /// Whether it is a book update.
    pub book: bool,
    /// What it carries, as the ledger knows it.
    pub carries: Vec<Entry>,
    raw: Utf8Bytes,
    wrapped: OnceLock<Utf8Bytes>,
}

impl Frame {
    /// A frame from its unwrapped text.
    #[must_use]
    pub fn new(stream: Arc<str>, book: bool, carries: Vec<Entry>, raw: String) -> Frame {
        Frame { stream, book, carries, raw: Utf8Bytes::from(raw), wrapped: OnceLock::new() }
    }

    /// The frame without its stream's name.
    #[must_use]
    pub fn raw(&self) -> &Utf8Bytes {
        &self.raw
    }

    /// The frame with its stream's name, made by `wrap` the first time.
    #[must_use]
    pub fn wrapped(&self, wrap: impl FnOnce(&str, &str) -> String) -> &Utf8Bytes {
        self.wrapped.get_or_init(|| Utf8Bytes::from(wrap(&self.stream, &self.raw)))
    }
}
