//! `init`.

use std::process::Output;

use crate::stack::{PATIENCE, Stack};

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn error_of(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn init_is_idempotent_and_names_drift() {
    let Some(stack) = Stack::start().await else { return };
    let config = stack.configure("");
    let first = stack.init(&config, &[]);
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    for created in
        ["stream MARKET_DATA: created", "table marketprism_cold.orderbooks: created", "dead_letters"]
    {
        assert!(stdout(&first).contains(created), "{created}: {}", stdout(&first));
    }
    let second = stack.init(&config, &[]);
    assert_eq!(second.status.code(), Some(0), "{second:?}");
    let all_as_wanted = stdout(&second).lines().all(|line| line.ends_with(": as wanted"));
    assert!(all_as_wanted && stdout(&second).lines().count() > 20, "{}", stdout(&second));

    let jetstream = stack.jetstream().await;
    let mut stream = jetstream.get_stream("ORDERBOOK_SNAP").await.unwrap().cached_info().config.clone();
    stream.max_age = std::time::Duration::from_secs(3600);
    jetstream.update_stream(stream).await.unwrap();
    stack
        .execute(
            "ALTER TABLE marketprism_hot.trades MODIFY TTL toDateTime(timestamp) + INTERVAL 9 DAY DELETE",
        )
        .await;
    let third = stack.init(&config, &[]);
    assert_eq!(third.status.code(), Some(3), "{third:?}");
    for named in ["max_age_seconds: wanted 86400, found 3600", "toIntervalDay(3), found", "toIntervalDay(9)"]
    {
        assert!(stdout(&third).contains(named), "{named}: {}", stdout(&third));
    }
    assert_eq!(stack.init(&config, &["--apply"]).status.code(), Some(0));
    assert_eq!(stack.init(&config, &[]).status.code(), Some(0));

    stack.execute("ALTER TABLE marketprism_hot.trades MODIFY COLUMN is_maker UInt8").await;
    let refused = stack.init(&config, &["--apply"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let error = error_of(&refused);
    assert!(error.contains("marketprism_hot.trades: column is_maker: wanted Bool, found UInt8"), "{error}");
    assert_eq!(
        stack.run(&config).ended(PATIENCE).await.code(),
        Some(1),
        "run must refuse the same difference"
    );
    let scratch = "SELECT count() FROM system.databases WHERE name LIKE 'marketprism_scratch_%'";
    assert_eq!(stack.hot().query_raw(scratch).fetch_one::<u64>().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_room_at_the_broker_is_said_clearly() {
    let Some(stack) = Stack::start().await else { return };
    let config = stack.configure("[streams.market_data]\nmax_bytes = 1000000000000000\n");
    let output = stack.init(&config, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = error_of(&output);
    assert!(error.contains("no room for stream MARKET_DATA") && error.contains("max_file_store"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_named_on_both_servers() {
    let Some(mut stack) = Stack::start().await else { return };
    stack.start_cold_engine().await;
    let config = stack.configure("");
    assert_eq!(stack.init(&config, &[]).status.code(), Some(0));
    let databases = "SELECT groupArray(name) FROM system.databases WHERE name LIKE 'marketprism_%'";
    for (client, database) in [(stack.hot(), "marketprism_hot"), (stack.cold(), "marketprism_cold")] {
        assert_eq!(client.query_raw(databases).fetch_one::<Vec<String>>().await.unwrap(), [database]);
    }
    let second = stack.init(&config, &[]);
    assert!(stdout(&second).lines().all(|line| line.ends_with(": as wanted")), "{}", stdout(&second));

    let cold = |sql: &'static str| async { stack.cold().query_raw(sql).execute().await.unwrap() };
    stack
        .execute("ALTER TABLE marketprism_hot.trades RESET SETTING non_replicated_deduplication_window")
        .await;
    cold("ALTER TABLE marketprism_cold.orderbooks MODIFY TTL toDateTime(timestamp) + INTERVAL 9 DAY DELETE")
        .await;
    cold("ALTER TABLE marketprism_cold.window_log MODIFY COLUMN rows CODEC(LZ4)").await;
    let drift = stack.init(&config, &[]);
    assert_eq!(drift.status.code(), Some(3), "{drift:?}");
    for named in [
        "table marketprism_hot.trades: DIFFERS\n  setting non_replicated_deduplication_window: wanted 10000",
        "table marketprism_cold.orderbooks: DIFFERS\n  ttl: wanted toDateTime(timestamp) + toIntervalDay(3650), found",
        "table marketprism_cold.window_log: DIFFERS\n  codec rows: wanted CODEC(ZSTD(1)), found CODEC(LZ4)",
    ] {
        assert!(stdout(&drift).contains(named), "{named}: {}", stdout(&drift));
    }
    assert_eq!(stack.init(&config, &["--apply"]).status.code(), Some(0));
    assert_eq!(stack.init(&config, &[]).status.code(), Some(0));

    cold("ALTER TABLE marketprism_cold.trades MODIFY COLUMN price Float64").await;
    let refused = stack.init(&config, &["--apply"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let error = error_of(&refused);
    assert!(
        error.contains("marketprism_cold.trades: column price: wanted Decimal(38, 18), found Float64"),
        "{error}"
    );
}
