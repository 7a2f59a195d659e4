//! A WebSocket connection: its frames, queue, subscriptions, socket and counters.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Duration, Instant};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

use crate::ledger::LedgerEntry;

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

#[derive(Debug, Default)]
pub struct SocketSwitch {
    reset: AtomicBool,
}

impl SocketSwitch {
    /// The socket ends with a TCP reset: unsent bytes are lost, and the peer gets an error.
    pub fn reset_on_drop(&self) {
        self.reset.store(true, Ordering::Release);
    }
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

#[derive(Debug)]
pub struct Socket {
    transport: Transport,
    switch: Arc<SocketSwitch>,
}

impl Socket {
    pub fn plain(stream: TcpStream, switch: Arc<SocketSwitch>) -> Socket {
        Socket { transport: Transport::Plain(stream), switch }
    }

    pub fn tls(stream: TlsStream<TcpStream>, switch: Arc<SocketSwitch>) -> Socket {
        Socket { transport: Transport::Tls(Box::new(stream)), switch }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.switch.reset.load(Ordering::Acquire) {
            let tcp = match &self.transport {
                Transport::Plain(stream) => stream,
                Transport::Tls(stream) => stream.get_ref().0,
            };
            // Should this fail, the socket ends in the orderly way, which is still an end.
            let _ = tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct CountersView {
            $(pub $name: u64,)*
        }

        impl Counters {
            pub fn view(&self) -> CountersView {
                CountersView { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    connections,
    /// Frames with at least one receiver.
    frames,
    /// Frames queued for a connection.
    queued,
    /// Frames taken by a socket.
    sent,
    /// Frames withheld or corrupted by a fault, per receiver.
    withheld,
    /// Connections closed because the client read too slowly.
    overflows,
    too_many_messages,
    requests,
    refused_connections,
    /// REST requests refused for their weight.
    refused_requests,
    /// Connections closed because the client did not answer, or was idle.
    unanswered,
    /// Frames not generated because the requested rate is beyond this machine.
    behind,
}

impl Counters {
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}
