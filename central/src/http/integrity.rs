//! `/integrity`: the report as a page or as JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};

use super::App;
use super::page;
use super::problem::Problem;
use crate::clock;
use crate::report::document::Report;
use crate::report::{ReportQuery, ReportScope};

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
pub async fn serve(
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
pub fn fresh() -> [(HeaderName, &'static str); 2] {
    [(header::CACHE_CONTROL, "no-store"), (header::VARY, "Accept")]
}
