//! Messages that the broker discarded before they were stored, or that cannot become rows.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use marketprism_tests::wait::eventually;

use crate::copies::confirmed;
use crate::events::{book, message, now_us, publish, publish_bytes, trade};
use crate::ingest::{all_acknowledged, events_consumer};
use crate::stack::{PATIENCE, Stack};

/// First and last sequence, number, cause, evidence.
pub type Loss = (u64, u64, u64, String, String);

pub async fn losses(stack: &Stack) -> Vec<Loss> {
    found_losses(stack).await.unwrap()
}

/// Waits until a number of losses is named.
pub async fn losses_are_named(stack: &Stack, number: usize) -> Vec<Loss> {
    eventually(&format!("{number} losses"), || async {
        let found = found_losses(stack).await.map_err(|error| error.to_string())?;
        if found.len() == number { Ok(found) } else { Err(format!("{found:?}")) }
    })
    .await
}

async fn found_losses(stack: &Stack) -> clickhouse::error::Result<Vec<Loss>> {
    let sql = "SELECT from_seq, to_seq, messages, toString(cause), evidence FROM marketprism_hot.losses FINAL \
               WHERE stream = 'MARKET_DATA' ORDER BY from_seq";
    stack.hot().query_raw(sql).fetch_all().await
}

/// A stream of 1 MiB overflows while central is down, one message is deleted; later the stream is purged. Hot refuses the position at first, so that
/// several scans find the same losses.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_discarded_before_it_was_taken_is_named() {
    const TRADES: u64 = 5_000;
    let Some((stack, config)) =
        Stack::laid_out("[streams.market_data]\nmax_bytes = 1048576\n[batch]\nmax_age_ms = 50\n").await
    else {
        return;
    };
    let base = now_us();
    let jetstream = stack.jetstream().await;
    publish(&jetstream, (0..TRADES).map(|n| trade(n, base))).await;
    let mut stream = jetstream.get_stream("MARKET_DATA").await.unwrap();
    let first = stream.info().await.unwrap().state.first_sequence;
    assert!(first > 1_000 && first < TRADES - 100, "the stream must discard some: {first}");
    stream.delete_message(TRADES - 50).await.unwrap();

    let refused = "CHECK NOT (stream = 'MARKET_DATA' AND stream_created_ns > 1)";
    stack.execute(&format!("ALTER TABLE marketprism_hot.positions ADD CONSTRAINT later {refused}")).await;
    let mut central = stack.run(&config);
    stack.holds_once("trades", TRADES - first).await;
    let named = losses_are_named(&stack, 2).await;
    let spans: Vec<_> = named.iter().map(|loss| (loss.0, loss.1, loss.2)).collect();
    assert_eq!(spans, [(1, first - 1, first - 1), (TRADES - 50, TRADES - 50, 1)], "{named:?}");
    assert!(named.iter().all(|loss| loss.3 == "retention" && loss.4.contains("first sequence")), "{named:?}");
    eventually("three refused positions", async || {
        let sql = "SELECT sum(value) FROM system.errors WHERE name = 'VIOLATED_CONSTRAINT'";
        stack.number(sql).await.filter(|refused| *refused >= 3)
    })
    .await;
    // As a hot that was put back: central alone knows of them.
    stack.execute("TRUNCATE TABLE marketprism_hot.losses").await;
    losses_are_named(&stack, 2).await;
    stack.execute("ALTER TABLE marketprism_hot.positions DROP CONSTRAINT later").await;
    confirmed(&stack, TRADES).await;
    let counted = format!("lost_messages_total{{cause=\"retention\",stream=\"MARKET_DATA\"}} {first}");
    stack.metrics_contain(&counted).await;
    assert_eq!(central.terminate(PATIENCE).await.code(), Some(0));

    publish(&jetstream, (TRADES..TRADES + 10).map(|n| trade(n, base))).await;
    stream.purge().await.unwrap();
    let _central = stack.run(&config);
    let third = losses_are_named(&stack, 3).await.remove(2);
    assert_eq!((third.0, third.1, third.2), (TRADES + 1, TRADES + 10, 10), "{third:?}");
}

