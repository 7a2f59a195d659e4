//! Accepts, bounds and drains connections.

use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use marketprism_service::serve_connections;
use tokio::net::{TcpListener, TcpStream};

use super::handler::Service;
use super::write_timeout::WriteTimeout;
use crate::limits::{CONNECTIONS, HEAD_WAIT, SEND_WAIT};

/// Serves until `stop` resolves, then gives running requests `drain` to end and closes the rest. Returns
/// true if none had to be closed.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    stop: impl Future<Output = ()>,
    drain: Duration,
) -> bool {
    let graceful = GracefulShutdown::new();
    let mut connections = serve_connections(listener, CONNECTIONS, stop, |stream| {
        let connection = graceful.watch(connection(stream, service.clone()));
        async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
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

type Http = http1::Connection<TokioIo<WriteTimeout<TcpStream>>, Service>;

fn connection(stream: TcpStream, service: Service) -> Http {
    let io = TokioIo::new(WriteTimeout::new(stream, SEND_WAIT));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(io, service)
}
