//! Accepts, bounds and drains connections.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use marketprism_service::{WriteTimeout, serve_connections};
use tokio::net::{TcpListener, TcpStream};

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
