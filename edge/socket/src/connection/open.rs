//! Opens a websocket on a dialled connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use marketprism_adapter_host::contract::Connection;
use marketprism_service::{error_text, mask};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WebsocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::header::USER_AGENT;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::sync::PollSemaphore;
use url::Url;

use crate::dial::{Dialer, Transport, late};
use crate::error::{BudgetError, DialError, region_hint};
use crate::limits::{LARGE_MESSAGE_BYTES, WRITE_BUFFER_BYTES_MAX};
use crate::options::SocketOptions;
use crate::rest::{refusal_text, retry_after};

pub(crate) type Socket = WebSocketStream<WatchedTransport>;

#[derive(Debug, Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("websocket handshake with {host} failed: {reason}")]
    Handshake { host: String, reason: String },
    #[error("websocket handshake with {host} refused: status {status}: {snippet}{}", region_hint(*.status, .snippet))]
    Refused { host: String, status: u16, snippet: String, retry_after: Option<Duration> },
    #[error("no budget to connect: {0}")]
    Budget(#[from] BudgetError),
}

/// The caller has reserved the charges.
pub(crate) async fn open(
    connection: &Connection,
    dialer: &Dialer,
    options: &SocketOptions,
    large_messages: &Arc<Semaphore>,
) -> Result<Socket, OpenError> {
    let bad = |reason: String| OpenError::Handshake { host: mask(&connection.url).into_owned(), reason };
    let url = Url::parse(&connection.url).map_err(|error| bad(error.to_string()))?;
    let request = handshake_request(connection, options).map_err(bad)?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let config = WebSocketConfig::default()
        .max_message_size(Some(options.max_frame_bytes))
        .max_frame_size(Some(options.max_frame_bytes))
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX);
    let transport = WatchedTransport::new(dialer.dial(&url).await?, Arc::clone(large_messages));
    let handshake = tokio_tungstenite::client_async_with_config(request, transport, Some(config));
    match timeout(options.handshake_timeout, handshake).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(refused(host, error)),
        Err(_) => Err(OpenError::Handshake { host, reason: late(options.handshake_timeout) }),
    }
}

fn handshake_request(connection: &Connection, options: &SocketOptions) -> Result<Request, String> {
    let mut request = connection.url.as_str().into_client_request().map_err(|error| error_text(&error))?;
    let agent = HeaderValue::from_str(&options.user_agent)
        .map_err(|_| format!("user agent `{}`", options.user_agent))?;
    request.headers_mut().insert(USER_AGENT, agent);
    for (name, value) in &connection.headers {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
        let (parsed, value) = parsed.ok_or_else(|| format!("header `{name}: {value}`"))?;
        request.headers_mut().insert(parsed, value);
    }
    Ok(request)
}

fn refused(host: String, error: WebsocketError) -> OpenError {
    match error {
        WebsocketError::Http(answer) => {
            let body = answer.body().as_deref().unwrap_or_default();
            let snippet = body.get(..crate::limits::SNIPPET_BYTES.min(body.len())).unwrap_or_default();
            OpenError::Refused {
                host,
                status: answer.status().as_u16(),
                snippet: refusal_text(answer.status(), answer.headers(), snippet),
                retry_after: retry_after(answer.headers(), SystemTime::now()),
            }
        }
        other => OpenError::Handshake { host, reason: error_text(&other) },
    }
}

/// A transport that knows when it was active, and that reads on in a large message only with a slot of the feed.
pub(crate) struct WatchedTransport {
    transport: Box<dyn Transport>,
    last_byte: Instant,
    /// Since when nothing can be written although something waits.
    blocked_since: Option<Instant>,
    /// Bytes of the message that is being read, and of messages behind it.
    partial: usize,
    since_data: usize,
    slots: PollSemaphore,
    slot: Option<OwnedSemaphorePermit>,
    waits_for_slot: bool,
}

impl WatchedTransport {
    pub(crate) fn new(transport: Box<dyn Transport>, large_messages: Arc<Semaphore>) -> Self {
        Self {
            transport,
            last_byte: Instant::now(),
            blocked_since: None,
            partial: 0,
            since_data: 0,
            slots: PollSemaphore::new(large_messages),
            slot: None,
            waits_for_slot: false,
        }
    }

    /// Waiting for a slot is not the venue's silence.
    pub(crate) fn last_byte(&self) -> Instant {
        if self.waits_for_slot { Instant::now() } else { self.last_byte }
    }

    pub(crate) fn blocked_for(&self) -> Duration {
        self.blocked_since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// A control frame was read; it may be between the fragments of a message.
    pub(crate) fn control_read(&mut self, payload: usize) {
        self.partial = self.partial.saturating_sub(payload + 2);
    }

    /// A data message is complete. Returns the bytes read since the one before.
    pub(crate) fn data_read(&mut self) -> usize {
        self.partial = 0;
        std::mem::take(&mut self.since_data)
    }

    /// The message was delivered, or discarded.
    pub(crate) fn release_slot(&mut self) {
        self.slot = None;
    }

    fn poll_slot(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.partial < LARGE_MESSAGE_BYTES || self.slot.is_some() {
            return Poll::Ready(());
        }
        let polled = self.slots.poll_acquire(cx);
        self.waits_for_slot = polled.is_pending();
        polled.map(|slot| {
            self.last_byte = Instant::now();
            self.slot = slot;
        })
    }
}

impl AsyncRead for WatchedTransport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.poll_slot(cx).is_pending() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.transport).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.last_byte = Instant::now();
            self.partial += bytes;
            self.since_data += bytes;
        }
        read
    }
}

impl AsyncWrite for WatchedTransport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write(cx, buf);
        match written {
            Poll::Pending => {
                self.blocked_since.get_or_insert_with(Instant::now);
            }
            Poll::Ready(_) => self.blocked_since = None,
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
