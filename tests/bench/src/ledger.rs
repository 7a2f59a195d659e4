//! CPU time of audits and of the ledger's comparison, relative to the CPU time of ingesting the same events. CPU time, because two
//! percent of a throughput are below the noise of a shared machine.
//!
//! A round is one minute with default settings: trades, the end of their window, the edge's audit some seconds later, the verdict. The
//! ledger's share is all work of central, engine and broker after the end of the window, less their idle work. The periodic comparison of
//! all windows is measured without its pauses. The replicator is off.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use async_nats::HeaderMap;
use marketprism_edge::audit::{AuditOrigin, Auditor, PublishOutcome, RecordOutcome};
use marketprism_schema::{
    AUDIT_VERSION, Audit, Capability, DataType, DataTypeMap, EdgeHealth, EventId, FINGERPRINT_SQL,
    Fingerprint, SilentStreams, StreamAudit, StreamId, WireForm, audit_message_id, audit_subject,
    encode_audit,
};
use marketprism_tests::central::{Central, Settings};
use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::stack::Stack;
use serde_json::Value;

use crate::engine::reaches;
use crate::sample::{self, Sample};

/// Pause between looks at the rows: their cost counts as that of the engine.
const ROWS_EVERY: Duration = Duration::from_millis(500);
/// Limit for rows: a window of one minute has to end.
const LIMIT: Duration = Duration::from_secs(240);
/// Time over which the idle work of the processes is measured; CPU time has a resolution of 10 ms.
const QUIET: Duration = Duration::from_secs(20);
/// Time that an edge waits after a window's end for messages in flight.
const SETTLED: Duration = Duration::from_secs(3);
/// Time from an audit to its verdict; the ledger runs every 5 s.
const JUDGED: Duration = Duration::from_secs(12);
/// Time over which the comparison of all windows is measured.
const AGAIN: Duration = Duration::from_secs(30);
/// Measured minutes; the median counts.
const ROUNDS: usize = 3;
/// Further streams without events; each has its audit and its verdict.
const SILENT: usize = 99;
const GOAL_PERCENT: f64 = 2.0;
/// Percent of a core that the repeated comparison may take whatever the size of hot: `RECHECK_SHARE` of central's limits. The measured
/// share is lower for a small hot database.
const AGAIN_AT_MOST: f64 = 1.0;
const MINUTE_NS: i64 = 60_000_000_000;
const EDGE: &str = "edge-bench";
/// Nothing is copied to cold.
const AT_REST: &str = "[replication]\ninterval_ms = 3600000\n";

/// CPU seconds of one round.
#[derive(Debug, Clone, Copy)]
struct Cost {
    ingest: f64,
    ledger: f64,
}

/// Ingests trades, then audits their windows, and compares the CPU time of both.
pub async fn measure(report: &mut Report, trades: u64) -> Result<()> {
    let mut stack = Stack::plain_with(AT_REST).await;
    let (mut costs, mut told_up_to) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        let first = u64::try_from(round)? * trades;
        costs.push(minute(&mut stack, first, trades, &mut told_up_to).await?);
    }
    costs.sort_by(|a, b| (a.ledger / a.ingest).total_cmp(&(b.ledger / b.ingest)));
    let Cost { ingest, ledger } = *costs.get(ROUNDS / 2).context("no rounds")?;
    let each = |seconds: f64| seconds / trades as f64 * 1e6;
    report.figure(
        "ledger, processor time of taking a trade in (broker, central, engine)",
        each(ingest),
        "us",
    );
    let name =
        format!("ledger, processor time of judging a minute of {trades} trades and {SILENT} silent streams");
    report.figure(name, each(ledger), "us a trade");
    let counting = counting(&StreamId::parse(&Sample::Trades.subject()?)?);
    report.figure("ledger, an edge's counting of a trade", counting, "ns");
    let judging = (each(ledger) + counting / 1e3) / each(ingest) * 100.0;
    report.figure("ledger, share of ingest of these", judging, "percent");
    let again = again(&mut stack).await?;
    report.figure("ledger, comparing all that hot holds again, without a pause", again, "% of a core");
    let cores = std::thread::available_parallelism()?.get() as f64;
    let percent = judging + again.max(AGAIN_AT_MOST) / cores;
    let name = format!(
        "ledger, share of throughput where ingest keeps {cores} cores busy, {AGAIN_AT_MOST} % of one for comparing again"
    );
    report.goal(name, percent, "percent", Goal::AtMost(GOAL_PERCENT));
    Ok(())
}

