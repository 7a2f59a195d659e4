//! Events that are published again.

use std::iter;

use marketprism_tests::wait::eventually;

use crate::events::{MessageId, heard_by, now_us, publish, publish_with, trade};
use crate::ingest::{all_acknowledged, events_consumer};
use crate::sharing::Pair;
use crate::stack::{PATIENCE, Stack};

/// The broker does not recognize the repetitions: they carry other message ids, or none.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_sent_again_is_copies() {
    const TRADES: u64 = 6_000;
    let Some(stack) = Stack::start().await else { return };
    let mut pair = Pair::start(&stack, "[batch]\nmax_age_ms = 100\n").await;
    let base = now_us();
    let jetstream = stack.jetstream().await;
    let all = move || (0..TRADES).map(move |n| trade(n, base));
    publish(&jetstream, all()).await;
    let again = {
        let jetstream = jetstream.clone();
        tokio::spawn(async move {
            publish_with(&jetstream, all(), MessageId::Missing).await;
            publish_with(&jetstream, all().map(|e| heard_by(e, "edge-two")), MessageId::Other).await;
        })
    };
    eventually("the first copies", || async { once(&stack).await.filter(|(_, copies)| *copies > 0) }).await;
    pair.kill_holder_of("MARKET_DATA");
    eventually("each message to be a row or a copy", || async {
        let (rows, copies) = once(&stack).await?;
        assert!(rows <= TRADES && copies <= 2 * TRADES, "{rows} rows, {copies} copies");
        (rows + copies == 3 * TRADES).then_some(())
    })
    .await;
    again.await.unwrap();
    all_acknowledged(&stack, "MARKET_DATA", 3 * TRADES).await;
    assert_eq!(once(&stack).await, Some((TRADES, 2 * TRADES)));
    let seqs = "SELECT uniqExact(stream_seq) FROM (SELECT stream_seq FROM marketprism_hot.trades UNION ALL \
                SELECT stream_seq FROM marketprism_hot.copied_events)";
    assert_eq!(stack.number(seqs).await, Some(3 * TRADES), "no message is both");
    let heard = "SELECT uniqExact(event_id) FROM marketprism_hot.copied_events WHERE edge = 'edge-two' AND symbol = 'BTC-USDT' \
                 AND data_type = 'trade' AND exchange = 'sim_spot' AND market_type = 'spot' AND stream = 'MARKET_DATA'";
    assert_eq!(stack.number(heard).await, Some(TRADES), "copies name their owner");
}

async fn once(stack: &Stack) -> Option<(u64, u64)> {
    Some((stack.trades().await?, stack.copies().await?))
}

/// The broker gets SIGKILL when the rows are inserted, so that they are never acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_delivered_again_is_no_copy() {
    const TRADES: u64 = 5_000;
    let Some((mut stack, config)) = Stack::laid_out("[batch]\ntrades = 200\nmax_age_ms = 50\n").await else {
        return;
    };
    publish(&stack.jetstream().await, (0..TRADES).map(|n| trade(n, now_us()))).await;
    for rows in [1, TRADES / 2] {
        let mut central = stack.run(&config);
        stack.has_trades(rows).await;
        stack.broker.kill();
        central.kill();
        stack.broker.restart().await;
    }
    let _central = stack.run(&config);
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    stack.holds_once("trades", TRADES).await;
    assert_eq!(stack.copies().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_stream_is_another_stream() {
    const TRADES: u64 = 3_000;
    let settings = "[batch]\nmax_age_ms = 50\n";
    let Some((stack, _central, jetstream)) = Stack::ready(settings).await else { return };
    let base = now_us();
    publish(&jetstream, (0..TRADES).map(|n| trade(n, base))).await;
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    let before = confirmed(&stack, TRADES).await;

    jetstream.delete_stream("MARKET_DATA").await.unwrap();
    let again = (0..TRADES).map(|n| heard_by(trade(n, base), "edge-two"));
    publish(&jetstream, again.chain((TRADES..2 * TRADES).map(|n| trade(n, base)))).await;
    all_acknowledged(&stack, "MARKET_DATA", 2 * TRADES).await;
    stack.holds_once("trades", 2 * TRADES).await;
    assert_eq!(stack.copies().await, Some(TRADES));
    let after = confirmed(&stack, 2 * TRADES).await;
    assert_ne!(before, after, "another stream");
}

/// As when an edge sends its journal again from the same event on: sequences and receive times are those of before.
#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_a_recreated_stream_are_not_those_of_the_stream_before() {
    const TRADES: u64 = 500;
    let Some(stack) = Stack::start().await else { return };
    let config = stack.configure("[batch]\nmax_age_ms = 50\n");
    let mut central = stack.run(&config);
    stack.is_ready().await;
    let (base, jetstream) = (now_us(), stack.jetstream().await);
    publish(&jetstream, (0..TRADES).map(|n| trade(n, base))).await;
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    assert_eq!(central.terminate(PATIENCE).await.code(), Some(0));
    jetstream.delete_stream("MARKET_DATA").await.unwrap();

    // It remembers nothing.
    let _central = stack.run(&config);
    stack.is_ready().await;
    publish(&jetstream, (0..TRADES).map(|n| trade(n, base))).await;
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    stack.holds_once("trades", TRADES).await;
    assert_eq!(stack.copies().await, Some(TRADES));
}

