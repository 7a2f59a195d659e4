//! The two HTTP listeners: all pages and the requests that change something, and the metrics alone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::future::try_join;
use marketprism_service::{HostRule, HttpBounds, HttpListener, ServerTls, bind_when_available, serve_http};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::state::EdgeState;
use super::{adapters, coverage, metrics, pages};
use crate::config::Http;
use crate::limits::{HTTP, RELOAD_ANSWER};
use crate::reload::ReloadResult;
use crate::telemetry::Metrics;

pub struct Bound {
    main: HttpListener,
    metrics: HttpListener,
}

/// Binds both listeners, within one wait for their addresses; a port in use is an error of the start.
pub async fn bind(http: &Http) -> anyhow::Result<Bound> {
    let tls = match (&http.tls_cert_file, &http.tls_key_file) {
        (Some(certificate), Some(key)) => {
            Some(Arc::new(ServerTls::load(certificate, key).context("http.tls_cert_file")?))
        }
        _ => None,
    };
    let one = async |key: &str, address: SocketAddr| {
        let listener = bind_when_available(address).await;
        let listener = listener.with_context(|| format!("http.{key} cannot listen on {address}"))?;
        let hosts = HostRule::new(address, &http.allowed_hosts);
        anyhow::Ok(HttpListener { listener, hosts, tls: tls.clone() })
    };
    let (main, metrics) =
        try_join(one("listen", http.listen), one("metrics_listen", http.metrics_listen)).await?;
    let bound = Bound { main, metrics };
    let (main, metrics) = bound.addresses()?;
    tracing::info!(%main, %metrics, "http listeners bound");
    Ok(bound)
}

impl Bound {
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.main.listener.local_addr()?, self.metrics.listener.local_addr()?))
    }

    pub async fn serve(self, state: Arc<EdgeState>, stop: CancellationToken) {
        let metrics_only = Router::new().route("/metrics", get(metrics_page)).with_state(Arc::clone(&state));
        let all = Router::new()
            .route("/health", get(health_page))
            .route("/ready", get(ready_page))
            .route("/metrics", get(metrics_page))
            .route("/coverage", get(coverage_page))
            .route("/adapters", get(adapters::adapters_page))
            .route("/adapters/load", post(adapters::load))
            .route("/adapters/rollback", post(adapters::roll_back))
            .route_layer(from_fn(within_time))
            // A reload waits for the venues' lists, and for reloads before it.
            .route("/reload", post(reload))
            .with_state(state);
        let bounds = HttpBounds { request: RELOAD_ANSWER, ..HTTP };
        tokio::join!(
            serve_http(self.main, all, bounds, stop.cancelled()),
            serve_http(self.metrics, metrics_only, HTTP, stop.cancelled())
        );
    }
}

async fn within_time(request: Request, next: Next) -> Response {
    timeout(HTTP.request, next.run(request)).await.unwrap_or_else(|_elapsed| {
        problem(StatusCode::SERVICE_UNAVAILABLE, &format!("no answer within {:?}", HTTP.request))
    })
}

type PageState = State<Arc<EdgeState>>;

async fn health_page(State(state): PageState) -> Response {
    page(pages::health(&state))
}

async fn ready_page(State(state): PageState) -> Response {
    page(pages::ready(&state))
}

async fn coverage_page(State(state): PageState) -> Json<Value> {
    Json(coverage::coverage(&state))
}

/// Applies the configuration file; answers once that is done.
async fn reload(State(state): PageState, headers: HeaderMap) -> Response {
    if let Err(refusal) = state.access.check(&headers) {
        return problem(refusal.status(), &refusal.to_string());
    }
    let Some(report) = state.reload.reload().await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many reloads wait already, or the edge stops");
    };
    let status = match report.result {
        ReloadResult::Applied | ReloadResult::Unchanged => StatusCode::OK,
        ReloadResult::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadResult::Failed => StatusCode::CONFLICT,
    };
    (status, Json(report)).into_response()
}

pub(super) fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

async fn metrics_page(State(state): PageState) -> Response {
    metrics::refresh(&state);
    match state.context.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, Metrics::content_type())], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn page((good, body): (bool, Value)) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}
