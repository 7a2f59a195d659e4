//! An HTTP/1 server for a router, with bounds on connections, on the wait for a request, and on the end.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::serve_connections;

/// Bounds of a server.
#[derive(Debug, Clone, Copy)]
pub struct HttpBounds {
    /// Connections at a time; more wait in the system's queue.
    pub connections: usize,
    /// Longest wait for the head of a request, also on a connection that is kept open.
    pub head: Duration,
    /// Time for running requests after the stop; they are cut then.
    pub drain: Duration,
}

/// Serves until `stop`.
pub async fn serve_http(
    listener: TcpListener,
    router: Router,
    bounds: HttpBounds,
    stop: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let mut connections = serve_connections(listener, bounds.connections, stop, |stream| {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(bounds.head);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an http connection ended");
            }
        }
    })
    .await;
    if timeout(bounds.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(open = connections.len(), "http connections are cut: they are open still");
    }
    connections.shutdown().await;
}
