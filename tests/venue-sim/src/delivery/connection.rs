//! A WebSocket connection: its queue, subscriptions and end.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::Serialize;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

use super::socket::SocketSwitch;
use crate::frame::Frame;

#[derive(Debug, Clone)]
pub enum Out {
    Frame(Arc<Frame>),
    /// For this connection alone: a corrupted frame, or a notice.
    Text(Utf8Bytes),
    Binary(Bytes),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Close(u16, String),
    Cut,
    HalfCut,
    Overflow,
}

#[derive(Debug)]
pub struct Connection {
    pub id: u64,
    pub route: &'static str,
    pub peer: SocketAddr,
    /// When it was opened, ms since 1970 UTC.
    pub opened_ms: i64,
    pub combined: AtomicBool,
    pub frames_sent: AtomicU64,
    queue: mpsc::Sender<Out>,
    subscriptions: Mutex<BTreeSet<String>>,
    ending: OnceLock<End>,
    retires: OnceLock<Instant>,
    wake: Notify,
    switch: Arc<SocketSwitch>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionView {
    pub id: u64,
    pub exchange: String,
    pub route: &'static str,
    pub peer: SocketAddr,
    /// When it was opened, ms since 1970 UTC.
    pub opened_ms: i64,
    pub frames_sent: u64,
    pub subscriptions: BTreeSet<String>,
}

impl Connection {
    /// With the receiver of its queue of `capacity` frames.
    pub fn new(
        id: u64,
        (route, combined): (&'static str, bool),
        peer: SocketAddr,
        switch: Arc<SocketSwitch>,
        capacity: usize,
    ) -> (Arc<Connection>, mpsc::Receiver<Out>) {
        let (queue, receiver) = mpsc::channel(capacity.max(1));
        let connection = Connection {
            id,
            route,
            peer,
            opened_ms: crate::clock::now_ms(),
            combined: AtomicBool::new(combined),
            frames_sent: AtomicU64::new(0),
            queue,
            subscriptions: Mutex::new(BTreeSet::new()),
            ending: OnceLock::new(),
            retires: OnceLock::new(),
            wake: Notify::new(),
            switch,
        };
        (Arc::new(connection), receiver)
    }

    /// Queues a frame; false when the connection has ended. A full queue ends it.
    pub fn offer(&self, out: Out) -> bool {
        if self.ending.get().is_some() {
            return false;
        }
        match self.queue.try_send(out) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.end(End::Overflow);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    pub fn end(&self, end: End) -> bool {
        if matches!(end, End::Cut | End::HalfCut) {
            self.switch.reset_on_drop();
        }
        let first = self.ending.set(end).is_ok();
        self.wake.notify_one();
        first
    }

    /// Sends a notice, and ends the connection later; true for the first notice.
    pub fn retire(&self, notice: String, after: Duration) -> bool {
        let first = self.retires.set(Instant::now() + after).is_ok();
        // Sending it wakes the session, which then knows when to end.
        first && self.offer(Out::Text(Utf8Bytes::from(notice)))
    }

    pub fn retires_at(&self) -> Option<Instant> {
        self.retires.get().copied()
    }

    pub fn ending(&self) -> Option<&End> {
        self.ending.get()
    }

    pub async fn ended(&self) {
        loop {
            let woken = self.wake.notified();
            if self.ending.get().is_some() {
                return;
            }
            woken.await;
        }
    }

    pub fn with_subscriptions<T>(&self, work: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        work(&mut self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn view(&self, exchange: &str) -> ConnectionView {
        ConnectionView {
            id: self.id,
            exchange: exchange.to_owned(),
            route: self.route,
            peer: self.peer,
            opened_ms: self.opened_ms,
            frames_sent: self.frames_sent.load(Ordering::Relaxed),
            subscriptions: self.with_subscriptions(|names| names.clone()),
        }
    }
}
