//! `/health`, `/ready` and `/adapters`.

use std::time::Instant;

use marketprism_schema::DataType;
use marketprism_socket::ConnectionPhase;
use serde_json::{Value, json};

use super::state::EdgeState;
use crate::clock;
use crate::feed::FeedPhase;
use crate::limits::AUDIT_HEALTHY;

/// Whether the edge does its work, with the reasons where it does not.
pub(super) fn health(state: &EdgeState) -> (bool, Value) {
    let reasons = troubles(state);
    let in_grace = Instant::now().saturating_duration_since(state.started) < state.grace;
    let mut body = json!({
        "status": if reasons.is_empty() || in_grace { "healthy" } else { "unhealthy" },
        "edge": state.edge,
        "region": state.region,
        "uptime_seconds": state.started.elapsed().as_secs(),
        "reasons": reasons,
    });
    if in_grace && let Some(body) = body.as_object_mut() {
        body.insert("grace".to_owned(), Value::Bool(true));
    }
    (reasons.is_empty() || in_grace, body)
}

/// Whether everything is connected, with what is not.
pub(super) fn ready(state: &EdgeState) -> (bool, Value) {
    let mut missing = Vec::new();
    if !state.link.is_connected() {
        missing.push("nats is not connected".to_owned());
    }
    for feed in &state.feeds {
        missing.extend(feed_trouble(&feed.exchange, &feed.phase()));
        let Some(sockets) = feed.sockets() else { continue };
        for connection in sockets.status() {
            if !matches!(connection.phase, ConnectionPhase::Open | ConnectionPhase::Replacing) {
                let why = connection.last_error.unwrap_or_else(|| "not open yet".to_owned());
                missing.push(format!("{}: connection {}: {why}", feed.exchange, connection.name));
            }
        }
    }
    (missing.is_empty(), json!({ "ready": missing.is_empty(), "missing": missing }))
}

/// The adapters in use.
pub(super) fn adapters(state: &EdgeState) -> Value {
    let adapter = |feed: &std::sync::Arc<crate::feed::FeedStatus>| {
        let description = feed.adapter.description();
        let faults = feed.stats().map(|stats| super::metrics::faults_json(&stats));
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

/// A phase in words.
pub(super) fn phase_text(phase: &FeedPhase) -> String {
    match phase {
        FeedPhase::Starting(why) => format!("starting: {why}"),
        FeedPhase::Running => "running".to_owned(),
        FeedPhase::Stopped => "stopped".to_owned(),
        FeedPhase::Failed(why) => format!("failed: {why}"),
    }
}

fn feed_trouble(exchange: &str, phase: &FeedPhase) -> Option<String> {
    (*phase != FeedPhase::Running).then(|| format!("{exchange}: {}", phase_text(phase)))
}

fn troubles(state: &EdgeState) -> Vec<String> {
    let mut reasons = Vec::new();
    if !state.link.is_connected() {
        reasons.push("nats is not connected, events wait in the queue".to_owned());
    }
    for feed in &state.feeds {
        reasons.extend(feed_trouble(&feed.exchange, &feed.phase()));
        if feed.report().adapter_unhealthy {
            reasons.push(format!(
                "{}: the adapter {} faults again and again",
                feed.exchange,
                feed.adapter.id()
            ));
        }
    }
    reasons.extend(audit_trouble(state, clock::now_ns()));
    for row in state.coverage.rows(clock::now_ns()) {
        // The low-frequency types may be silent while all is well.
        let is_frequent = matches!(row.data_type, DataType::Trade | DataType::OrderBook);
        if is_frequent && row.status != "ok" {
            let age = row.age_seconds.map_or("never".to_owned(), |age| format!("{age} s ago"));
            reasons.push(format!("{} {}: {}, last success {age}", row.exchange, row.data_type, row.status));
        }
    }
    reasons
}

/// Audits that wait for too long: what they are about cannot be verified meanwhile.
fn audit_trouble(state: &EdgeState, now_ns: i64) -> Option<String> {
    if !state.auditor.is_on() {
        return None;
    }
    let seconds_since = |at_ns: i64| u64::try_from(now_ns.saturating_sub(at_ns).max(0) / 1_000_000_000);
    let status = state.auditor.status();
    let waiting = status.waiting_since_ns.and_then(|since| seconds_since(since).ok()).unwrap_or_default();
    let limit = AUDIT_HEALTHY.as_secs();
    if waiting > limit {
        let count = status.waiting;
        return Some(format!(
            "{count} audits could not be stored for {waiting} s: their windows cannot be verified"
        ));
    }
    let open = seconds_since(status.open_since_ns).unwrap_or_default();
    (open > limit).then(|| format!("windows are not settled for {open} s: none is reported meanwhile"))
}
