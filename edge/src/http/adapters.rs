//! `/adapters`: the running versions and the changes of them, and the requests that change them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use marketprism_adapter_host::DifferenceKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::serve::problem;
use super::state::{EdgeState, faults_json, phase_text};
use crate::feed::FeedStatus;
use crate::limits::COMPONENT_BYTES_MAX;
use crate::swap::SwapRefused;

#[derive(Debug, Deserialize)]
pub(super) struct LoadQuery {
    /// Kinds of differences, separated by commas.
    #[serde(default)]
    accept: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RollBackQuery {
    /// Name of the adapter, without version.
    adapter: String,
}

pub(super) async fn adapters_page(State(state): State<Arc<EdgeState>>) -> Json<Value> {
    let feeds: Vec<Value> = state.feeds.list().iter().map(|feed| feed_json(feed)).collect();
    Json(json!({ "feeds": feeds, "swaps": state.swaps.history(), "followed": state.swaps.followed() }))
}

fn feed_json(feed: &FeedStatus) -> Value {
    let adapter = feed.adapter();
    let description = adapter.description();
    let faults = feed.stats().map(|stats| faults_json(&stats));
    json!({
        "exchange": feed.exchange,
        "part": feed.part,
        "name": description.name,
        "version": description.version,
        "digest": adapter.digest(),
        "id": adapter.id(),
        "contract": adapter.contract(),
        "state": phase_text(&feed.phase()),
        "faults": faults,
    })
}

/// The body is the component. Answers at once with the number of the change; `GET /adapters` shows its steps and its end.
pub(super) async fn load(
    State(state): State<Arc<EdgeState>>,
    Query(query): Query<LoadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    // Before the body is read.
    if let Err(refusal) = state.access.check(&headers) {
        return problem(refusal.status(), &refusal.to_string());
    }
    let names = query.accept.split(',').filter(|name| !name.is_empty());
    let accepted: Result<BTreeSet<_>, &str> =
        names.map(|name| DifferenceKind::parse(name).ok_or(name)).collect();
    let accepted = match accepted {
        Ok(accepted) => accepted,
        Err(name) => return problem(StatusCode::BAD_REQUEST, &DifferenceKind::unknown(name)),
    };
    let limit = usize::try_from(COMPONENT_BYTES_MAX).unwrap_or(usize::MAX);
    // Within the time of a request, as all handlers.
    match to_bytes(body, limit).await {
        Ok(component) => started(state.swaps.load(component, accepted, "http")),
        Err(error) => {
            let text = format!("component not received: {error} (allowed: {COMPONENT_BYTES_MAX} bytes)");
            problem(StatusCode::PAYLOAD_TOO_LARGE, &text)
        }
    }
}

pub(super) async fn roll_back(
    State(state): State<Arc<EdgeState>>,
    Query(query): Query<RollBackQuery>,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = state.access.check(&headers) {
        return problem(refusal.status(), &refusal.to_string());
    }
    started(state.swaps.roll_back(&query.adapter))
}

fn started(started: Result<u64, SwapRefused>) -> Response {
    match started {
        Ok(number) => (StatusCode::ACCEPTED, Json(json!({ "swap": number }))).into_response(),
        Err(refused @ SwapRefused::Busy(_)) => problem(StatusCode::CONFLICT, &refused.to_string()),
        Err(refused @ SwapRefused::Stopping) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, &refused.to_string())
        }
    }
}
