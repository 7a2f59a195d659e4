//! `/repair`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::App;
use super::problem::Problem;
use super::token;
use crate::clock;
use crate::repair::{Progress, Request};
use crate::report::{Scope, Wish};

/// What is to be repaired.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairWish {
    /// Only this table.
    #[schema(examples("trades"))]
    table: Option<String>,
    /// Begin: RFC 3339, or an age such as `24h`. Default: one day before `to`.
    #[schema(examples("24h"))]
    from: Option<String>,
    /// End, exclusive. Default: now.
    #[schema(examples("now"))]
    to: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// Starts a repair: copies windows again that differ between hot and cold, and asks edges to send missing events again.
///
/// One at a time; safe to ask twice. `GET /repair` shows its progress.
#[utoipa::path(post, path = "/repair", tag = "repair", request_body = RepairWish, security(("token" = [])), responses(
    (status = 202, description = "Started", body = serde_json::Value),
    (status = 400, description = "Something is wrong in the body: the answer names it", body = Problem),
    (status = 401, description = "Without the configured token", body = Problem),
    (status = 403, description = "No token is configured", body = Problem),
    (status = 409, description = "A repair is running already", body = Problem),
    (status = 413, description = "The body is too large", body = Problem),
    (status = 415, description = "The body is not JSON", body = Problem),
    (status = 422, description = "The body is not a wish", body = Problem),
    (status = 503, description = "Not answered in time", body = Problem),
))]
pub async fn start(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    wish: Result<Json<RepairWish>, JsonRejection>,
) -> Result<Response, Problem> {
    token::check(app.token(), &headers)?;
    let Json(wish) = wish.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let RepairWish { table, from, to, dry_run } = wish;
    let scope = Scope::read(&Wish { from, to, table }, clock::now_ns() / 1_000_000)?;
    let request = Request {
        table: scope.table.map(str::to_owned),
        from_ms: Some(scope.from.0),
        to_ms: Some(scope.to.0),
        dry_run,
        drop_extra: false,
    };
    match app.shared.repair.start(&app.shared, &request) {
        Ok(progress) => Ok((StatusCode::ACCEPTED, Json(progress)).into_response()),
        Err(busy) => Err(Problem::new(StatusCode::CONFLICT, busy.to_string())),
    }
}

/// How the repair stands that runs, or ran last.
#[utoipa::path(get, path = "/repair", tag = "repair", responses(
    (status = 200, description = "Its progress; null when none was started since this central runs", body = serde_json::Value),
))]
pub async fn progress(State(app): State<Arc<App>>) -> Json<Option<Progress>> {
    Json(app.shared.repair.progress())
}
