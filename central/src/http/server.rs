//! The listener.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{coverage, health};
use crate::clock;
use crate::ingest::Shared;

/// Takes the address.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| format!("http.listen: cannot listen at {listen}"))
}

/// Serves until told to stop.
pub async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/health", get(serve_health))
        .route("/ready", get(serve_ready))
        .route("/metrics", get(serve_metrics))
        .route("/coverage", get(serve_coverage))
        .with_state(shared);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { shutdown.cancelled().await })
        .await
        .context("the http listener broke")
}

async fn serve_health(State(shared): State<Arc<Shared>>) -> Response {
    let age = shared.status.started.elapsed();
    let (status, body) = health::health(&shared.status.reasons(), age, shared.config.http.health_grace);
    (status, Json(body)).into_response()
}

async fn serve_ready(State(shared): State<Arc<Shared>>) -> Response {
    let (status, body) = health::ready(&shared.status.reasons());
    (status, Json(body)).into_response()
}

async fn serve_coverage(State(shared): State<Arc<Shared>>) -> Response {
    Json(coverage::report(&shared.coverage.rows(), clock::now_ns())).into_response()
}

async fn serve_metrics(State(shared): State<Arc<Shared>>) -> Response {
    match shared.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
