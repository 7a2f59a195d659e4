//! Hands a pipeline's frames to the raw frames of its exchange.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use marketprism_adapter_host::Adapter;
use marketprism_socket::SocketEvent;

use super::observer::FrameObserver;
use super::sources::SourceMap;
use crate::config::FeedConfig;
use crate::raw::{AdapterInUse, FrameLines, RawLine, RawOptions, RawStore, RawStores};

pub(super) struct RawTap {
    store: Arc<RawStore>,
    lines: Mutex<FrameLines>,
    configured: PathBuf,
    data_dir: PathBuf,
}

impl RawTap {
    pub(super) fn new(stores: &RawStores, data_dir: &Path, config: &FeedConfig) -> Self {
        let (max_bytes, max_age) = (config.raw.max_bytes, config.raw.max_age);
        let options = RawOptions { max_bytes, max_age, segment_bytes: config.raw.segment_bytes };
        Self {
            store: stores.open(&config.exchange, options),
            lines: Mutex::default(),
            configured: config.adapter.clone(),
            data_dir: data_dir.to_owned(),
        }
    }
}

impl FrameObserver for RawTap {
    fn answer(&self, url: &str, body: &Bytes, at_ns: i64) {
        self.store.push_state(RawLine::answer(url, body, at_ns));
    }

    fn event(&self, event: &SocketEvent, sources: &SourceMap) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let url_of = |source| sources.url(source).map(str::to_owned);
        let Some(line) = lines.line(event, url_of, || self.store.next_connection()) else { return };
        match event {
            SocketEvent::Frame(frame) if sources.is_reference(frame.source) => self.store.push_state(line),
            _ => self.store.push(line),
        }
    }

    fn adapter(&self, adapter: &Adapter, at_ns: i64) {
        let digest = adapter.digest().to_owned();
        let loaded = self.data_dir.join("adapters").join(format!("{digest}.wasm"));
        let components = vec![self.configured.clone(), loaded];
        self.store.set_adapter(AdapterInUse { id: adapter.id().to_owned(), digest, components }, at_ns);
    }
}