/// Central gets SIGKILL while ClickHouse is down, then the stream is purged.
#[tokio::test(flavor = "multi_thread")]
async fn what_died_with_a_central_is_named() {
    const STORED: u64 = 1_000;
    const TAKEN: u64 = 300;
    let Some(mut stack) = Stack::start().await else { return };
    let config = stack.configure("[batch]\nmax_age_ms = 50\n");
    let mut central = stack.run(&config);
    stack.is_ready().await;
    let base = now_us();
    let jetstream = stack.jetstream().await;
    publish(&jetstream, (0..STORED).map(|n| trade(n, base))).await;
    all_acknowledged(&stack, "MARKET_DATA", STORED).await;
    stack.engine.kill();
    publish(&jetstream, (STORED..STORED + TAKEN).map(|n| trade(n, base))).await;
    eventually("all to be delivered", || async {
        let delivered =
            events_consumer(&stack, "MARKET_DATA", "central-trades").await?.delivered.stream_sequence;
        (delivered == STORED + TAKEN).then_some(())
    })
    .await;
    central.kill();
    jetstream.get_stream("MARKET_DATA").await.unwrap().purge().await.unwrap();
    stack.engine.restart().await;
    let _central = stack.run(&config);
    let loss = losses_are_named(&stack, 1).await.remove(0);
    assert_eq!((loss.0, loss.1, loss.2), (STORED + 1, STORED + TAKEN, TAKEN), "{loss:?}");
    assert!(loss.4.contains("ended before storing them"), "{loss:?}");
    stack.holds_once("trades", STORED).await;
}

/// Six invalid messages among valid trades, of which a constraint of the table refuses three.
#[tokio::test(flavor = "multi_thread")]
async fn poison_goes_to_the_dead_letters() {
    const TRADES: u64 = 2_000;
    let Some((stack, config)) = Stack::laid_out_for_counts("").await else { return };
    let refused =
        "ALTER TABLE marketprism_hot.trades ADD CONSTRAINT known CHECK trade_id NOT IN ('5', '6', '1700')";
    stack.execute(refused).await;

    let jetstream = stack.jetstream().await;
    let base = now_us();
    publish(&jetstream, (0..TRADES / 2).map(|n| trade(n, base))).await;
    let (subject, good) = message(&trade(90_000, base));
    let ancient = message(&trade(90_001, -5_000_000)).1;
    for (subject, content_type, payload) in [
        (subject.as_str(), None, b"{\"data_type\":\"trade\"".to_vec()),
        (subject.as_str(), None, Vec::new()),
        (subject.as_str(), Some("application/x-unknown"), good.clone()),
        ("trade.sim_spot.spot.ETH-USDT", Some("application/json"), good.clone()),
        ("orderbook.sim_spot.spot.BTC-USDT", Some("application/json"), good.clone()),
        (subject.as_str(), None, ancient),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert("Content-Type", content_type);
        }
        publish_bytes(&jetstream, subject, headers, payload).await;
    }
    publish(&jetstream, (TRADES / 2..TRADES).map(|n| trade(n, base))).await;

    let _central = stack.run(&config);
    all_acknowledged(&stack, "MARKET_DATA", TRADES + 5).await;
    all_acknowledged(&stack, "ORDERBOOK_SNAP", 1).await;
    stack.holds_once("trades", TRADES - 3).await;
    let reasons = eventually("nine dead letters", || async {
        let sql = "SELECT reason FROM marketprism_hot.dead_letters";
        let reasons: Vec<String> = stack.hot().query_raw(sql).fetch_all().await.unwrap();
        (reasons.len() == 9).then_some(reasons)
    })
    .await;
    let count = |part: &str| reasons.iter().filter(|reason| reason.contains(part)).count();
    let counts: BTreeMap<&str, usize> = ["payload:", "content type", "subject", "timestamp", "Code: 469"]
        .map(|part| (part, count(part)))
        .into();
    let expected =
        [("payload:", 2), ("content type", 1), ("subject", 2), ("timestamp", 1), ("Code: 469", 3)].into();
    assert_eq!(counts, expected, "{reasons:#?}");

    let kept =
        "SELECT payload FROM marketprism_hot.dead_letters WHERE content_type = 'application/x-unknown'";
    assert_eq!(stack.hot().query_raw(kept).fetch_one::<String>().await.unwrap().into_bytes(), good);
    stack.metrics_contain("hot_storage_messages_failed_total 9").await;
}

/// A broker whose messages may be larger than a pull request of books asks for.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_bytes_of_a_pull_holds_up_none_behind_it() {
    let Some(mut stack) = Stack::start().await else { return };
    stack.broker.set_settings("max_payload: 12MB");
    stack.broker.restart().await;
    let config = stack.configure("");
    Stack::redeliver_late(&config);
    stack.init(&config, &[], 0);
    let jetstream = stack.jetstream().await;
    let (subject, book) = message(&book(1, 5, now_us()));
    publish_bytes(&jetstream, &subject, HeaderMap::new(), vec![b'x'; 9 << 20]).await;
    publish_bytes(&jetstream, &subject, HeaderMap::new(), book).await;
    let _central = stack.run(&config);
    all_acknowledged(&stack, "ORDERBOOK_SNAP", 2).await;
    stack.holds_once("orderbooks", 1).await;
    stack.metrics_contain("hot_storage_messages_failed_total 1").await;
}
