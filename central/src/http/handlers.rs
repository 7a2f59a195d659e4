//! Handlers of the read-only routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::access::Anonymous;
use super::documents::{CoverageTable, HealthCoverage, Overview, coverage_table, health_coverage};
use super::problem::Problem;
use super::{App, page};
use crate::clock;
use crate::report::document::Report;
use crate::report::{Fleet, ReportQuery, ReportScope};

/// Health or readiness of this central.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// `healthy`, `degraded`, `unhealthy`, `ready` or `not ready`.
    pub status: &'static str,
    /// True within the grace period after the start, whatever is wrong.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub grace: bool,
    /// Reasons, `part: reason`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Problems of other parts: silent edges; only in `/health`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    /// Freshness in hot by data type and exchange; only in `/health`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub coverage: HealthCoverage,
}

impl Health {
    const fn new(status: &'static str, grace: bool, reasons: Vec<String>) -> Self {
        Self { status, grace, reasons, degraded: Vec::new(), coverage: BTreeMap::new() }
    }

    /// A silent edge degrades a healthy central: it still works.
    fn with_silent(mut self, edges: &[String]) -> Self {
        self.degraded = edges.iter().map(|edge| format!("edge {edge}: silent")).collect();
        if self.status == "healthy" && !edges.is_empty() {
            self.status = "degraded";
        }
        self
    }

    /// Reasons name servers and errors: not for requests without a token, as is all that is collected.
    fn shown_to(mut self, anonymous: Option<Extension<Anonymous>>) -> Self {
        if anonymous.is_some() {
            self.reasons.clear();
            self.degraded.clear();
            self.coverage.clear();
        }
        self
    }
}

/// Health of this central.
///
/// Healthy when nothing is wrong, degraded while an edge is silent, and neither unhealthy within the grace period after the start; the
/// answer names the reasons.
#[utoipa::path(get, path = "/health", tag = "process", responses(
    (status = 200, description = "Healthy, degraded (an edge is silent), or within the grace period after the start", body = Health),
    (status = 503, description = "Unhealthy; the answer names the reasons", body = Health),
))]
pub async fn serve_health(
    State(app): State<Arc<App>>,
    anonymous: Option<Extension<Anonymous>>,
) -> (StatusCode, Json<Health>) {
    let (age, grace) = (app.shared.status.started.elapsed(), app.shared.config.http.health_grace);
    let (status, mut body) = health(app.shared.status.reasons(), age, grace);
    let now_ns = clock::now_ns();
    body = body.with_silent(&app.shared.fleet.silent());
    body.coverage = health_coverage(&app.shared.coverage.rows(now_ns), now_ns);
    (status, Json(body.shown_to(anonymous)))
}

/// Readiness: messages are being received and stored.
#[utoipa::path(get, path = "/ready", tag = "process", responses(
    (status = 200, description = "Ready", body = Health),
    (status = 503, description = "Not ready; the answer names the reasons", body = Health),
))]
pub async fn serve_ready(
    State(app): State<Arc<App>>,
    anonymous: Option<Extension<Anonymous>>,
) -> (StatusCode, Json<Health>) {
    let (status, body) = ready(app.shared.status.not_ready());
    (status, Json(body.shown_to(anonymous)))
}

fn health(reasons: Vec<String>, age: Duration, grace: Duration) -> (StatusCode, Health) {
    if reasons.is_empty() {
        return (StatusCode::OK, Health::new("healthy", false, reasons));
    }
    if age < grace {
        return (StatusCode::OK, Health::new("healthy", true, reasons));
    }
    (StatusCode::SERVICE_UNAVAILABLE, Health::new("unhealthy", false, reasons))
}

fn ready(reasons: Vec<String>) -> (StatusCode, Health) {
    if reasons.is_empty() {
        return (StatusCode::OK, Health::new("ready", false, reasons));
    }
    (StatusCode::SERVICE_UNAVAILABLE, Health::new("not ready", false, reasons))
}

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "process", responses(
    (status = 200, description = "Metrics", body = String, content_type = "text/plain"),
))]
pub async fn serve_metrics(State(app): State<Arc<App>>) -> Response {
    let metrics = &app.shared.metrics;
    for (key, times) in app.certificates.remaining() {
        let times = times.unwrap_or_default();
        metrics.certificate_expiry.with_label_values(&[&key]).set(times.left);
        metrics.certificate_lifetime.with_label_values(&[&key]).set(times.lifetime);
    }
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Data in hot by exchange and data type.
#[utoipa::path(get, path = "/coverage", tag = "data", responses(
    (status = 200, description = "Coverage", body = CoverageTable),
))]
pub async fn serve_coverage(State(app): State<Arc<App>>) -> Json<CoverageTable> {
    let now_ns = clock::now_ns();
    Json(coverage_table(&app.shared.coverage.rows(now_ns), now_ns))
}

