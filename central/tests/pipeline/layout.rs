//! `init`.

use marketprism_schema::EventId;
use marketprism_tests::broker::free_port;
use marketprism_tests::process::Process;
use marketprism_tests::wait::eventually;

use crate::events::{now_us, publish, trade};
use crate::http_proxies::DroppingProxy;
use crate::ingest::events_consumer;
use crate::stack::{PATIENCE, Stack, contains_all};

#[tokio::test(flavor = "multi_thread")]
async fn cold_keeps_rows_for_longer_than_hot() {
    let Some(stack) = Stack::empty().await else { return };
    let config = stack.configure("");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[clickhouse]\n", "[clickhouse]\ncold_ttl_days = 3\n")).unwrap();
    let refused = String::from_utf8(stack.command("init", &config, &[]).stderr).unwrap();
    contains_all(&refused, &["clickhouse.cold_ttl_days", "more than clickhouse.hot_ttl_days, 3"]);
}

/// ClickHouse adds a TTL in 32 bits of seconds: a hundred years from now would be 1990, and it would delete every row at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_ttl_keeps_rows_and_a_longer_one_is_refused_before_anything_changes() {
    let Some((stack, config)) = Stack::laid_out("").await else { return };
    let text = std::fs::read_to_string(&config).unwrap();
    let configure = |key: &str, days: u32| {
        let keys = format!("[clickhouse]\n{key} = {days}\n");
        std::fs::write(&config, text.replace("[clickhouse]\n", &keys)).unwrap();
    };
    let row = "INSERT INTO marketprism_cold.trades (timestamp, exchange, event_id) SELECT now64(6), 'a', 1";
    stack.execute(row).await;
    for key in ["cold_ttl_days", "hot_ttl_days"] {
        configure(key, 18_251);
        let refused = stack.command("init", &config, &["--apply"]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let reason = format!("clickhouse.{key}: is 18251 (allowed: a whole number from 1 to 18250)");
        contains_all(&String::from_utf8(refused.stderr).unwrap(), &[reason.as_str()]);
    }
    configure("cold_ttl_days", 18_250);
    contains_all(&stack.init(&config, &["--apply"], 0), &["toIntervalDay(18250), found"]);
    stack.execute("OPTIMIZE TABLE marketprism_cold.trades FINAL").await;
    assert_eq!(stack.number("SELECT count() FROM marketprism_cold.trades").await, Some(1));
}

/// An earlier version wrote such a TTL.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_copied_into_a_cold_that_would_delete_it() {
    let Some((stack, config)) = Stack::laid_out("").await else { return };
    let ttl = "toDateTime(timestamp) + INTERVAL 36500 DAY DELETE";
    stack.execute(&format!("ALTER TABLE marketprism_cold.trades MODIFY TTL {ttl}")).await;
    let _central = stack.run(&config);
    let todo = "table marketprism_cold.trades drops rows after 0 d";
    eventually("health names the table", async || {
        stack.get("/health").filter(|(status, body)| *status == 503 && body.contains(todo))
    })
    .await;
    stack.init(&config, &["--apply"], 0);
    eventually("the replicator works", async || stack.get("/health").filter(|(status, _)| *status == 200))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_is_idempotent_and_names_drift() {
    let Some(stack) = Stack::empty().await else { return };
    let config = stack.configure("");
    let first = stack.init(&config, &[], 0);
    contains_all(
        &first,
        &["stream MARKET_DATA: created", "table marketprism_cold.orderbooks: created", "dead_letters"],
    );
    assert!(first.lines().count() > 20, "{first}");
    stack.is_as_wanted(&config);

    let jetstream = stack.jetstream().await;
    let mut stream = jetstream.get_stream("ORDERBOOK_SNAP").await.unwrap().cached_info().config.clone();
    stream.max_age = std::time::Duration::from_secs(3600);
    jetstream.update_stream(stream).await.unwrap();
    stack
        .execute(
            "ALTER TABLE marketprism_hot.trades MODIFY TTL toDateTime(timestamp) + INTERVAL 9 DAY DELETE",
        )
        .await;
    let third = stack.init(&config, &[], 3);
    contains_all(
        &third,
        &["max_age_seconds: wanted 86400, found 3600", "toIntervalDay(3), found", "toIntervalDay(9)"],
    );
    stack.init(&config, &["--apply"], 0);
    stack.init(&config, &[], 0);

    stack.execute("ALTER TABLE marketprism_hot.trades MODIFY COLUMN is_maker UInt8").await;
    let error = stack.init(&config, &["--apply"], 1);
    assert!(error.contains("marketprism_hot.trades: column is_maker: wanted Bool, found UInt8"), "{error}");
    assert_eq!(
        stack.run(&config).ended(PATIENCE).await.code(),
        Some(1),
        "run must refuse the same difference"
    );
    let scratch = "SELECT count() FROM system.databases WHERE name LIKE 'marketprism_scratch_%'";
    assert_eq!(stack.number(scratch).await, Some(0));
}

