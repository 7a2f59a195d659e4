//! `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::Problem;

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "process", responses(
    (status = 200, description = "Metrics", body = String, content_type = "text/plain"),
))]
pub async fn serve(State(app): State<Arc<App>>) -> Response {
    match app.shared.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
