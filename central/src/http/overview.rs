//! `/` and `/overview`: incoming streams, their age, replication lag.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use marketprism_schema::Table;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::coverage::{Covered, table as coverage_table};
use super::integrity::fresh;
use super::page;
use super::problem::Problem;
use crate::clock;
use crate::context::CentralContext;
use crate::report::document::{BrokerStream, LeaseState, Unanswered};
use crate::report::sources::{broker, replication};
use crate::report::{Sources, Time};

/// Incoming streams, broker, replication lag and leases.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Overview {
    /// Version of this document.
    pub version: u32,
    pub generated_at: Time,
    pub program_version: &'static str,
    /// Reasons why this process is not ready; empty: ready.
    pub reasons: Vec<String>,
    /// Incoming data of this central, by venue and data type.
    pub arriving: Vec<Arriving>,
    /// Data types without any data.
    pub nothing_of: Vec<&'static str>,
    /// Streams and consumers of the broker.
    pub broker: Vec<BrokerStream>,
    /// Replication lag by table.
    pub cold: Vec<ColdLag>,
    pub leases: Vec<LeaseState>,
    /// Sources that did not answer.
    pub unanswered: Vec<Unanswered>,
}

/// One data type of one exchange.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Arriving {
    /// Events per second at this central, averaged over the last minute.
    pub events_per_second: f64,
    #[serde(flatten)]
    pub coverage: Covered,
}

/// Replication lag of one table.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ColdLag {
    pub table: String,
    /// Replication watermark: everything stored before is in cold or logged as different.
    pub copied_upto: Time,
    /// Replication lag in minutes.
    pub lag_minutes: f64,
}

/// Incoming streams, broker, replication lag and leases.
#[utoipa::path(get, path = "/overview", tag = "data", responses(
    (status = 200, description = "The overview", body = Overview),
    (status = 429, description = "Too many requests at once", body = Problem),
    (status = 503, description = "Not answered in time", body = Problem),
))]
pub async fn serve(State(app): State<Arc<App>>) -> Result<Response, Problem> {
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
    if page::wants_page(&headers) { Ok(page::OVERVIEW.into_response()) } else { serve(state).await }
}

pub async fn compute(shared: &CentralContext, sources: &Sources) -> Overview {
    let now_ns = clock::now_ns();
    let coverage = coverage_table(&shared.coverage.rows(), now_ns);
    let rates = shared.coverage.rates(now_ns);
    let (streams, leases, marks) =
        tokio::join!(broker::streams(sources), broker::leases(sources), replication::watermarks(sources));
    let mut unanswered = Vec::new();
    let mut miss = |part: String, reason: String| unanswered.push(Unanswered { part, reason });
    let mut answered = Vec::new();
    for (name, stream) in streams {
        match stream {
            Ok(stream) => answered.push(stream),
            Err(reason) => miss(format!("stream {name}"), reason),
        }
    }
    let leases = leases.unwrap_or_else(|reason| {
        miss("leases".to_owned(), reason);
        Vec::new()
    });
    let marks = marks.unwrap_or_else(|reason| {
        miss("watermarks".to_owned(), reason);
        BTreeMap::new()
    });
    let arriving =
        |covered: Covered| Arriving { events_per_second: rate_of(&rates, &covered), coverage: covered };
    Overview {
        version: 1,
        generated_at: Time(now_ns / 1_000_000),
        program_version: env!("CARGO_PKG_VERSION"),
        reasons: shared.status.reasons(),
        arriving: coverage.coverage.into_iter().map(arriving).collect(),
        nothing_of: coverage.nothing_of,
        broker: answered,
        cold: lags(&marks),
        leases,
        unanswered,
    }
}

fn rate_of(rates: &[(&'static str, String, f64)], covered: &Covered) -> f64 {
    let is_it =
        |rate: &&(&'static str, String, f64)| rate.0 == covered.data_type && rate.1 == covered.exchange;
    rates.iter().find(is_it).map_or(0.0, |rate| rate.2)
}

fn lags(marks: &BTreeMap<String, replication::TableWatermark>) -> Vec<ColdLag> {
    let lag = |table: &Table| {
        let mark = marks.get(table.name)?;
        let behind_ms = mark.hot_newest.map_or(0, |newest| (newest.0 - mark.upto.0).max(0));
        Some(ColdLag {
            table: table.name.to_owned(),
            copied_upto: mark.upto,
            lag_minutes: (behind_ms / 6_000) as f64 / 10.0,
        })
    };
    Table::ALL.iter().filter_map(lag).collect()
}
