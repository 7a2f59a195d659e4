//! An HTTP/1 server for a router, with bounds on connections, on the wait for a request, and on the end; optionally with TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::tls::{read_certificates, read_key};
use crate::{HostRule, serve_connections};

/// Bytes of a connection's buffer, which the head of a request must fit into. Larger: the request is refused with 431.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Bounds of a server.
#[derive(Debug, Clone, Copy)]
pub struct HttpBounds {
    /// Connections at a time; more wait in the system's queue.
    pub connections: usize,
    /// Longest wait for the head of a request, also on a connection that is kept open, and for a TLS handshake.
    pub head: Duration,
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
    pub tls: Option<TlsAcceptor>,
}

/// Reads a certificate chain and its key. Later changes of the files need a restart.
pub fn tls_acceptor(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let (chain, secret) = (read_certificates(certificate)?, read_key(key)?);
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .with_context(|| format!("{} and {}", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until `stop`.
pub async fn serve_http(
    listener: HttpListener,
    router: Router,
    bounds: HttpBounds,
    stop: impl Future<Output = ()>,
) {
    let HttpListener { listener, hosts, tls } = listener;
    let router = router.layer(from_fn_with_state(Arc::new(hosts), check_host));
    let graceful = GracefulShutdown::new();
    let mut connections = serve_connections(listener, bounds.connections, stop, |stream| {
        let (router, tls, watcher) = (router.clone(), tls.clone(), graceful.watcher());
        async move {
            let Some(stream) = secured(stream, tls, bounds.head).await else { return };
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
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    limit: Duration,
) -> Option<Box<dyn HttpStream>> {
    let Some(tls) = tls else { return Some(Box::new(stream)) };
    match timeout(limit, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_elapsed) => None,
    }
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
