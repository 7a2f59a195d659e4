//! `init`.

use std::process::Output;

use crate::stack::Stack;

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Goal: `init` creates everything once, finds it as wanted the second time, names both values of what differs, changes that only when
/// told to, and refuses what cannot be changed without deleting anything.
/// Method: change a stream and two tables behind its back, and read exit status and output.
#[tokio::test(flavor = "multi_thread")]
async fn init_is_idempotent_and_names_drift() {
    let Some(stack) = Stack::start() else { return };
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
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("marketprism_hot.trades: column is_maker: wanted Bool, found UInt8"), "{error}");
    assert_eq!(stack.run(&config).ended().code(), Some(1), "run must refuse the same difference");
    let scratch = "SELECT count() FROM system.databases WHERE name LIKE 'marketprism_scratch_%'";
    assert_eq!(stack.clickhouse().query_raw(scratch).fetch_one::<u64>().await.unwrap(), 0);
}

/// Goal: a broker without room for the streams is told as such, with the stream and what to do.
#[tokio::test(flavor = "multi_thread")]
async fn too_little_room_at_the_broker_is_said_clearly() {
    let Some(stack) = Stack::start() else { return };
    let config = stack.configure("[streams.market_data]\nmax_bytes = 1000000000000000\n");
    let output = stack.init(&config, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("no room for stream MARKET_DATA") && error.contains("max_file_store"), "{error}");
}
