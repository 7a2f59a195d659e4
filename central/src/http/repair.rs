//! `/repair`: start a repair, show its progress.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::App;
use super::problem::{Problem, check_token};
use crate::clock;
use crate::repair::{RepairOptions, RepairProgress};
use crate::report::{ReportQuery, ReportScope};

/// Scope of a repair.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairBody {
    /// Only this table.
    #[schema(examples("trades"))]
    table: Option<String>,
    /// Begin: RFC 3339, or an age such as `24h`. With `from` or `to` every window of the range is compared again; without, only
    /// windows logged as not verified.
    #[schema(examples("24h"))]
    from: Option<String>,
    /// End, exclusive.
    #[schema(examples("now"))]
    to: Option<String>,
    /// Report what would be done, change nothing.
    #[serde(default)]
    dry_run: bool,
    /// Delete rows of cold that hot does not have and that were not there when the window was verified.
    #[serde(default)]
    drop_extra: bool,
}

impl RepairBody {
    fn read(self, now_ms: i64) -> Result<RepairOptions, Problem> {
        let Self { table, from, to, dry_run, drop_extra } = self;
        let (has_from, has_to) = (from.is_some(), to.is_some());
        let scope = ReportScope::read(&ReportQuery { from, to, table, format: None }, now_ms)?;
        Ok(RepairOptions {
            table: scope.table.map(str::to_owned),
            from_ms: has_from.then_some(scope.from.0),
            to_ms: has_to.then_some(scope.to.0),
            dry_run,
            drop_extra,
        })
    }
}

/// Starts a repair: copies windows that differ between hot and cold, and asks edges to publish missing events again.
///
/// One at a time; safe to repeat. `GET /repair` shows the progress.
#[utoipa::path(post, path = "/repair", tag = "repair", request_body = RepairBody, security(("token" = [])), responses(
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
    body: Result<Json<RepairBody>, JsonRejection>,
) -> Result<Response, Problem> {
    check_token(app.token(), &headers)?;
    let Json(body) = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let options = body.read(clock::now_ns() / 1_000_000)?;
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
