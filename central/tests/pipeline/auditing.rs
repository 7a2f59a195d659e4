//! Events and audits of a simulated edge, and the verdicts on them.

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use marketprism_schema::{
    AUDIT_VERSION, Audit, Capability, Completeness, EdgeHealth, Event, EventId, Fingerprint, Numbering,
    StreamAudit, StreamId, audit_message_id, audit_subject, encode_audit,
};
use marketprism_tests::wait::eventually;

use crate::events::{now_us, publish_bytes, trade};
use crate::stack::Stack;

pub const SECONDS: u16 = 2;
pub const WINDOW_NS: i64 = 2_000_000_000;

pub const QUICK: &str = "[batch]\nmax_age_ms = 50\n[ledger]\nwindow_seconds = 2\ngrace_seconds = 1\ninterval_ms = 100\nrecheck_seconds = 2\n";

pub fn window_before(count: i64) -> i64 {
    let [window] = windows_before([count]);
    window
}

/// Counted from one moment.
pub fn windows_before<const N: usize>(counts: [i64; N]) -> [i64; N] {
    let now = now_us() * 1_000;
    counts.map(|count| now - now.rem_euclid(WINDOW_NS) - count * WINDOW_NS)
}

/// Numbered trades of an edge, a microsecond apart from the begin of the window.
pub fn trades(edge: &'static str, window: i64, from: u64, to: u64) -> Vec<Event<'static>> {
    let base_us = window / 1_000 - i64::try_from(from).unwrap();
    let of_edge = |n| {
        let mut event = trade(n, base_us);
        event.header.edge = edge.into();
        event
    };
    (from..to).map(of_edge).collect()
}

pub fn renamed(mut events: Vec<Event<'static>>, symbol: &'static str) -> Vec<Event<'static>> {
    for event in &mut events {
        event.header.symbol = symbol.into();
        event.header.venue_symbol = symbol.into();
        event.header.event_id = EventId::of(event);
    }
    events
}

pub fn subject(symbol: &str) -> StreamId {
    StreamId::parse(&format!("trade.sim_spot.spot.{symbol}")).unwrap()
}

pub const NUMBERED: Capability =
    Capability { numbering: Numbering::ByOne, completeness: Completeness::Complete, delay_seconds: 0 };

/// Ids of duplicates as an audit lists them.
pub fn ids(events: &[Event<'_>]) -> Vec<u64> {
    let mut ids: Vec<u64> = events.iter().map(|event| event.header.event_id.low_half()).collect();
    ids.sort_unstable();
    ids
}

/// Audit of a stream whose events the broker has all stored.
pub fn stored(symbol: &str, events: &[Event<'_>]) -> StreamAudit {
    let fingerprint: Fingerprint = events.iter().map(|event| event.header.event_id).collect();
    StreamAudit { stored: fingerprint, ..StreamAudit::new(&subject(symbol), NUMBERED) }
}

pub fn audit(edge: &str, window: i64, streams: Vec<StreamAudit>) -> Audit {
    Audit {
        version: AUDIT_VERSION,
        edge: edge.to_owned(),
        region: "test".to_owned(),
        run: 7,
        window_start: window,
        window_seconds: SECONDS,
        from: window,
        to: window + WINDOW_NS,
        part: 1,
        parts: 1,
        streams,
        silent: Vec::new(),
        feeds: Vec::new(),
        health: EdgeHealth::default(),
    }
}

pub async fn publish_audit(jetstream: &Context, audit: &Audit) {
    let payload = encode_audit(audit).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", audit_message_id(audit, &payload));
    publish_bytes(jetstream, &audit_subject(&audit.edge), headers, payload).await;
}

#[derive(Debug, Clone, PartialEq, Eq, clickhouse::Row, serde::Deserialize)]
pub struct Verdict {
    pub state: String,
    pub reason: String,
    pub expected: u64,
    pub found: u64,
    pub duplicates: u64,
    pub gaps: u32,
    pub missing: u64,
    pub causes: Vec<String>,
}

pub async fn verdict(stack: &Stack, symbol: &str, edge: &str, window: i64) -> Option<Verdict> {
    let sql = format!(
        "SELECT toString(state) AS state, reason, expected, found, duplicates, gaps, missing, \
         arrayMap(cause -> toString(cause), causes) AS causes FROM marketprism_hot.verdicts FINAL \
         WHERE data_type = 'trade' AND symbol = '{symbol}' AND edge = '{edge}' \
         AND toUnixTimestamp64Milli(window_start) = {} AND window_seconds = {SECONDS}",
        window / 1_000_000
    );
    stack.hot().query_raw(&sql).fetch_optional::<Verdict>().await.ok().flatten()
}

pub async fn judged(stack: &Stack, symbol: &str, edge: &str, window: i64, state: &str) -> Verdict {
    judged_because(stack, symbol, edge, window, state, "").await
}

/// As [`judged`], with a text in the reason: until all audits of a window are stored its verdict may have the same state for another reason.
pub async fn judged_because(
    stack: &Stack,
    symbol: &str,
    edge: &str,
    window: i64,
    state: &str,
    reason: &str,
) -> Verdict {
    let last = std::cell::RefCell::new(None);
    let what = format!("the window of {symbol} to be {state} {reason}");
    eventually(&what, || async {
        let found = verdict(stack, symbol, edge, window).await;
        if *last.borrow() != found {
            eprintln!("{symbol} {edge}: {found:?}");
            last.replace(found.clone());
        }
        found.filter(|verdict| verdict.state == state && verdict.reason.contains(reason))
    })
    .await
}