/// Incoming streams, broker, replication lag and leases.
#[utoipa::path(get, path = "/overview", tag = "data", responses(
    (status = 200, description = "The overview", body = Overview),
    (status = 429, description = "Too many requests at once", body = Problem),
    (status = 503, description = "Not answered in time", body = Problem),
))]
pub async fn serve_overview(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let overview = app.overview().await?;
    Ok((fresh(), Json(&*overview)).into_response())
}

/// Overview: a page for browsers, JSON for other clients.
#[utoipa::path(get, path = "/", tag = "data", responses(
    (status = 200, description = "The overview", content((Overview = "application/json"), (String = "text/html"))),
    (status = 429, description = "Too many requests at once", body = Problem),
    (status = 503, description = "Not answered in time", body = Problem),
))]
pub async fn serve_root(state: State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    if page::wants_page(&headers) { Ok(page::OVERVIEW.into_response()) } else { serve_overview(state).await }
}

/// Edges by their heartbeats: state, adapters, feeds, journal.
///
/// Browsers get a page, other clients JSON.
#[utoipa::path(get, path = "/edges", tag = "data", responses(
    (status = 200, description = "The edges", content((Fleet = "application/json"), (String = "text/html"))),
    (status = 429, description = "Too many requests at once", body = Problem),
    (status = 503, description = "Not answered in time", body = Problem),
))]
pub async fn serve_edges(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    if page::wants_page(&headers) {
        return Ok(page::EDGES.into_response());
    }
    let fleet = app.fleet().await?;
    Ok((fresh(), Json(&*fleet)).into_response())
}

/// Integrity report: whole, not whole or cannot tell, with findings and evidence.
///
/// Browsers get a page, other clients JSON.
#[utoipa::path(get, path = "/integrity", tag = "data", params(ReportQuery), responses(
    (status = 200, description = "The report, whatever its verdict", content(
        (Report = "application/json"),
        (String = "text/html"),
    )),
    (status = 400, description = "Invalid parameter: the answer names it, its value and the allowed values", body = Problem),
    (status = 429, description = "Too many different requests at once", body = Problem),
    (status = 503, description = "Not answered in time", body = Problem),
))]
pub async fn serve_integrity(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    query: Result<Query<ReportQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(mut query) = query.map_err(|error| {
        Problem::bad("query", &error.body_text(), "from, to, table, format, each at most once")
    })?;
    let format = query.format.take();
    let scope = ReportScope::read(&query, clock::now_ns() / 1_000_000)?;
    let is_page = match format.as_deref() {
        None | Some("") => page::wants_page(&headers),
        Some("html") => true,
        Some("json") => false,
        Some(other) => return Err(Problem::bad("format", other, "json, html")),
    };
    if is_page {
        return Ok(page::INTEGRITY.into_response());
    }
    let report = app.report(&query, scope).await?;
    Ok((fresh(), Json(&*report)).into_response())
}

/// Not cacheable, and dependent on the header Accept.
fn fresh() -> [(HeaderName, &'static str); 2] {
    [(header::CACHE_CONTROL, "no-store"), (header::VARY, "Accept")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_period_covers_health_but_not_readiness() {
        let some = || vec!["clickhouse: unreachable".to_owned()];
        let [second, grace] = [1, 120].map(Duration::from_secs);
        assert_eq!(health(Vec::new(), second, grace).0, StatusCode::OK);
        let (status, body) = health(some(), second, grace);
        assert_eq!((status, body.grace, body.reasons), (StatusCode::OK, true, some()));
        assert_eq!(health(some(), grace, grace).0, StatusCode::SERVICE_UNAVAILABLE);
        let silent = |body: Health| body.with_silent(&["e1".to_owned()]);
        let degraded = silent(health(Vec::new(), second, grace).1);
        assert_eq!((degraded.status, degraded.degraded), ("degraded", vec!["edge e1: silent".to_owned()]));
        assert_eq!(silent(health(some(), grace, grace).1).status, "unhealthy");
        assert_eq!(ready(some()).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ready(Vec::new()).0, StatusCode::OK);
    }
}
