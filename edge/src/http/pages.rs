//! `/health`, `/ready` and `/coverage`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::{Capability, Completeness, Delivery};
use marketprism_book::BookStats;
use marketprism_schema::{DataType, MarketType, stale_after};
use marketprism_service::clock;
use marketprism_socket::ConnectionPhase;
use serde_json::{Value, json};

use super::state::{EdgeState, phase_text, state_text};
use crate::books::BookReport;
use crate::clocks::{MeasuredClock, VenueClocks};
use crate::feed::{FeedPhase, FeedReport, FeedStatus, PollReport, RankedMarket};
use crate::limits::{AUDIT_HEALTHY, FEED_BEHIND, SYMBOLS_NAMED_MAX};
use crate::records::TradeIdReport;
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
    degraded.extend(state.context.raw.all().iter().filter_map(|(name, raw)| raw.status().problem(name)));
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
        let last = row.last_success_ns.map(|at| at / NANOS_PER_SECOND);
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

const NANOS_PER_SECOND: i64 = 1_000_000_000;

pub(super) fn coverage(state: &EdgeState) -> Value {
    let queue = state.context.queue.status();
    json!({
        "edge": state.context.name,
        "region": state.context.region,
        "coverage": cells(state, clock::now_ns()),
        "queue": {
            "messages": queue.messages,
            "bytes": queue.bytes,
            "conflated": queue.conflated,
            "dropped": queue.dropped.values().sum::<u64>(),
        },
        "feeds": state.feeds.list().iter().map(|feed| feed_json(feed)).collect::<Vec<_>>(),
    })
}

fn feed_json(feed: &FeedStatus) -> Value {
    let report = feed.report();
    let books: HashMap<InstrumentIndex, &BookReport> =
        report.books.iter().map(|book| (book.instrument, book)).collect();
    let trades: HashMap<InstrumentIndex, &TradeIdReport> =
        report.trades.iter().map(|trades| (trades.instrument, trades)).collect();
    let instruments = feed.instruments();
    let instruments: Vec<Value> = InstrumentIndex::enumerate(instruments.iter())
        .map(|(index, instrument)| {
            json!({
                "symbol": instrument.symbol,
                "venue_symbol": instrument.venue_symbol,
                "market_type": instrument.market_type.as_str(),
                "ended": instrument.ended.map(|end| end.as_str()),
                "orderbook": books.get(&index).map(|book| book_json(book)),
                "trade_gaps": trades.get(&index).map(|trades| trades_json(trades)),
            })
        })
        .collect();
    json!({
        "exchange": feed.exchange,
        "part": feed.part,
        "state": phase_text(&feed.phase()),
        "not_listed": *feed.not_listed(),
        "unranked": *feed.unranked(),
        "ranking_problem": feed.ranking_problem().as_deref(),
        "ranked": feed.ranked().iter().map(ranked_json).collect::<Vec<_>>(),
        "adapter": feed.adapter().id(),
        "data_types": feed.data_types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        "orderbook_gaps": book_gaps_json(&report),
        "missing_trades": report.trades.iter().map(|trades| trades.missing).sum::<u64>(),
        "polls": polls_json(&report),
        "instruments": instruments,
        "connections": connections_json(feed),
    })
}

fn ranked_json(market: &RankedMarket) -> Value {
    let (symbol, market_type) = &market.key;
    json!({ "symbol": symbol, "market_type": market_type.as_str(), "rank": market.rank })
}

fn book_json(book: &BookReport) -> Value {
    let gaps: Vec<Value> = book
        .gaps
        .iter()
        .map(|gap| {
            let cause = gap.cause.as_str();
            json!({ "cause": cause, "expected": gap.expected, "got": gap.got, "at": gap.at_ns })
        })
        .collect();
    json!({
        "state": state_text(book.state),
        "epoch": book.epoch,
        "updates": book.stats.applied,
        "outdated": book.stats.outdated,
        "conflated": book.conflated,
        "short": book.short,
        "gaps": book.stats.gaps + book.stats.checksum_mismatches,
        "gaps_by_cause": causes_json(&[&book.stats]),
        "recent_gaps": gaps,
    })
}

/// Number of live books that were discarded or replaced, by cause. Until the next live state nothing was published.
fn causes_json(books: &[&BookStats]) -> Value {
    let mut causes = serde_json::Map::new();
    let mut add = |cause: &str, count: u64| {
        if count > 0 {
            causes.insert(cause.to_owned(), json!(count));
        }
    };
    let mut breaks = BookStats::default().breaks;
    for (reason, count) in books.iter().flat_map(|stats| stats.breaks) {
        breaks[reason] += count;
    }
    for (reason, count) in breaks {
        add(reason.as_str(), count);
    }
    add("replaced", books.iter().map(|stats| stats.replaced).sum());
    add("contradicted", books.iter().map(|stats| stats.refresh_mismatches).sum());
    Value::Object(causes)
}

