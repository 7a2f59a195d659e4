//! `/health` and `/ready`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use marketprism_service::clock;
use marketprism_socket::ConnectionPhase;
use serde_json::{Value, json};

use super::state::{EdgeState, phase_text};
use crate::clocks::{MeasuredClock, VenueClocks};
use crate::feed::{FeedPhase, FeedStatus};
use crate::limits::{AUDIT_HEALTHY, FEED_BEHIND, SYMBOLS_NAMED_MAX};
use crate::telemetry::CoverageRow;

/// Health: false for unhealthy.
pub(super) fn health(state: &EdgeState) -> (bool, Value) {
    let Health { word, is_good, reasons, degraded } = health_state(state);
    let mut body = json!({
        "status": word,
        "edge": state.context.name,
        "region": state.context.region,
        "uptime_seconds": state.started.elapsed().as_secs(),
        "reasons": reasons,
        "degraded": degraded,
        "clock": clock_json(&state.context.clocks),
        "coverage": health_coverage(&state.context.coverage.rows(clock::now_ns())),
    });
    if is_in_grace(state)
        && let Some(body) = body.as_object_mut()
    {
        body.insert("grace".to_owned(), Value::Bool(true));
    }
    (is_good, body)
}

pub(super) struct Health {
    /// `healthy`, `degraded` or `unhealthy`.
    pub(super) word: &'static str,
    pub(super) is_good: bool,
    /// Reasons to be unhealthy, which the grace period excuses.
    pub(super) reasons: Vec<String>,
    /// Losses of single events or streams while others work.
    pub(super) degraded: Vec<String>,
}

pub(super) fn health_state(state: &EdgeState) -> Health {
    let reasons = problems(state);
    let is_good = reasons.is_empty() || is_in_grace(state);
    let now = Instant::now();
    let mut degraded = limitations(state);
    degraded.extend(state.link.mirror_problem());
    degraded.extend(state.link.domain_problem());
    degraded.extend(state.context.clocks.problems());
    degraded.extend(state.reload.problem());
    degraded.extend(state.context.raw.statuses().iter().filter_map(|(name, status)| status.problem(name)));
    degraded.extend(state.feeds.list().iter().flat_map(|feed| feed.refusals(now)));
    let word = match (is_good, degraded.is_empty()) {
        (false, _) => "unhealthy",
        (true, false) => "degraded",
        (true, true) => "healthy",
    };
    Health { word, is_good, reasons, degraded }
}

/// Offsets of this machine's clock from those of the venues, and its steps.
fn clock_json(clocks: &VenueClocks) -> Value {
    let (steps, last_step) = clocks.steps();
    let venue = |MeasuredClock { reading, age }: MeasuredClock| {
        json!({
            "exchange": reading.exchange,
            "offset_us": reading.offset_ns / 1_000,
            "error_us": reading.error_ns / 1_000,
            "age_seconds": age.as_secs(),
        })
    };
    let step = last_step.map(|step| json!({ "at": step.at, "by_us": step.by_ns / 1_000 }));
    let venues: Vec<Value> = clocks.readings().into_iter().map(venue).collect();
    json!({ "venues": venues, "steps": steps, "last_step": step })
}

fn is_in_grace(state: &EdgeState) -> bool {
    Instant::now().saturating_duration_since(state.started) < state.grace
}

/// `{type: {exchange: {last_success_ts, age_seconds, status}}}` of what is collected.
fn health_coverage(rows: &[CoverageRow]) -> Value {
    let mut types: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
    for row in rows {
        let last = row.last_success_ts();
        let cell = json!({ "last_success_ts": last, "age_seconds": row.age_seconds, "status": row.status });
        types.entry(row.data_type.as_str()).or_default().insert(&row.exchange, cell);
    }
    json!(types)
}

/// Configured symbols that cannot be collected: no fault of the edge, so it stays healthy.
fn limitations(state: &EdgeState) -> Vec<String> {
    let feeds = state.feeds.list();
    let unranked = feeds.iter().filter_map(|feed| {
        let problem = feed.ranking_problem()?;
        Some(format!(
            "{}: the venue's ranking cannot be read, only named symbols are added: {problem}",
            feed.exchange
        ))
    });
    let text = |feed: &Arc<FeedStatus>| {
        let symbols = feed.not_listed();
        let (named, rest) = symbols.split_at(symbols.len().min(SYMBOLS_NAMED_MAX));
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        let symbols = named.join(", ");
        (!named.is_empty()).then(|| format!("{}: not listed by the venue: {symbols}{more}", feed.exchange))
    };
    feeds.iter().filter_map(text).chain(unranked).collect()
}

/// Readiness, with the connections that are missing.
pub(super) fn ready(state: &EdgeState) -> (bool, Value) {
    let mut missing = Vec::new();
    if !state.link.is_connected() {
        missing.push("nats is not connected".to_owned());
    }
    for feed in &state.feeds.list() {
        missing.extend(feed_problem(&feed.exchange, &feed.phase()));
        let Some(sockets) = feed.sockets() else { continue };
        for connection in sockets.status() {
            // A stopped one carries nothing any more.
            if matches!(connection.phase, ConnectionPhase::Connecting | ConnectionPhase::Waiting) {
                let error = connection.last_error.unwrap_or_else(|| "not open yet".to_owned());
                missing.push(format!("{}: connection {}: {error}", feed.exchange, connection.name));
            }
        }
    }
    (missing.is_empty(), json!({ "ready": missing.is_empty(), "missing": missing }))
}

fn feed_problem(exchange: &str, phase: &FeedPhase) -> Option<String> {
    (*phase != FeedPhase::Running).then(|| format!("{exchange}: {}", phase_text(phase)))
}

fn problems(state: &EdgeState) -> Vec<String> {
    let mut reasons = Vec::new();
    if !state.link.is_connected() {
        reasons.push("nats is not connected, events wait in the queue".to_owned());
    }
    reasons.extend(state.link.problem());
    reasons.extend(state.link.stalls().reasons(Instant::now()));
    for feed in &state.feeds.list() {
        // A reload, or a new listing, added it.
        let is_new = !is_in_grace(state) && feed.age() < state.grace;
        reasons.extend(feed_problem(&feed.exchange, &feed.phase()).filter(|_| !is_new));
        let report = feed.report();
        if let Some(limit) = report.host_limit {
            reasons.push(format!("{}: no adapter instance, frames wait: {limit}", feed.exchange));
        }
        if report.adapter_unhealthy {
            reasons.push(format!("{}: adapter {} faults on every frame", feed.exchange, feed.adapter().id()));
        }
        reasons.extend(behind_problem(feed));
    }
    reasons.extend(audit_problem(state, clock::now_ns()));
    if let Some(journal) = &state.context.journal {
        reasons.extend(journal.status().reasons());
    }
    for row in state.context.coverage.rows(clock::now_ns()) {
        // Types of low frequency may be silent without a problem.
        let is_new = !is_in_grace(state) && row.status == "missing" && row.collected_for < state.grace;
        if row.data_type.is_frequent() && row.status != "ok" && !is_new {
            let age = row.age_seconds.map_or("never".to_owned(), |age| format!("{age} s ago"));
            reasons.push(format!("{} {}: {}, last success {age}", row.exchange, row.data_type, row.status));
        }
    }
    reasons
}

fn behind_problem(feed: &FeedStatus) -> Option<String> {
    let behind = feed.sockets()?.behind_for().filter(|behind| *behind >= FEED_BEHIND)?;
    let seconds = behind.as_secs();
    Some(format!("{}: its pipeline has been behind for {seconds} s", feed.exchange))
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
