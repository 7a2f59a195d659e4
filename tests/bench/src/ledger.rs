//! What the ledger costs: processor time of an edge's audits and of central's comparison, against the time that taking the same events in
//! costs. Processor time, because two percent of a throughput drown in the noise of a shared machine.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use async_nats::HeaderMap;
use marketprism_schema::{
    AUDIT_VERSION, Audit, EventId, FINGERPRINT_SQL, Fingerprint, StreamAudit, Subject, WireForm,
    audit_message_id, audit_subject, encode_audit,
};
use marketprism_tests::stack::Stack;
use serde_json::Value;

use crate::bare;
use crate::goal::{Goal, Report};
use crate::sample::Sample;

/// Longest wait for rows or verdicts: a window of a minute has to end.
const LIMIT: Duration = Duration::from_secs(240);
/// Time over which the processes' work without events is measured.
const QUIET: Duration = Duration::from_secs(10);
const GOAL_PERCENT: f64 = 2.0;
const MINUTE_NS: i64 = 60_000_000_000;
const EDGE: &str = "edge-bench";

/// Takes trades in, then vouches for their windows, and compares the work of both.
pub async fn measure(report: &mut Report, trades: u64) -> Result<()> {
    let mut stack = Stack::plain().await;
    let before = used(&mut stack);
    bare::publish(&stack.broker.url(), Sample::Trades, WireForm::Json, 1, trades).await?;
    until(&stack, "SELECT count() FROM marketprism_hot.trades", trades).await?;
    let ingest = used(&mut stack).saturating_sub(before);

    let audits = audits(&stack).await?;
    let windows = u64::try_from(audits.len())?;
    let last_end = audits.iter().map(Audit::window_end).max().context("no windows")?;
    let closed = format!("SELECT toUnixTimestamp64Nano(now64(9)) >= {last_end} + 1000000000");
    until(&stack, &closed, 1).await?;
    let quiet = work(&mut stack, QUIET).await;
    let (before, started) = (used(&mut stack), Instant::now());
    publish(&stack, &audits).await?;
    let judged = "SELECT count() FROM marketprism_hot.verdicts FINAL WHERE data_type = 'trade' AND state = 'verified' AND expected > 0";
    until(&stack, judged, windows).await?;
    let spent = used(&mut stack).saturating_sub(before).as_secs_f64();
    let ledger = (spent - quiet * started.elapsed().as_secs_f64()).max(0.0);

    let each = |seconds: f64| seconds / trades as f64 * 1e6;
    report.figure(
        "ledger, processor time of taking a trade in (broker, central, engine)",
        each(ingest.as_secs_f64()),
        "us",
    );
    report.figure("ledger, processor time of judging a trade's window", each(ledger), "us a trade");
    report.figure("ledger, an edge's fingerprint of a trade", fingerprint(), "ns");
    let percent = (each(ledger) + fingerprint() / 1e3) / each(ingest.as_secs_f64()) * 100.0;
    report.goal("ledger, its share of ingest", percent, "percent", Goal::AtMost(GOAL_PERCENT));
    Ok(())
}

/// Processor time of all parts that take messages in.
fn used(stack: &mut Stack) -> Duration {
    [stack.broker.process(), stack.central.process(), stack.clickhouse.process()]
        .map(|part| part.cpu_time())
        .iter()
        .sum()
}

/// Seconds of processor time a second.
async fn work(stack: &mut Stack, time: Duration) -> f64 {
    let before = used(stack);
    tokio::time::sleep(time).await;
    used(stack).saturating_sub(before).as_secs_f64() / time.as_secs_f64()
}

/// What an edge would say of the windows that hot holds.
async fn audits(stack: &Stack) -> Result<Vec<Audit>> {
    let query = format!(
        "SELECT toUnixTimestamp(toStartOfMinute(received_at)) AS minute, tuple({FINGERPRINT_SQL}) AS told \
         FROM marketprism_hot.trades GROUP BY minute ORDER BY minute FORMAT JSONCompactEachRow \
         SETTINGS output_format_json_quote_64bit_integers = 1"
    );
    let text = stack.clickhouse.text(&query).await.map_err(|e| anyhow!(e))?;
    let subject: Subject = Subject::parse(&Sample::Trades.subject()?)?;
    text.lines().map(|line| audit(&serde_json::from_str(line)?, &subject)).collect()
}

fn audit(row: &Value, subject: &Subject) -> Result<Audit> {
    let minute = row.pointer("/0").and_then(Value::as_i64).context("no minute")?;
    let number = |path: &str| -> Result<u64> {
        row.pointer(path)
            .and_then(Value::as_str)
            .with_context(|| format!("{path} of {row}"))?
            .parse()
            .map_err(Into::into)
    };
    let stored = Fingerprint { count: number("/1/0")?, xor: number("/1/1")?, sum: number("/1/2")? };
    let window_start = minute * 1_000_000_000;
    Ok(Audit {
        version: AUDIT_VERSION,
        edge: EDGE.to_owned(),
        region: "bench".to_owned(),
        run: 1,
        window_start,
        window_seconds: 60,
        from: window_start,
        to: window_start + MINUTE_NS,
        part: 1,
        parts: 1,
        streams: vec![StreamAudit { stored, ..StreamAudit::new(subject) }],
        silent: Vec::new(),
        feeds: Vec::new(),
    })
}

async fn publish(stack: &Stack, audits: &[Audit]) -> Result<()> {
    let context = async_nats::jetstream::new(async_nats::connect(stack.broker.url()).await?);
    for audit in audits {
        let payload = encode_audit(audit)?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", audit_message_id(audit, &payload));
        headers.insert("Content-Type", "application/json");
        context.publish_with_headers(audit_subject(EDGE), headers, payload.into()).await?.await?;
    }
    Ok(())
}

/// Nanoseconds for one event id.
fn fingerprint() -> f64 {
    const IDS: u32 = 1_000_000;
    let started = Instant::now();
    let mut fingerprint = Fingerprint::default();
    for id in 0..IDS {
        fingerprint.add(black_box(EventId(u128::from(id) << 40)));
    }
    black_box(fingerprint);
    started.elapsed().as_secs_f64() / f64::from(IDS) * 1e9
}

async fn until(stack: &Stack, query: &str, wanted: u64) -> Result<()> {
    let started = Instant::now();
    loop {
        let found = stack.clickhouse.number(query).await.map_err(|e| anyhow!(e))?;
        if found >= wanted {
            return Ok(());
        }
        ensure!(started.elapsed() < LIMIT, "only {found} of {wanted} within {LIMIT:?}: {query}");
        // Seldom: each look costs the engine 2 ms, which would be counted.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
