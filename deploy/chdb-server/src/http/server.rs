//! Accepts, bounds and drains connections. Writes fail when the peer reads nothing for too long: a stopped reader would block its query forever.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use marketprism_service::serve_connections;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

use super::handler::{ConnectionService, Service};
use super::head::{CheckedHeads, HeadReader};
use super::places::Places;
use super::refusals::RefusalReason;
use crate::limits::{CONNECTIONS, EVICTED_CONNECTIONS, HEAD_WAIT, HEADERS, SEND_WAIT};

/// Serves until `stop` resolves, then gives running requests `drain` to end and closes the rest. Returns
/// true if none had to be closed.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    stop: impl Future<Output = ()>,
    drain: Duration,
) -> bool {
    let graceful = GracefulShutdown::new();
    let places = Places::new(CONNECTIONS);
    // An evicted connection takes a moment to end.
    let most = CONNECTIONS + EVICTED_CONNECTIONS;
    let mut connections = serve_connections(listener, most, stop, |stream| {
        let place = places.enter();
        let heads = CheckedHeads::default();
        let answering = service.at(Arc::clone(&place), heads.clone());
        let connection = graceful.watch(connection(stream, heads, answering));
        let service = service.clone();
        async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    if error.is_timeout() {
                        service.count(RefusalReason::HeadTimeout);
                    }
                    tracing::debug!(%error, "connection ended");
                },
                () = place.evicted() => {}
            }
        }
    })
    .await;
    let drained = tokio::time::timeout(drain, graceful.shutdown()).await.is_ok();
    if !drained {
        tracing::warn!(open = connections.len(), "closing connections that are still open");
    }
    // Ends the requests, which cancels their queries.
    connections.shutdown().await;
    drained
}

type Http = http1::Connection<TokioIo<HeadReader<WriteTimeout<TcpStream>>>, ConnectionService>;

fn connection(stream: TcpStream, heads: CheckedHeads, service: ConnectionService) -> Http {
    let io = TokioIo::new(HeadReader::new(WriteTimeout::new(stream, SEND_WAIT), heads));
    http1::Builder::new()
        .max_headers(HEADERS)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(io, service)
}

pub struct WriteTimeout<S> {
    inner: S,
    limit: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    pub fn new(inner: S, limit: Duration) -> Self {
        WriteTimeout { inner, limit, waiting: None }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, result: Poll<Result<T>>) -> Poll<Result<T>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(waiting.as_mut().poll(cx));
        waiting.as_mut().reset(Instant::now() + limit);
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client does not read its response")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let result = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::WriteTimeout;

    #[tokio::test]
    async fn a_stopped_reader_fails_the_write_and_a_slow_one_does_not() {
        let (near, mut far) = duplex(8);
        let mut near = WriteTimeout::new(near, Duration::from_millis(400));
        let reading = async {
            let mut byte = [0];
            for _ in 0..12 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                far.read_exact(&mut byte).await.unwrap();
            }
            far
        };
        let (written, _far) = tokio::join!(near.write_all(&[7; 20]), reading);
        written.unwrap();
        let error = near.write_all(&[7; 20]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }
}
