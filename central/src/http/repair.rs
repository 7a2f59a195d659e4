//! `/repair`: start a repair, show its progress.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::App;
use super::access::check_token;
use super::problem::Problem;
use crate::clock;
use crate::repair::{RepairProgress, RepairQuery};
use crate::report::{ReportQuery, ReportScope};

/// Starts a repair: copies windows that differ between hot and cold, and asks edges to publish missing events again.
///
/// One at a time; safe to repeat. `GET /repair` shows the progress.
#[utoipa::path(post, path = "/repair", tag = "repair", request_body = RepairQuery, security(("token" = [])), responses(
    (status = 202, description = "Started", body = RepairProgress),
    (status = 400, description = "Invalid value in the body: the answer names it", body = Problem),
    (status = 401, description = "Missing or wrong token", body = Problem),
    (status = 403, description = "No token is configured", body = Problem),
    (status = 409, description = "A repair is running already", body = Problem),
    (status = 413, description = "The body is too large", body = Problem),
    (status = 415, description = "The body is not JSON", body = Problem),
    (status = 422, description = "The body is not a valid scope", body = Problem),
    (status = 503, description = "Not answered in time", body = Problem),
))]
pub async fn start(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Json<RepairQuery>, JsonRejection>,
) -> Result<Response, Problem> {
    check_token(app.token(), &headers)?;
    let Json(body) = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let now_ms = clock::now_ns() / 1_000_000;
    let (from, to, table) = (body.from.clone(), body.to.clone(), body.table.clone());
    // Over HTTP within the bounds of a report; a repair of any period is for the command line.
    ReportScope::read(&ReportQuery { from, to, table, format: None }, now_ms)?;
    let options = body.read(now_ms)?;
    let started = app.repair.start(&app.shared, &options);
    let progress = started.map_err(|busy| Problem::new(StatusCode::CONFLICT, busy.to_string()))?;
    tracing::info!(?options, "repair started over http");
    Ok((StatusCode::ACCEPTED, Json(progress)).into_response())
}

/// Progress of the current or the last repair.
#[utoipa::path(get, path = "/repair", tag = "repair", responses(
    (status = 200, description = "Progress; null when none was started since this central started", body = Option<RepairProgress>),
))]
pub async fn progress(State(app): State<Arc<App>>) -> Json<Option<RepairProgress>> {
    Json(app.repair.progress())
}
