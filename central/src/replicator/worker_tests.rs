use std::sync::Arc;

use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::parts;

use super::super::table_states::TableStates;
use super::*;
use crate::metrics::Metrics;

#[test]
fn a_round_waits_for_a_window_to_close_or_a_recheck_to_begin() {
    let seconds = Duration::from_secs;
    let hour = seconds(3_600);
    assert_eq!(pause(seconds(5), seconds(40), hour), seconds(40) + limits::CLOSE_MARGIN);
    assert_eq!(pause(seconds(5), seconds(40), seconds(30)), seconds(30));
    assert_eq!(pause(seconds(5), seconds(1), hour), seconds(5));
    assert_eq!(pause(seconds(5), hour, hour), seconds(60), "a restored cold is noticed");
    assert_eq!(pause(hour, seconds(1), seconds(1)), hour);
}

/// A round goes on without states, and copies: the recheck waits. Tables do not wait for a slow server one after another.
#[tokio::test(flavor = "multi_thread")]
async fn states_that_cannot_be_read_delay_the_rechecks_of_all_tables_and_nothing_else() {
    if parts::missing().is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let engine = ClickHouse::start(folder.path()).await;
    let path = folder.path().join("central.toml");
    let text = format!("[nats]\nurls = [\"nats://127.0.0.1:1\"]\n[clickhouse]\nurl = {:?}\n", engine.url());
    std::fs::write(&path, text).unwrap();
    let (config, metrics) = (Config::load(&path).unwrap(), Metrics::new().unwrap());
    let context = CopyContext {
        config: &config,
        lease: None,
        metrics: &metrics.replication,
        status: None,
        holder: "c",
    };
    let pair = HotCold::connect(&config).await.unwrap();
    for sql in [
        "CREATE DATABASE marketprism_cold",
        "CREATE TABLE marketprism_cold.window_log (table_name String, window_start DateTime64(3), state String, \
         logged_at DateTime64(3)) ENGINE = MergeTree ORDER BY window_start",
    ] {
        pair.cold.ask(pair.cold.query(sql).execute()).await.unwrap();
    }
    let mut slow = pair.clone();
    slow.cold.limit = Duration::from_nanos(1);
    let shared = SharedAnswers::default();
    let [mut trades, mut funding] = ["trades", "funding_rates"].map(|name| worker(context, name, &shared));
    assert!(states(&mut trades, &slow).await.is_none());
    assert!(trades.recheck.begins_from().is_none(), "the next round asks again");
    assert!(states(&mut trades, &pair).await.is_none(), "the recheck is not due");
    assert!(states(&mut funding, &pair).await.is_none(), "each table waits for the slow server");
    assert!(funding.recheck.due_in() <= limits::RECHECK_RETRY && trades.lacks_states);
    let mut later = worker(context, "liquidations", &shared);
    assert!(states(&mut later, &pair).await.is_some(), "a recheck that is due later asks again");
}

fn worker<'a>(context: CopyContext<'a>, name: &str, shared: &'a SharedAnswers) -> TableWorker<'a> {
    let table = TableSpec::all().into_iter().find(|table| table.name == name).unwrap();
    TableWorker::new(context, table, shared, None)
}

async fn states(worker: &mut TableWorker<'_>, pair: &HotCold) -> Option<Arc<TableStates>> {
    let (context, table) = (worker.context, worker.table.clone());
    let log = WindowLog { table: table.name };
    let ops = WindowOps { context, table: &table, log, pair, width_ms: 60_000, slice_rows: 1 };
    worker.states(&ops).await
}
