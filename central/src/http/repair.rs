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
    /// Only windows from here on: RFC 3339, or an age such as `24h`. With `from` or `to` every window of the range is compared anew;
    /// without, those are looked at that are logged as not verified.
    #[schema(examples("24h"))]
    from: Option<String>,
    /// Only windows before this.
    #[schema(examples("now"))]
    to: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
    /// Delete rows of cold that hot does not hold and that were not there when the window was verified.
    #[serde(default)]
    drop_extra: bool,
}

impl RepairWish {
    fn read(self, now_ms: i64) -> Result<Request, Problem> {
        let Self { table, from, to, dry_run, drop_extra } = self;
        let (has_from, has_to) = (from.is_some(), to.is_some());
        let scope = Scope::read(&Wish { from, to, table }, now_ms)?;
        Ok(Request {
            table: scope.table.map(str::to_owned),
            from_ms: has_from.then_some(scope.from.0),
            to_ms: has_to.then_some(scope.to.0),
            dry_run,
            drop_extra,
        })
    }
}

/// Starts a repair: copies windows again that differ between hot and cold, and asks edges to send missing events again.
///
/// One at a time; safe to ask twice. `GET /repair` shows its progress.
#[utoipa::path(post, path = "/repair", tag = "repair", request_body = RepairWish, security(("token" = [])), responses(
    (status = 202, description = "Started", body = Progress),
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
    let request = wish.read(clock::now_ns() / 1_000_000)?;
    let started = app.repair.start(&app.shared, &request);
    let progress = started.map_err(|busy| Problem::new(StatusCode::CONFLICT, busy.to_string()))?;
    tracing::info!(?request, "a repair was asked for over http");
    Ok((StatusCode::ACCEPTED, Json(progress)).into_response())
}

/// How the repair stands that runs, or ran last.
#[utoipa::path(get, path = "/repair", tag = "repair", responses(
    (status = 200, description = "Its progress; null when none was started since this central runs", body = Option<Progress>),
))]
pub async fn progress(State(app): State<Arc<App>>) -> Json<Option<Progress>> {
    Json(app.repair.progress())
}
