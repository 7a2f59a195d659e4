//! Migrations of databases.

use marketprism_schema::{DatabaseKind, Layout, Migration};
use marketprism_tests::wait::eventually;

use crate::events::{now_us, publish, trade};
use crate::stack::{PATIENCE, Stack, contains_all};

fn layout(kind: DatabaseKind) -> Layout<'static> {
    let database = match kind {
        DatabaseKind::Hot => "marketprism_hot",
        DatabaseKind::Cold => "marketprism_cold",
    };
    let ttl_days = if kind == DatabaseKind::Hot { 3 } else { 3650 };
    Layout { kind, database, ttl_days, ledger_ttl_days: 35, cluster: None }
}

/// Both databases are created from the first migration alone, with rows and without records.
#[tokio::test(flavor = "multi_thread")]
async fn databases_of_an_earlier_version_are_adopted() {
    let Some(stack) = Stack::empty().await else { return };
    let config = stack.configure("");
    for kind in DatabaseKind::ALL {
        stack.execute(&format!("CREATE DATABASE {}", layout(kind).database)).await;
        for statement in Migration::ALL[1].statements(&layout(kind)) {
            stack.execute(&statement.sql).await;
        }
    }
    let rows = "INSERT INTO marketprism_hot.trades (timestamp, exchange, event_id, received_at, created_at) SELECT now64(6), \
                'x', number, now64(9), now64(3) FROM numbers(1000)";
    stack.execute(rows).await;

    let output = stack.init(&config, &[], 0);
    contains_all(
        &output,
        &[
            "migration marketprism_hot 0001 events: applied",
            "migration marketprism_hot 0002 time_indices: applied",
            "migration marketprism_cold 0003 ledger: applied",
            "table marketprism_hot.trades: as wanted",
            "table marketprism_cold.trades: as wanted",
            "table marketprism_hot.verdicts: created",
        ],
    );
    assert_eq!(stack.number("SELECT count() FROM marketprism_hot.trades").await, Some(1000));
    let indexed = "SELECT count() FROM system.data_skipping_indices WHERE database = 'marketprism_hot' AND table = 'trades' \
                   AND data_compressed_bytes > 0";
    eventually("the old part to have its index", || async {
        stack.number(indexed).await.filter(|indices| *indices == 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_another_program_are_refused() {
    let Some((stack, config)) = Stack::laid_out("").await else { return };
    let record = |database: &str, version: u32, checksum: &str| {
        format!(
            "INSERT INTO {database}.schema_migrations VALUES ({version}, 'other', '{checksum}', now64(3) + 1, 'test')"
        )
    };
    stack.execute(&record("marketprism_cold", 2, "feedbeef")).await;
    let error = stack.init(&config, &["--apply"], 1);
    contains_all(&error, &["marketprism_cold", "version 2", "feedbeef", &Migration::ALL[2].checksum()]);
    assert_eq!(stack.run(&config).ended(PATIENCE).await.code(), Some(1), "run must refuse it as well");

    stack.execute(&record("marketprism_hot", 77, "feedbeef")).await;
    let error = stack.init(&config, &[], 1);
    contains_all(&error, &["marketprism_hot", "version 77"]);
}

/// Five `init` at once on an empty server.
#[tokio::test(flavor = "multi_thread")]
async fn several_at_once_apply_each_migration_once() {
    let Some(stack) = Stack::empty().await else { return };
    let config = stack.configure("");
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let inits: Vec<_> = (0..5).map(|_| scope.spawn(|| stack.init(&config, &[], 0))).collect();
        inits.into_iter().map(|init| init.join().unwrap()).collect()
    });
    for kind in DatabaseKind::ALL {
        let database = layout(kind).database;
        for Migration { version, name, .. } in Migration::ALL {
            let line = format!("migration {database} {version:04} {name}: applied\n");
            let by = outputs.iter().filter(|output| output.contains(&line)).count();
            assert_eq!(by, 1, "{line}");
            let records =
                format!("SELECT count() FROM {database}.schema_migrations WHERE version = {version}");
            assert_eq!(stack.number(&records).await, Some(1), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_work_is_done_again() {
    let Some((stack, config)) = Stack::laid_out("").await else { return };
    let (left_over, own) = ("marketprism_scratch_1700000000_0123456789abcdef", "marketprism_scratch_of_mine");
    for sql in [
        "ALTER TABLE marketprism_hot.schema_migrations DELETE WHERE version >= 2 SETTINGS mutations_sync = 1",
        "DROP TABLE marketprism_cold.orderbooks SYNC",
        &format!("CREATE DATABASE {left_over}"),
        &format!("CREATE DATABASE {own}"),
    ] {
        stack.execute(sql).await;
    }
    let output = stack.init(&config, &[], 0);
    contains_all(
        &output,
        &[
            "migration marketprism_hot 0002 time_indices: applied",
            "migration marketprism_cold 0002 time_indices: as wanted",
            "table marketprism_cold.orderbooks: created",
            "table marketprism_hot.orderbooks: as wanted",
        ],
    );
    stack.is_as_wanted(&config);
    let scratch = "SELECT arrayStringConcat(groupArray(name)) FROM system.databases WHERE name LIKE 'marketprism_scratch_%'";
    assert_eq!(stack.hot().query_raw(scratch).fetch_one::<String>().await.unwrap(), own);
}

/// `run` gets SIGKILL after the first records.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_migration_is_finished_by_the_next() {
    let Some(stack) = Stack::empty().await else { return };
    let config = stack.configure("");
    let mut central = stack.run(&config);
    eventually("the first records", || async {
        let sql = "SELECT count() FROM marketprism_hot.schema_migrations";
        stack.number(sql).await.filter(|records| *records > 0)
    })
    .await;
    central.kill();
    stack.init(&config, &[], 0);
    for kind in DatabaseKind::ALL {
        let sql = format!("SELECT count() FROM {}.schema_migrations", layout(kind).database);
        assert_eq!(stack.number(&sql).await, Some(u64::from(Migration::newest()) + 1), "{sql}");
    }
    stack.is_as_wanted(&config);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_for_a_cluster_parse() {
    let Some(stack) = Stack::empty().await else { return };
    for kind in DatabaseKind::ALL {
        let layout = Layout { cluster: Some("{cluster}"), ..layout(kind) };
        for statement in Migration::ALL.iter().flat_map(|migration| migration.statements(&layout)) {
            let parsed =
                stack.hot().query("SELECT formatQuery(?)").bind(&statement.sql).fetch_one::<String>();
            let text = parsed.await.unwrap_or_else(|error| panic!("{}: {error}", statement.sql));
            assert!(text.contains("ON CLUSTER `{cluster}`"), "{text}");
            let engine = "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', ";
            assert_eq!(text.contains(engine), text.starts_with("CREATE TABLE"), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hot_does_not_wait_for_cold() {
    const TRADES: u64 = 2_000;
    let Some(mut stack) = Stack::empty().await else { return };
    stack.start_cold_engine().await;
    stack.cold_engine().kill();
    let _central = stack.run(&stack.configure(""));
    eventually("hot to be laid out", || async { stack.counts("trades").await }).await;
    let (base, jetstream) = (now_us(), stack.jetstream().await);
    publish(&jetstream, (0..TRADES).map(|n| trade(n, base))).await;
    stack.holds_once("trades", TRADES).await;
    stack.is_unready_for("cold layout").await;

    stack.cold_engine().restart().await;
    stack.is_ready().await;
    let tables = "SELECT count() FROM system.tables WHERE database = 'marketprism_cold'";
    let found = stack.cold().query_raw(tables).fetch_one::<u64>().await.unwrap();
    assert_eq!(usize::try_from(found).unwrap(), Migration::tables(DatabaseKind::Cold).len());
}