/// Comparing means to create all tables once more; their state when they did not differ is noted.
#[tokio::test(flavor = "multi_thread")]
async fn tables_that_were_compared_are_not_compared_again_until_one_changes() {
    let Some((stack, config)) = Stack::laid_out("").await else { return };
    let statements = async |exit: i32| {
        let sql = "SELECT value FROM system.events WHERE event = 'Query'";
        let before = stack.number(sql).await.unwrap();
        let output = stack.init(&config, &[], exit);
        (stack.number(sql).await.unwrap() - before, output)
    };
    let (noted, _) = statements(0).await;
    stack.execute("ALTER TABLE marketprism_hot.trades MODIFY COLUMN trade_id String CODEC(ZSTD(3))").await;
    let (compared, drift) = statements(3).await;
    contains_all(&drift, &["table marketprism_hot.trades: ", "codec trade_id"]);
    assert!(compared > noted + 40, "{noted} statements without a comparison, {compared} with one");
    stack.init(&config, &["--apply"], 0);
    assert_eq!(statements(0).await.0, noted, "they are as they were");
}

/// Hot would drop the row of an event of two days before at once, and the message of it would be acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn no_central_works_until_hot_keeps_rows_as_long_as_configured() {
    const DAY_US: i64 = 86_400_000_000;
    let Some((stack, config)) = Stack::laid_out("").await else { return };
    let shorter =
        "ALTER TABLE marketprism_hot.trades MODIFY TTL toDateTime(timestamp) + INTERVAL 1 DAY DELETE";
    stack.execute(shorter).await;
    let mut old = trade(1, now_us() - 2 * DAY_US);
    old.header.received_at_ns = now_us() * 1_000;
    old.header.event_id = EventId::of(&old);
    publish(&stack.jetstream().await, std::iter::once(old)).await;
    let _central = stack.run(&config);
    let port = free_port();
    let mut command = Stack::central_command("run", &stack.configure_as("replicator", port, ""));
    let _replicator = Process::start("replicator", command.args(["--role", "cold"]), stack.folder());
    let todo =
        "table marketprism_hot.trades drops rows after 1 d, clickhouse.hot_ttl_days is 3: run `init --apply`";
    let reasons = stack.is_unready_for(todo).await;
    assert!(reasons.contains("\"layout: "), "{reasons}");
    eventually("the replicator to say so too", async || {
        Stack::get_at(port, "/health").filter(|(status, body)| *status == 503 && body.contains(todo))
    })
    .await;
    let taken = events_consumer(&stack, "MARKET_DATA", "central-trades").await.unwrap();
    assert_eq!((taken.delivered.consumer_sequence, taken.num_pending), (0, 1));
    stack.init(&config, &["--apply"], 0);
    stack.is_ready().await;
    stack.holds_once("trades", 1).await;
    eventually("the replicator to work", async || {
        Stack::get_at(port, "/ready").filter(|(status, _)| *status == 200)
    })
    .await;
}

/// By default the engine does so with more columns outside of the key and the index than these tables have.
#[tokio::test(flavor = "multi_thread")]
async fn large_merges_of_trades_and_quotes_go_column_by_column() {
    let Some(stack) = Stack::start().await else { return };
    let spent = "SELECT sum(value) FROM system.events WHERE event = 'MergeVerticalStageTotalMilliseconds'";
    for table in ["trades", "quotes"] {
        let before = stack.number(spent).await.unwrap();
        let from = format!(
            "INSERT INTO marketprism_hot.{table} (timestamp, exchange, event_id) SELECT now64(6), 'a'"
        );
        for half in 0..2 {
            stack.execute(&format!("{from}, 2 * number + {half} FROM numbers(150000)")).await;
        }
        stack.execute(&format!("OPTIMIZE TABLE marketprism_hot.{table} FINAL")).await;
        assert!(stack.number(spent).await.unwrap() > before, "{table}");
    }
}