fn book_gaps_json(report: &FeedReport) -> Value {
    let books: Vec<&BookStats> = report.books.iter().map(|book| &book.stats).collect();
    causes_json(&books)
}

fn polls_json(report: &FeedReport) -> Vec<Value> {
    let poll = |(kind, report): &(DataType, PollReport)| {
        json!({
            "data_type": kind.as_str(),
            "polls": report.polls,
            "answers": report.answers,
            "failures": report.failures,
            "never_succeeded": report.never_succeeded,
            "newest_success_at": report.newest_success_ns,
            "oldest_success_at": report.oldest_success_ns,
            "last_failure": report.last_failure,
        })
    };
    report.polls.iter().map(poll).collect()
}

fn trades_json(trades: &TradeIdReport) -> Value {
    let open: Vec<Value> = trades
        .open
        .iter()
        .map(|gap| json!({ "from": gap.from_sequence, "to": gap.to_sequence, "at": gap.to }))
        .collect();
    json!({ "gaps": trades.gaps_seen, "missing": trades.missing, "open": open })
}

fn connections_json(feed: &FeedStatus) -> Vec<Value> {
    let Some(sockets) = feed.sockets() else { return Vec::new() };
    let connections = sockets.status().into_iter().map(|connection| {
        let streams: Vec<Value> = connection
            .streams
            .iter()
            .map(|stream| {
                json!({
                    "data_type": DataType::from(stream.data_type).as_str(),
                    "instrument": stream.instrument.map(u32::from),
                    "last_frame_age_ms": stream.last_frame_age.map(|age| u64::try_from(age.as_millis()).ok()),
                    "silent": stream.silent,
                    "expected": stream.expected,
                })
            })
            .collect();
        json!({
            "name": connection.name,
            "phase": format!("{:?}", connection.phase).to_lowercase(),
            "generation": connection.generation,
            "connected_since": connection.connected_since_ns,
            "last_frame_at": connection.last_frame_at_ns,
            "frames": connection.frames,
            "reconnects": connection.reconnects,
            "last_error": connection.last_error,
            "streams": streams,
        })
    });
    connections.collect()
}

/// The matrix: every data type of every configured exchange, offered or not.
fn cells(state: &EdgeState, now_ns: i64) -> Vec<Value> {
    let (all, mut exchanges) = (state.feeds.list(), Vec::<&str>::new());
    for feed in &all {
        if !exchanges.contains(&feed.exchange.as_str()) {
            exchanges.push(&feed.exchange);
        }
    }
    let rows = state.context.coverage.rows(now_ns);
    let mut cells = Vec::new();
    for exchange in exchanges {
        let feeds: Vec<&FeedStatus> =
            all.iter().map(AsRef::as_ref).filter(|feed| feed.exchange == exchange).collect();
        for kind in DataType::ALL {
            let row = rows.iter().find(|row| row.exchange == exchange && row.data_type == *kind);
            cells.push(cell(exchange, *kind, row, &feeds));
        }
    }
    cells
}

fn cell(exchange: &str, kind: DataType, row: Option<&CoverageRow>, feeds: &[&FeedStatus]) -> Value {
    let described = |feed: &&FeedStatus| feed.adapter().venue(&feed.exchange)?.capability(kind).cloned();
    let capability = feeds.iter().find_map(described);
    let status = match (row, &capability) {
        (Some(row), _) => row.status,
        (None, Some(_)) => "not_collected",
        (None, None) => "unsupported",
    };
    let mut cell = json!({ "exchange": exchange, "data_type": kind.as_str(), "status": status });
    let Some(fields) = cell.as_object_mut() else { return cell };
    if let Some(row) = row {
        fields.insert("last_success_ts".into(), json!(row.last_success_ns.map(|at| at / NANOS_PER_SECOND)));
        fields.insert("age_seconds".into(), json!(row.age_seconds));
        fields.insert("threshold_seconds".into(), json!(stale_after(kind).as_secs()));
    }
    if let Some(capability) = capability {
        let delay_ms = feeds.iter().filter_map(|feed| feed.delay_ms(kind)).max();
        fields.insert("delivery".into(), json!(delivery(&capability)));
        fields.insert("lower_bound".into(), json!(capability.completeness == Completeness::LowerBound));
        fields.insert("delayed_seconds".into(), json!(delay_ms.map(|ms| ms / 1_000)));
        let markets = capability.market_types.iter().map(|offered| MarketType::from(*offered).as_str());
        fields.insert("market_types".into(), json!(markets.collect::<Vec<_>>()));
    }
    cell
}

const fn delivery(capability: &Capability) -> &'static str {
    match capability.delivery {
        Delivery::Push => "push",
        Delivery::Poll => "poll",
    }
}
