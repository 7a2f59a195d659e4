//! Connections: accepting, bounding and draining them.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::handler::Service;
use super::stall::WriteTimeout;
use crate::limits::{CONNECTIONS, HEAD_WAIT, SEND_WAIT};

/// How long to wait after a failed accept: it fails when descriptors have run out, and would fail again at
/// once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` resolves, then lets running requests end for as long as `drain`, and cuts the rest.
/// Gives whether none had to be cut.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    stop: impl Future<Output = ()>,
    drain: Duration,
) -> bool {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let place = tokio::select! {
            () = &mut stop => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let stream = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _peer)) => {
                let connection = graceful.watch(connection(stream, service.clone()));
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = tokio::time::timeout(drain, graceful.shutdown()).await.is_ok();
    if !drained {
        tracing::warn!(open = connections.len(), "cutting the connections that are still open");
    }
    // Ends the requests, which stops their queries.
    connections.shutdown().await;
    drained
}

type Http = http1::Connection<TokioIo<WriteTimeout<TcpStream>>, Service>;

fn connection(stream: TcpStream, service: Service) -> Http {
    // Answers are written in few large pieces; waiting for more to send would only delay small ones.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(WriteTimeout::new(stream, SEND_WAIT));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(io, service)
}