/// One minute, from the first trade to the verdict.
async fn minute(stack: &mut Stack, first: u64, trades: u64, told_up_to: &mut i64) -> Result<Cost> {
    let before = used(stack);
    sample::publish(&stack.broker.url(), Sample::Trades, (WireForm::Json, 1), first, trades).await?;
    let rows = "SELECT count() FROM marketprism_hot.trades";
    reaches(&stack.clickhouse, rows, first + trades, (ROWS_EVERY, LIMIT)).await?;
    let ingest = (used(stack).saturating_sub(before)).as_secs_f64();

    let audits = audits(stack, *told_up_to).await?;
    let last_end = audits.iter().map(Audit::window_end).max().context("no windows")?;
    *told_up_to = last_end;
    let left = u64::try_from(last_end - now_ns()?).unwrap_or_default();
    tokio::time::sleep(Duration::from_nanos(left)).await;
    let before = used(stack);
    tokio::time::sleep(SETTLED).await;
    publish(stack, &audits).await?;
    tokio::time::sleep(JUDGED).await;
    let spent = used(stack).saturating_sub(before).as_secs_f64();
    // Only now the engine has merged what it took in: before, that would pass for what it does anyway.
    let quiet = work(stack, QUIET).await;
    let windows =
        "SELECT count() FROM marketprism_hot.verdicts FINAL WHERE data_type = 'trade' AND state = 'verified'";
    let judged = stack.clickhouse.number(windows).await.map_err(|e| anyhow!(e))?;
    let told: usize = audits.iter().map(|audit| audit.streams.len() + audit.silent_streams().count()).sum();
    ensure!(
        judged >= u64::try_from(told)?,
        "{judged} of {told} windows are verified {JUDGED:?} after their audits"
    );
    Ok(Cost { ingest, ledger: spent - quiet * (SETTLED + JUDGED).as_secs_f64() })
}

/// Percent of a core of the comparison of all windows when it repeats without pause.
async fn again(stack: &mut Stack) -> Result<f64> {
    let quiet = work(stack, QUIET).await;
    let (nats, hot) = (stack.broker.nats(), stack.clickhouse.url());
    let more = format!("{AT_REST}[ledger]\nrecheck_seconds = 1\n");
    let settings = Settings { more: &more, ..Settings::plain(&nats, &hot) };
    stack.central.kill();
    stack.central = Central::with_settings(stack.folder.path(), &settings).await;
    // The old one's lease has to run out.
    tokio::time::sleep(QUIET).await;
    Ok((work(stack, AGAIN).await - quiet) * 100.0)
}

fn now_ns() -> Result<i64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_nanos())?)
}

/// CPU time of all parts that ingest messages.
fn used(stack: &mut Stack) -> Duration {
    [stack.broker.process(), stack.central.process(), stack.clickhouse.process()]
        .map(|part| part.cpu_time())
        .iter()
        .sum()
}

/// CPU seconds per second.
async fn work(stack: &mut Stack, time: Duration) -> f64 {
    let before = used(stack);
    tokio::time::sleep(time).await;
    used(stack).saturating_sub(before).as_secs_f64() / time.as_secs_f64()
}

/// The audits that an edge would send for the windows in hot since a time.
async fn audits(stack: &Stack, from: i64) -> Result<Vec<Audit>> {
    let query = format!(
        "SELECT toUnixTimestamp(toStartOfMinute(received_at)) AS minute, tuple({FINGERPRINT_SQL}) AS told \
         FROM marketprism_hot.trades WHERE received_at >= fromUnixTimestamp64Nano(toInt64({from})) GROUP BY minute ORDER BY minute FORMAT JSONCompactEachRow \
         SETTINGS output_format_json_quote_64bit_integers = 1"
    );
    let text = stack.clickhouse.text(&query).await.map_err(|e| anyhow!(e))?;
    let subject: StreamId = StreamId::parse(&Sample::Trades.subject()?)?;
    text.lines().map(|line| audit(&serde_json::from_str(line)?, &subject)).collect()
}

fn audit(row: &Value, subject: &StreamId) -> Result<Audit> {
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
    let silent = |n| StreamId { symbol: format!("S{n}-USDT"), ..subject.clone() };
    let streams = (0..SILENT).map(silent).collect();
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
        streams: vec![StreamAudit { stored, ..StreamAudit::new(subject, Capability::UNNUMBERED) }],
        silent: vec![SilentStreams { capability: Capability::UNNUMBERED, streams }],
        feeds: Vec::new(),
        health: EdgeHealth::default(),
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

/// Nanoseconds per acknowledged event in an edge's audit, best of several rounds.
fn counting(subject: &StreamId) -> f64 {
    const BATCHES: u32 = 4_000;
    const BATCH: u32 = 256;
    let one = || {
        let origin = AuditOrigin {
            edge: EDGE.to_owned(),
            region: "bench".to_owned(),
            run_ns: MINUTE_NS,
            window_seconds: 60,
            settle: SETTLED,
        };
        let auditor = Auditor::new(origin);
        let feed = auditor.feed("bench");
        let streams = auditor.subscribe(
            feed,
            &[DataTypeMap::from_fn(|_| Some((subject.clone(), Capability::UNNUMBERED)))],
            MINUTE_NS,
        );
        let stream = streams.first().and_then(|kinds| kinds[DataType::Trade]);
        let settled = |n: u32| RecordOutcome {
            stream,
            received_at_ns: MINUTE_NS + i64::from(n),
            timestamp_us: i64::from(n),
            event_id: EventId(u128::from(n) << 40),
            sequence: Some(i64::from(n)),
            outcome: PublishOutcome::Stored,
        };
        let batch: Vec<RecordOutcome> = (0..BATCH).map(settled).collect();
        let started = Instant::now();
        for _ in 0..BATCHES {
            auditor.record(black_box(&batch));
        }
        let time = started.elapsed();
        black_box(auditor.close(3 * MINUTE_NS, i64::MAX, 1));
        time.as_secs_f64() / f64::from(BATCHES * BATCH) * 1e9
    };
    (0..5).map(|_| one()).fold(f64::INFINITY, f64::min)
}
