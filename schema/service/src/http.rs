//! An HTTP/1 server for a router, with bounds on connections, heads, waits for requests and for readers, and on the end; optionally with TLS.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::{HostRule, ServerTls, WriteTimeout, serve_connections};

/// Bytes of a connection's buffer, which the head of a request must fit into. Larger: the request is refused with 431.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Bounds of a server.
#[derive(Debug, Clone, Copy)]
pub struct HttpBounds {
    /// Connections at a time; more wait in the system's queue.
    pub connections: usize,
    /// Longest wait for the head of a request, also on a connection that is kept open, and for a TLS handshake.
    pub head: Duration,
    /// Largest body of a request that a handler reads. Larger: the request is refused with 413.
    pub body: usize,
    /// Longest answer, the wait for the body of its request included. Passed: 503.
    pub request: Duration,
    /// Longest time in which a client reads nothing of its response; then its connection is closed.
    pub write: Duration,
    /// Time for running requests after the stop; they are cut then.
    pub drain: Duration,
}

/// A bound address with what its clients must fulfil.
pub struct HttpListener {
    /// The socket.
    pub listener: TcpListener,
    /// Names under which it answers.
    pub hosts: HostRule,
    /// HTTPS only, if given.
    pub tls: Option<Arc<ServerTls>>,
}

/// Serves until `stop`.
pub async fn serve_http(
    listener: HttpListener,
    router: Router,
    bounds: HttpBounds,
    stop: impl Future<Output = ()>,
) {
    let HttpListener { listener, hosts, tls } = listener;
    let router = router
        .layer(from_fn_with_state(bounds.request, within_time))
        .layer(DefaultBodyLimit::max(bounds.body))
        .layer(from_fn_with_state(Arc::new(hosts), check_host));
    let graceful = GracefulShutdown::new();
    let mut connections = serve_connections(listener, bounds.connections, stop, |stream| {
        let (router, tls, watcher) = (router.clone(), tls.clone(), graceful.watcher());
        async move {
            let stream = WriteTimeout::new(stream, bounds.write);
            let Some(stream) = secured(stream, tls.as_ref(), bounds.head).await else { return };
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(bounds.head).max_buf_size(BUFFER_BYTES_MAX);
            let service = TowerToHyperService::new(router);
            let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service));
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

trait HttpStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> HttpStream for T {}

async fn secured(
    stream: WriteTimeout<TcpStream>,
    tls: Option<&Arc<ServerTls>>,
    limit: Duration,
) -> Option<Box<dyn HttpStream>> {
    let Some(tls) = tls else { return Some(Box::new(stream)) };
    let handshake = async { tls.acceptor().await.accept(stream).await };
    match timeout(limit, handshake).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_elapsed) => None,
    }
}

async fn within_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    timeout(limit, next.run(request)).await.unwrap_or_else(|_elapsed| {
        let json = format!("{{\"error\":\"no answer within {limit:?}\"}}");
        (StatusCode::SERVICE_UNAVAILABLE, [(header::CONTENT_TYPE, "application/json")], json).into_response()
    })
}

async fn check_host(State(hosts): State<Arc<HostRule>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    if hosts.permits(host) {
        return next.run(request).await;
    }
    let host = host.unwrap_or_default();
    let text =
        format!("host {host:?} is no name of this listener; list it in http.allowed_hosts to allow it\n");
    (StatusCode::FORBIDDEN, text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    struct Served {
        address: std::net::SocketAddr,
        stop: Option<tokio::sync::oneshot::Sender<()>>,
        server: tokio::task::JoinHandle<()>,
    }

    /// A server that answers a body with its length, and `/large` with more than sockets hold.
    async fn served(bounds: HttpBounds) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/length", post(|body: String| async move { body.len().to_string() }))
            .route("/large", get(|| async { vec![b'x'; 64 << 20] }));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let listener = HttpListener { listener, hosts: HostRule::new(address, &[]), tls: None };
        let server = tokio::spawn(serve_http(listener, router, bounds, async { drop(stopped.await) }));
        Served { address, stop: Some(stop), server }
    }

    impl Served {
        async fn send(&self, text: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            // A refusal may close the connection before all is written.
            let _ = stream.write_all(text.as_bytes()).await;
            stream
        }

        /// The answer up to the end of the connection.
        async fn answer(&self, mut stream: TcpStream) -> String {
            let mut bytes = Vec::new();
            // A reset is an end too.
            let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection is kept");
            String::from_utf8_lossy(&bytes).into_owned()
        }

        async fn stop(mut self) {
            self.stop.take();
            timeout(PATIENCE, self.server).await.expect("a connection holds the server up").unwrap();
        }
    }

    const HEAD: &str = "Host: localhost\r\nConnection: close\r\n";

    fn bounds() -> HttpBounds {
        let short = Duration::from_secs(1);
        HttpBounds { connections: 4, head: short, body: 1_000, request: short, write: short, drain: short }
    }

    #[tokio::test]
    async fn clients_that_send_slowly_lose_their_places_to_those_that_do_not() {
        let served = served(bounds()).await;
        // All places, by heads that never end.
        let slow =
            [served.send("G").await, served.send("GET / HTTP/1.1\r\nA: ").await, served.send("").await];
        let body = served.send(&format!("POST /length HTTP/1.1\r\n{HEAD}Content-Length: 10\r\n\r\nx")).await;
        let honest =
            served.send(&format!("POST /length HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\nab")).await;
        let answer = served.answer(honest).await;
        assert!(answer.ends_with("\r\n\r\n2"), "{answer}");
        let answer = served.answer(body).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("no answer within 1s"), "{answer}");
        for stream in slow {
            let answer = served.answer(stream).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        }
        served.stop().await;
    }

    #[tokio::test]
    async fn large_heads_and_bodies_are_refused() {
        let served = served(HttpBounds { request: PATIENCE, head: PATIENCE, ..bounds() }).await;
        let filler = "x".repeat(4 * BUFFER_BYTES_MAX);
        let head = served.send(&format!("GET /length HTTP/1.1\r\n{HEAD}A: {filler}\r\n\r\n")).await;
        let answer = served.answer(head).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        let body =
            format!("POST /length HTTP/1.1\r\n{HEAD}Content-Length: 1001\r\n\r\n{}", "x".repeat(1_001));
        let answer = served.answer(served.send(&body).await).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        served.stop().await;
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_loses_its_place() {
        let served = served(HttpBounds { connections: 1, ..bounds() }).await;
        let deaf = served.send(&format!("GET /large HTTP/1.1\r\n{HEAD}\r\n")).await;
        let honest =
            served.send(&format!("POST /length HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\nab")).await;
        let answer = served.answer(honest).await;
        assert!(answer.ends_with("\r\n\r\n2"), "{answer}");
        drop(deaf);
        served.stop().await;
    }
}
