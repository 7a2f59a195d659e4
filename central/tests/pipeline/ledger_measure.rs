//! What audits and the ledger cost, on request:
//! `cargo test --release -p marketprism-central --test pipeline -- --ignored --nocapture --test-threads 1 ledger_measure`.

use std::time::{Duration, Instant};

use marketprism_schema::{Event, StreamAudit};

use crate::auditing::{audit, stored, tell};
use crate::events::{now_us, publish, trade};
use crate::stack::Stack;

const TRADES: u64 = 500_000;
const WINDOWS: u64 = 20;
const WINDOW_NS: i64 = 60_000_000_000;
/// Long enough for the second look at windows whose rows were still on their way at the first.
const LASTS: Duration = Duration::from_secs(90);

/// A trade of one of the windows.
fn event(number: u64, first_window: i64) -> Event<'static> {
    let in_window = i64::try_from(number % (TRADES / WINDOWS)).unwrap();
    let window = first_window + i64::try_from(number / (TRADES / WINDOWS)).unwrap() * WINDOW_NS;
    trade(number, window / 1_000 + in_window - i64::try_from(number).unwrap())
}

/// Milliseconds until all trades of a full stream are in hot, and CPU time of central and the engine until every window is judged.
async fn measure(with_audits: bool) -> Option<(u128, u64, u64)> {
    let stack = Stack::start()?;
    let ledger = if with_audits { "" } else { "[ledger]\ninterval_ms = 600000\n" };
    let config = stack.configure(ledger);
    let text = std::fs::read_to_string(&config).unwrap();
    let defaults = text.replace("ack_wait_ms = 3000", "").replace("insert_timeout_ms = 1000", "");
    std::fs::write(&config, defaults).unwrap();
    assert_eq!(stack.init(&config, &[]).status.code(), Some(0));
    let now = now_us() * 1_000;
    let first = now - now.rem_euclid(WINDOW_NS) - 30 * WINDOW_NS;
    let jetstream = stack.jetstream().await;
    publish(&jetstream, (0..TRADES).map(|n| event(n, first))).await;
    let engine_before = stack.engine_cpu_ms();
    if with_audits {
        for n in 0..WINDOWS {
            let window = first + i64::try_from(n).unwrap() * WINDOW_NS;
            let each = TRADES / WINDOWS;
            let events: Vec<_> = (n * each..(n + 1) * each).map(|n| event(n, first)).collect();
            let streams: Vec<StreamAudit> = vec![stored("BTC-USDT", &events)];
            let mut told = audit("edge-test", window, streams);
            (told.window_seconds, told.to) = (60, window + WINDOW_NS);
            tell(&jetstream, &told).await;
        }
    }
    let started = Instant::now();
    let central = stack.run(&config);
    let count = |sql: String| {
        let client = stack.clickhouse();
        async move { client.query_raw(&sql).fetch_one::<u64>().await.ok() }
    };
    // Asked seldom: each question costs the engine milliseconds.
    let rows = || count("SELECT count() FROM marketprism_hot.trades".to_owned());
    while rows().await != Some(TRADES) {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let took = started.elapsed().as_millis();
    // As long for both, so that what runs anyway costs both the same.
    tokio::time::sleep(LASTS.saturating_sub(started.elapsed())).await;
    if with_audits {
        let verified = "SELECT count() FROM marketprism_hot.verdicts FINAL WHERE state = 'verified'";
        assert_eq!(count(verified.to_owned()).await, Some(WINDOWS));
    }
    Some((took, central.cpu_ms(), stack.engine_cpu_ms() - engine_before))
}

/// Goal: the rate of trades from a full stream with and without audits and ledger, in turn.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn rate_of_trades_with_and_without_the_ledger() {
    for round in 0..2 {
        for with_audits in [false, true] {
            let Some((took, central, engine)) = measure(with_audits).await else { return };
            let rate = u128::from(TRADES) * 1_000 / took.max(1);
            eprintln!(
                "round {round}, audits {with_audits}: {rate} rows/s; CPU of central {central} ms, of the engine {engine} ms"
            );
        }
    }
}