/// Columns with a dot share the lengths of their arrays: versions of ClickHouse have mixed them up in merges column by column.
#[tokio::test(flavor = "multi_thread")]
async fn large_merges_leave_the_levels_of_changes_and_the_events_of_copies_as_they_were() {
    let Some(stack) = Stack::start().await else { return };
    let array = |value: &str, length: u8| format!("arrayMap(i -> {value}, range(n % {length}))");
    let (bids, asks) = (array("toInt64(n + i)", 7), array("toInt64(n * i)", 5));
    let changes = format!(
        "orderbook_deltas (created_at, timestamp, exchange, event_id, `bids.price`, `bids.quantity`, `asks.price`, `asks.quantity`) \
         SELECT toDateTime64(today(), 3) + half, toDateTime64(today(), 6), 'a', id, {bids}, {bids}, {asks}, {asks}"
    );
    let time = "fromUnixTimestamp64Nano(toInt64(n + i))";
    let copies = format!(
        "copies (created_at, received_from, `events.event_id`, `events.received_at`, `events.stream_seq`) SELECT \
         toDateTime64(today(), 3), fromUnixTimestamp64Nano(toInt64(n)), {}, {}, {}",
        array("toUInt128(n + i)", 3),
        array(time, 3),
        array("toUInt64(n * i)", 3)
    );
    for rows in [changes, copies] {
        for half in 0..2 {
            // Some of the second half take the place of rows of the first.
            let numbers = format!(
                "(SELECT {half} AS half, 2 * number + half AS n, n - (half = 1 AND number % 10 = 0) AS id FROM numbers(150000))"
            );
            stack.execute(&format!("INSERT INTO marketprism_hot.{rows} FROM {numbers}")).await;
        }
        let table = rows.split_once(' ').unwrap().0;
        let content = format!("SELECT sum(cityHash64(tuple(*))) FROM marketprism_hot.{table}");
        let before = stack.number(&format!("{content} FINAL")).await.unwrap();
        stack.execute(&format!("OPTIMIZE TABLE marketprism_hot.{table} FINAL")).await;
        assert_eq!(stack.number(&content).await, Some(before), "{table}");
    }
    let vertical = "SELECT sum(value) FROM system.events WHERE event = 'MergeVerticalStageTotalMilliseconds'";
    assert!(stack.number(vertical).await.unwrap() > 0, "no merge went column by column");
}

/// Tokens and comments of inserts, `readonly` and the limits of queries are settings.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_drops_settings_is_refused_and_asked_nothing_else() {
    let Some((stack, config)) = Stack::laid_out("").await else { return };
    let proxy = DroppingProxy::before(stack.engine.port()).await;
    Stack::lead_to(&config, stack.engine.port(), proxy.port);
    let todo = ["it does not get the settings of requests", "server's own address"];
    contains_all(&stack.init(&config, &[], 1), &todo);
    let refused = stack.command("query", &config, &["DROP TABLE trades"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    contains_all(&String::from_utf8(refused.stderr).unwrap(), &todo);
    assert_eq!(stack.trades().await, Some(0), "the table is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_room_at_the_broker_is_said_clearly() {
    let Some(stack) = Stack::empty().await else { return };
    let config = stack.configure("[streams.market_data]\nmax_bytes = 1000000000000000\n");
    let error = stack.init(&config, &[], 1);
    assert!(error.contains("no room for stream MARKET_DATA") && error.contains("max_file_store"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_named_on_both_servers() {
    let Some(mut stack) = Stack::empty().await else { return };
    stack.start_cold_engine().await;
    let config = stack.configure("");
    stack.init(&config, &[], 0);
    let databases = "SELECT groupArray(name) FROM system.databases WHERE name LIKE 'marketprism_%'";
    for (client, database) in [(stack.hot(), "marketprism_hot"), (stack.cold(), "marketprism_cold")] {
        assert_eq!(client.query_raw(databases).fetch_one::<Vec<String>>().await.unwrap(), [database]);
    }
    stack.is_as_wanted(&config);

    let cold = |sql: &'static str| async { stack.cold().query_raw(sql).execute().await.unwrap() };
    stack
        .execute("ALTER TABLE marketprism_hot.trades RESET SETTING non_replicated_deduplication_window")
        .await;
    cold("ALTER TABLE marketprism_cold.orderbooks MODIFY TTL toDateTime(timestamp) + INTERVAL 9 DAY DELETE")
        .await;
    cold("ALTER TABLE marketprism_cold.window_log MODIFY COLUMN rows CODEC(LZ4)").await;
    stack.execute("ALTER TABLE marketprism_hot.trades DROP INDEX arrival").await;
    cold("ALTER TABLE marketprism_cold.trades DROP INDEX arrival").await;
    cold("ALTER TABLE marketprism_cold.trades ADD INDEX arrival received_at TYPE set(10) GRANULARITY 4")
        .await;
    let drift = stack.init(&config, &[], 3);
    contains_all(
        &drift,
        &[
            "  setting non_replicated_deduplication_window: wanted 10000",
            "  index arrival: wanted (created_at, received_at, stream_seq) TYPE minmax GRANULARITY 1, found none",
            "  index arrival: wanted (created_at, received_at, stream_seq) TYPE minmax GRANULARITY 1, found (received_at) TYPE set(10) GRANULARITY 4",
            "table marketprism_cold.orderbooks: DIFFERS\n  ttl: wanted toDateTime(timestamp) + toIntervalDay(3650), found",
            "table marketprism_cold.window_log: DIFFERS\n  codec rows: wanted CODEC(ZSTD(1)), found CODEC(LZ4)",
        ],
    );
    stack.init(&config, &["--apply"], 0);
    stack.init(&config, &[], 0);

    cold("ALTER TABLE marketprism_cold.trades MODIFY COLUMN price Float64 CODEC(ZSTD(1))").await;
    let error = stack.init(&config, &["--apply"], 1);
    assert!(
        error.contains("marketprism_cold.trades: column price: wanted Decimal(38, 18), found Float64"),
        "{error}"
    );
}