/// As of a venue that numbers its trades from a lower id on again: an event id is made of the trade's and of no time.
#[tokio::test(flavor = "multi_thread")]
async fn a_trade_of_a_known_id_is_a_copy_and_one_of_a_forgotten_id_is_a_row() {
    let Some(stack) = Stack::start().await else { return };
    let config = stack.configure("[batch]\nmax_age_ms = 50\n");
    let mut central = stack.run(&config);
    stack.is_ready().await;
    let jetstream = stack.jetstream().await;
    let hour_ago = now_us() - 3_600_000_000;
    publish_with(&jetstream, iter::once(trade(1, hour_ago)), MessageId::Missing).await;
    stack.has_trades(1).await;
    publish_with(&jetstream, iter::once(trade(1, now_us())), MessageId::Missing).await;
    all_acknowledged(&stack, "MARKET_DATA", 2).await;
    assert_eq!(once(&stack).await, Some((1, 1)));
    assert_eq!(central.terminate(PATIENCE).await.code(), Some(0));
    let _central = stack.run(&config);
    publish_with(&jetstream, iter::once(trade(1, now_us())), MessageId::Missing).await;
    all_acknowledged(&stack, "MARKET_DATA", 3).await;
    assert_eq!((stack.counts("trades").await, stack.copies().await), (Some((2, 1)), Some(1)));
}

/// Copies have batches of their own, and no acknowledgement passes one that is not stored: the broker delivers nothing more meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_a_backlog_does_not_hold_it_up_for_the_age_of_its_batch() {
    const TRADES: u64 = 5_000;
    let settings = "[streams.market_data]\nmax_ack_pending = 500\n[batch]\nmax_age_ms = 50\n";
    let Some((stack, config)) = Stack::laid_out_for_counts(settings).await else { return };
    let (base, jetstream) = (now_us(), stack.jetstream().await);
    let all = iter::once(0).chain(0..TRADES).map(|n| trade(n, base));
    publish_with(&jetstream, all, MessageId::Missing).await;
    let _central = stack.run_with(&config, &[("MARKETPRISM_BATCH__MAX_AGE_OTHERS_MS", "60000".into())]);
    all_acknowledged(&stack, "MARKET_DATA", TRADES + 1).await;
    assert_eq!(once(&stack).await, Some((TRADES, 1)));
    never_pauses_for_the_age_of_a_batch(&stack).await;
}

/// Where batches may be a minute old, no rows of a market are inserted so long after those before them. A busy machine is slow at each insert,
/// what waits for the age of a batch stands still between two.
pub async fn never_pauses_for_the_age_of_a_batch(stack: &Stack) {
    let sql = "SELECT DISTINCT toString(symbol) AS market, toUnixTimestamp64Milli(created_at) AS at FROM marketprism_hot.trades ORDER BY market, at";
    let inserts: Vec<(String, i64)> = stack.hot().query_raw(sql).fetch_all().await.unwrap();
    let following = inserts.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    let pauses: Vec<i64> = following.map(|pair| pair[1].1 - pair[0].1).collect();
    let longest = *pauses.iter().max().expect("several inserts of a market");
    assert!(longest < 45_000, "{longest} ms without an insert");
}

/// A batch may span 20 deliveries here. The first trades fill one, the last two wait together for the age of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn copies_before_a_batch_do_not_count_to_the_deliveries_that_it_spans() {
    const TRADES: u64 = 50;
    let settings = "[streams.market_data]\nmax_ack_pending = 100\n[batch]\ntrades = 50\nmax_age_ms = 20000\n";
    let Some((stack, config)) = Stack::laid_out_for_counts(settings).await else { return };
    let (base, jetstream) = (now_us(), stack.jetstream().await);
    let _central = stack.run(&config);
    for sent in 1..=2 {
        publish_with(&jetstream, (0..TRADES).map(|n| trade(n, base)), MessageId::Missing).await;
        all_acknowledged(&stack, "MARKET_DATA", sent * TRADES).await;
    }
    assert_eq!(once(&stack).await, Some((TRADES, TRADES)));
    for (number, last) in (TRADES..).zip(2 * TRADES + 1..=2 * TRADES + 2) {
        publish(&jetstream, iter::once(trade(number, base))).await;
        eventually("the delivery", || async {
            let info = events_consumer(&stack, "MARKET_DATA", "central-trades").await?;
            (info.delivered.stream_sequence == last).then_some(())
        })
        .await;
    }
    all_acknowledged(&stack, "MARKET_DATA", 2 * TRADES + 2).await;
    let inserts = format!(
        "SELECT uniqExact(created_at) FROM marketprism_hot.trades WHERE toUInt64(trade_id) >= {TRADES}"
    );
    assert_eq!(stack.number(&inserts).await, Some(1));
}

/// Waits until the confirmed sequence is reached; returns the stream's creation time.
pub async fn confirmed(stack: &Stack, sequence: u64) -> i64 {
    let jetstream = stack.jetstream().await;
    eventually(&format!("{sequence} to be confirmed"), || async {
        let bucket = jetstream.get_key_value("MARKETPRISM_CONFIRMED").await.ok()?;
        let value: serde_json::Value =
            serde_json::from_slice(&bucket.get("MARKET_DATA").await.ok()??).unwrap();
        let confirmed = value["confirmed_seq"].as_u64().unwrap();
        assert!(confirmed <= sequence, "{value}");
        (confirmed == sequence).then(|| value["stream_created_ns"].as_i64().unwrap())
    })
    .await
}
