//! Rates, on request: `cargo test --release -p marketprism-central --test pipeline -- --ignored --nocapture --test-threads 1`.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use marketprism_schema::Event;

use crate::events::{book, now_us, publish, trade};
use crate::stack::{Stack, until};

/// Publishes events first, then starts central with the default batches, and tells how long it takes until all are in hot.
async fn measure(table: &str, events: u64, make: impl Fn(u64) -> Event<'static>) {
    let Some(stack) = Stack::start() else { return };
    let config = stack.configure("");
    let text = std::fs::read_to_string(&config).unwrap();
    let defaults = text.replace("ack_wait_ms = 3000", "").replace("insert_timeout_ms = 1000", "");
    std::fs::write(&config, defaults).unwrap();
    assert_eq!(stack.init(&config, &[]).status.code(), Some(0));
    publish(&stack.jetstream().await, (0..events).map(make)).await;

    let started = Instant::now();
    let central = stack.run(&config);
    let first = OnceLock::new();
    until("all rows", || async {
        let sql = format!("SELECT count() FROM marketprism_hot.{table}");
        let rows = stack.clickhouse().query_raw(&sql).fetch_one::<u64>().await.ok()?;
        if rows > 0 {
            first.get_or_init(|| (Instant::now(), rows));
        }
        (rows == events).then_some(())
    })
    .await;
    let (whole, memory) = (started.elapsed(), central.resident_mib());
    let &(since, before) = first.get().unwrap();
    let rate = |rows: u64, time: Duration| u128::from(rows) * 1_000 / time.as_millis().max(1);
    eprintln!(
        "{table}: {events} rows in {} ms since the start of the process: {}/s; {}/s since the first were seen; \
         {memory} MiB resident",
        whole.as_millis(),
        rate(events, whole),
        rate(events - before, since.elapsed()),
    );
    stack.holds_once(table, events).await;
    drop(central);
}

/// Goal: the rate of trades from a full stream, all parts on this machine.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn rate_of_trades() {
    let base = now_us();
    measure("trades", 1_000_000, |n| trade(n, base)).await;
}

/// Goal: the rate of books of 400 levels a side from a full stream, all parts on this machine.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn rate_of_books() {
    let base = now_us();
    measure("orderbooks", 20_000, |n| book(n, 400, base)).await;
}
