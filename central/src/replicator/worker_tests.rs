use std::sync::Arc;

use marketprism_schema::{DatabaseKind, Layout, Migration};
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
    let Some(tables) = Tables::create().await else { return };
    let (context, pair) = (tables.context(), &tables.pair);
    let mut slow = pair.clone();
    slow.cold.limit = Duration::from_nanos(1);
    let shared = SharedAnswers::default();
    let [mut trades, mut funding] = ["trades", "funding_rates"].map(|name| worker(context, name, &shared));
    assert!(states(&mut trades, &slow).await.is_none());
    assert!(trades.recheck.begins_from().is_none(), "the next round asks again");
    assert!(states(&mut trades, pair).await.is_none(), "the recheck is not due");
    assert!(states(&mut funding, pair).await.is_none(), "each table waits for the slow server");
    assert!(funding.recheck.due_in() <= limits::RECHECK_RETRY && trades.lacks_states);
    let mut later = worker(context, "liquidations", &shared);
    assert!(states(&mut later, pair).await.is_some(), "a recheck that is due later asks again");
}

/// Cold has rows of a window that hot lost, and catching up has not passed it yet: nothing changes when it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_not_at_rest_while_cold_has_windows_that_copying_has_yet_to_reach() {
    let Some(tables) = Tables::create().await else { return };
    let (context, pair, shared) = (tables.context(), &tables.pair, SharedAnswers::default());
    let mut trades = worker(context, "trades", &shared);
    let table = trades.table.clone();
    let run = async |sql: String| pair.cold.ask(pair.cold.query(&sql).execute()).await.unwrap();
    let now_ms = align(clock::now_ns() / 1_000_000, 60_000);
    let at = |minutes: i64| now_ms - minutes * 60_000;
    let cold = pair.cold.table(table.name);
    let time = crate::sql::millis(at(5));
    run(format!("INSERT INTO {cold} (event_id, timestamp, created_at) SELECT 1, {time}, {time}")).await;
    let log = WindowLog { table: table.name };
    let ops = WindowOps { context, table: &table, log, pair, width_ms: 60_000, slice_rows: 1 };
    for has_row in [true, false] {
        if !has_row {
            run(format!("TRUNCATE TABLE {cold}")).await;
        }
        trades.recheck.restart(None);
        let states = trades.states(&ops).await.unwrap();
        trades.recheck.step(&ops, (0, at(6)), Some(&states)).await.unwrap();
        let rests = trades.recheck.is_at_rest(states.facts(table.name));
        assert_eq!(rests, !has_row, "a row of later than what was copied: {has_row}");
    }
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

/// Hot and cold of a real engine, with their tables.
struct Tables {
    config: Config,
    metrics: Metrics,
    pair: HotCold,
    _engine: ClickHouse,
    _folder: tempfile::TempDir,
}

impl Tables {
    /// None where a part is missing on this machine.
    async fn create() -> Option<Self> {
        if parts::missing().is_some() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let engine = ClickHouse::start(folder.path()).await;
        let text =
            format!("[nats]\nurls = [\"nats://127.0.0.1:1\"]\n[clickhouse]\nurl = {:?}\n", engine.url());
        let config = Config::parse(&text).unwrap();
        let pair = HotCold::connect(&config).await.unwrap();
        for (kind, side) in DatabaseKind::ALL.into_iter().zip([&pair.hot, &pair.cold]) {
            let database = &side.storage.database;
            side.ask(side.query(&format!("CREATE DATABASE {database}")).execute()).await.unwrap();
            let layout = Layout { kind, database, ttl_days: 3, ledger_ttl_days: 35, cluster: None };
            for statement in Migration::ALL.iter().flat_map(|migration| migration.statements(&layout)) {
                side.ask(side.query(&statement.sql).execute()).await.unwrap();
            }
        }
        Some(Self { config, metrics: Metrics::new().unwrap(), pair, _engine: engine, _folder: folder })
    }

    fn context(&self) -> CopyContext<'_> {
        let replication = &self.metrics.replication;
        CopyContext { config: &self.config, lease: None, metrics: replication, status: None, holder: "c" }
    }
}
