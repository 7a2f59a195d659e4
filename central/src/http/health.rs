//! `/health` and `/ready`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;

/// How this central is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// `healthy`, `unhealthy`, `ready` or `not ready`.
    pub status: &'static str,
    /// True in the first seconds after the start, whatever is wrong.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub grace: bool,
    /// What is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// Whether this central is healthy.
///
/// Healthy when nothing is wrong, and in the first seconds after the start whatever is wrong, which the answer then says.
#[utoipa::path(get, path = "/health", tag = "process", responses(
    (status = 200, description = "Healthy, or within the grace after the start", body = Health),
    (status = 503, description = "Unhealthy; the answer says why", body = Health),
))]
pub async fn serve_health(State(app): State<Arc<App>>) -> (StatusCode, Json<Health>) {
    let (age, grace) = (app.shared.status.started.elapsed(), app.shared.config.http.health_grace);
    let (status, body) = health(app.shared.status.reasons(), age, grace);
    (status, Json(body))
}

/// Whether messages are taken and stored at this moment.
#[utoipa::path(get, path = "/ready", tag = "process", responses(
    (status = 200, description = "Ready", body = Health),
    (status = 503, description = "Not ready; the answer says why", body = Health),
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

    /// Goal: trouble counts against health only after the grace, against readiness at once, and is always named.
    #[test]
    fn grace_covers_health_and_not_readiness() {
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
