//! `/health`, `/ready` and `/adapters`.

use std::sync::Arc;
use std::time::Instant;

use marketprism_schema::DataType;
use marketprism_service::clock;
use marketprism_socket::ConnectionPhase;
use serde_json::{Value, json};

use super::state::{EdgeState, faults_json, phase_text};
use crate::feed::{FeedPhase, FeedStatus};
use crate::limits::AUDIT_HEALTHY;

/// Health, with the reasons where the edge is unhealthy.
pub(super) fn health(state: &EdgeState) -> (bool, Value) {
    let reasons = problems(state);
    let in_grace = Instant::now().saturating_duration_since(state.started) < state.grace;
    let mut body = json!({
        "status": if reasons.is_empty() || in_grace { "healthy" } else { "unhealthy" },
        "edge": state.context.name,
        "region": state.context.region,
        "uptime_seconds": state.started.elapsed().as_secs(),
        "reasons": reasons,
    });
    if in_grace && let Some(body) = body.as_object_mut() {
        body.insert("grace".to_owned(), Value::Bool(true));
    }
    (reasons.is_empty() || in_grace, body)
}

/// Readiness, with the connections that are missing.
pub(super) fn ready(state: &EdgeState) -> (bool, Value) {
    let mut missing = Vec::new();
    if !state.link.is_connected() {
        missing.push("nats is not connected".to_owned());
    }
    for feed in &state.feeds {
        missing.extend(feed_problem(&feed.exchange, &feed.phase()));
        let Some(sockets) = feed.sockets() else { continue };
        for connection in sockets.status() {
            if !matches!(connection.phase, ConnectionPhase::Open | ConnectionPhase::Replacing) {
                let error = connection.last_error.unwrap_or_else(|| "not open yet".to_owned());
                missing.push(format!("{}: connection {}: {error}", feed.exchange, connection.name));
            }
        }
    }
    (missing.is_empty(), json!({ "ready": missing.is_empty(), "missing": missing }))
}

pub(super) fn adapters(state: &EdgeState) -> Value {
    let adapter = |feed: &Arc<FeedStatus>| {
        let description = feed.adapter.description();
        let faults = feed.stats().map(|stats| faults_json(&stats));
        json!({
            "exchange": feed.exchange,
            "name": description.name,
            "version": description.version,
            "digest": feed.adapter.digest(),
            "id": feed.adapter.id(),
            "contract": feed.adapter.contract(),
            "state": phase_text(&feed.phase()),
            "faults": faults,
        })
    };
    Value::Array(state.feeds.iter().map(adapter).collect())
}

fn feed_problem(exchange: &str, phase: &FeedPhase) -> Option<String> {
    (*phase != FeedPhase::Running).then(|| format!("{exchange}: {}", phase_text(phase)))
}

fn problems(state: &EdgeState) -> Vec<String> {
    let mut reasons = Vec::new();
    if !state.link.is_connected() {
        reasons.push("nats is not connected, events wait in the queue".to_owned());
    }
    for feed in &state.feeds {
        reasons.extend(feed_problem(&feed.exchange, &feed.phase()));
        if feed.report().adapter_unhealthy {
            reasons.push(format!("{}: adapter {} faults on every frame", feed.exchange, feed.adapter.id()));
        }
    }
    reasons.extend(audit_problem(state, clock::now_ns()));
    for row in state.context.coverage.rows(clock::now_ns()) {
        // Types of low frequency may be silent without a problem.
        let is_frequent = matches!(row.data_type, DataType::Trade | DataType::OrderBook);
        if is_frequent && row.status != "ok" {
            let age = row.age_seconds.map_or("never".to_owned(), |age| format!("{age} s ago"));
            reasons.push(format!("{} {}: {}, last success {age}", row.exchange, row.data_type, row.status));
        }
    }
    reasons
}

/// Audits that wait for too long, or windows that do not close.
fn audit_problem(state: &EdgeState, now_ns: i64) -> Option<String> {
    if !state.context.auditor.is_on() {
        return None;
    }
    let seconds_since = |at_ns: i64| u64::try_from(now_ns.saturating_sub(at_ns).max(0) / 1_000_000_000);
    let status = state.context.auditor.status();
    let waiting = status.waiting_since_ns.and_then(|since| seconds_since(since).ok()).unwrap_or_default();
    let limit = AUDIT_HEALTHY.as_secs();
    if waiting > limit {
        let count = status.waiting;
        return Some(format!(
            "{count} audits not stored for {waiting} s (limit {limit}): their windows cannot be verified"
        ));
    }
    let open = seconds_since(status.open_since_ns).unwrap_or_default();
    (open > limit).then(|| format!("no audit window closed for {open} s (limit {limit})"))
}
