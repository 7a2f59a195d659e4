//! `/health` and `/ready`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;

/// Health or readiness of this central.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// `healthy`, `unhealthy`, `ready` or `not ready`.
    pub status: &'static str,
    /// True within the grace period after the start, whatever is wrong.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub grace: bool,
    /// Reasons, `part: reason`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// Health of this central.
///
/// Healthy when nothing is wrong, or within the grace period after the start; the answer names the reasons in either case.
#[utoipa::path(get, path = "/health", tag = "process", responses(
    (status = 200, description = "Healthy, or within the grace period after the start", body = Health),
    (status = 503, description = "Unhealthy; the answer names the reasons", body = Health),
))]
pub async fn serve_health(State(app): State<Arc<App>>) -> (StatusCode, Json<Health>) {
    let (age, grace) = (app.shared.status.started.elapsed(), app.shared.config.http.health_grace);
    let (status, body) = health(app.shared.status.reasons(), age, grace);
    (status, Json(body))
}

/// Readiness: messages are being received and stored.
#[utoipa::path(get, path = "/ready", tag = "process", responses(
    (status = 200, description = "Ready", body = Health),
    (status = 503, description = "Not ready; the answer names the reasons", body = Health),
))]
pub async fn serve_ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Health>) {
    let (status, body) = ready(app.shared.status.reasons());
    (status, Json(body))
}

fn health(reasons: Vec<String>, age: Duration, grace: Duration) -> (StatusCode, Health) {
    if reasons.is_empty() {
        return (StatusCode::OK, Health { status: "healthy", grace: false, reasons });
    }
    if age < grace {
        return (StatusCode::OK, Health { status: "healthy", grace: true, reasons });
    }
    (StatusCode::SERVICE_UNAVAILABLE, Health { status: "unhealthy", grace: false, reasons })
}

fn ready(reasons: Vec<String>) -> (StatusCode, Health) {
    if reasons.is_empty() {
        return (StatusCode::OK, Health { status: "ready", grace: false, reasons });
    }
    (StatusCode::SERVICE_UNAVAILABLE, Health { status: "not ready", grace: false, reasons })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_period_covers_health_but_not_readiness() {
        let some = || vec!["clickhouse: away".to_owned()];
        let [second, grace] = [1, 120].map(Duration::from_secs);
        assert_eq!(health(Vec::new(), second, grace).0, StatusCode::OK);
        let (status, body) = health(some(), second, grace);
        assert_eq!((status, body.grace, body.reasons), (StatusCode::OK, true, some()));
        assert_eq!(health(some(), grace, grace).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ready(some()).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ready(Vec::new()).0, StatusCode::OK);
    }
}
