//! False events are not stored: they are in the dead letters, with the reason.

use async_nats::HeaderMap;
use marketprism_schema::{Body, Decimal, Event, EventId, Liquidation, Side};
use marketprism_tests::wait::eventually;

use crate::auditing::{QUICK, audit, ids, judged, publish_audit, stored, trades, windows_before};
use crate::events::{book, event, message, now_us, publish, publish_bytes, trade};
use crate::ingest::all_acknowledged;
use crate::stack::{PATIENCE, Stack};
use crate::two_sides::QUICK as QUICK_COPIES;

const DAY_US: i64 = 86_400_000_000;

fn sealed(mut event: Event<'static>, change: impl FnOnce(&mut Event<'static>)) -> Event<'static> {
    change(&mut event);
    event.header.event_id = EventId::of(&event);
    event
}

fn trade_with(number: u64, change: impl FnOnce(&mut marketprism_schema::Trade<'static>)) -> Event<'static> {
    sealed(trade(number, now_us()), |event| {
        if let Body::Trade(trade) = &mut event.body {
            change(trade);
        }
    })
}

fn book_with(update: u64, change: impl FnOnce(&mut Vec<[i64; 2]>, &mut Vec<[i64; 2]>)) -> Event<'static> {
    sealed(book(update, 3, now_us()), |event| {
        if let Body::OrderBook(book) = &mut event.body {
            change(book.levels.bids.to_mut(), book.levels.asks.to_mut());
        }
    })
}

/// Every kind of false event, the label of its counter and a part of its reason.
fn false_events() -> Vec<(Event<'static>, &'static str, &'static str)> {
    let minus_one = Decimal { mantissa: -1, scale: 0 };
    let body = Liquidation {
        side: Side::Buy,
        price: minus_one,
        quantity: Decimal { mantissa: 1, scale: 0 },
        liquidation_time_us: None,
        liquidation_id: "".into(),
    };
    let liquidation = event("BTCUSDT", now_us(), Body::Liquidation(body));
    let with = |number, change: fn(&mut Event<'static>)| sealed(trade(number, now_us()), change);
    vec![
        (trade_with(1, |trade| trade.price = minus_one), "price", "price: is -1, allowed: above 0"),
        (trade_with(2, |trade| trade.price.mantissa = 0), "price", "price: is 0, allowed: above 0"),
        (trade_with(3, |trade| trade.quantity = minus_one), "quantity", "quantity: is -1, allowed: above 0"),
        (liquidation, "price", "price: is -1, allowed: above 0"),
        (book_with(4, |bids, _| bids[0][0] += 1_000), "book", "bids: is crossed: best bid 60010.03"),
        (book_with(5, |bids, _| bids.reverse()), "book", "each price once, best first"),
        (book_with(6, |_, asks| asks[1][0] = -5), "price", "asks: is -0.05, allowed: above 0"),
        (book_with(7, |_, asks| asks[1][1] = 0), "quantity", "asks: is 0, allowed: above 0"),
        (with(8, |event| event.header.received_at_ns -= 49 * 3_600_000_000_000), "time", "received_at: is"),
        (
            with(9, |event| event.header.received_at_ns += 301_000_000_000),
            "time",
            "172800 s before to 300 s after",
        ),
        (with(10, |event| event.header.timestamp_us = 1), "time", "timestamp: is 1, allowed: microseconds"),
        (with(11, |event| event.header.timestamp_us += 2 * DAY_US), "time", "timestamp: is"),
        (
            with(12, |event| event.header.edge = "e".repeat(5_000).into()),
            "name",
            "... (5000 bytes), allowed: 1 to 32",
        ),
        (with(13, |event| event.header.edge = "Edge\n1".into()), "name", r#"edge: is "Edge\n1""#),
        (
            with(14, |event| event.header.timestamp_us -= 3 * DAY_US),
            "expired",
            "hot deletes rows after 3 days",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_true_is_a_dead_letter_with_its_reason() {
    const TRUE: u64 = 100;
    let Some((stack, _central, jetstream)) = Stack::ready_for_counts("[batch]\nmax_age_ms = 50\n").await
    else {
        return;
    };
    let base = now_us();
    publish(&jetstream, (1_000..1_000 + TRUE).map(|n| trade(n, base))).await;
    let mut refused: Vec<(&str, &str)> = Vec::new();
    for (event, label, reason) in false_events() {
        let (subject, payload) = message(&event);
        publish_bytes(&jetstream, &subject, HeaderMap::new(), payload).await;
        refused.push((label, reason));
    }
    // An id that is not the content's, and a message under the id of another event.
    let mut forged = trade(20, base);
    forged.header.event_id = EventId(7);
    let (subject, payload) = message(&forged);
    publish_bytes(&jetstream, &subject, HeaderMap::new(), payload).await;
    refused.push(("event_id", "the id of its content"));
    let (mut headers, (subject, payload)) = (HeaderMap::new(), message(&trade(21, base)));
    headers.insert("Nats-Msg-Id", trade(22, base).header.event_id.to_string());
    publish_bytes(&jetstream, &subject, headers, payload).await;
    refused.push(("message_id", "the id of another event"));

    let books = 4;
    let letters = refused.len() as u64;
    all_acknowledged(&stack, "MARKET_DATA", TRUE + letters - books).await;
    all_acknowledged(&stack, "ORDERBOOK_SNAP", books).await;
    let reasons = eventually("all dead letters", || async {
        let sql = "SELECT reason FROM marketprism_hot.dead_letters";
        let reasons: Vec<String> = stack.hot().query_raw(sql).fetch_all().await.ok()?;
        (reasons.len() == refused.len()).then_some(reasons)
    })
    .await;
    for (label, expected) in &refused {
        assert!(reasons.iter().any(|reason| reason.contains(expected)), "{expected}: {reasons:#?}");
        let count = refused.iter().filter(|(other, _)| other == label).count();
        let counted = format!("marketprism_central_dead_letters_total{{reason=\"{label}\"}} {count}\n");
        stack.metrics_contain(&counted).await;
    }
    stack.holds_once("trades", TRUE).await;
    for table in ["orderbooks", "liquidations"] {
        assert_eq!(stack.counts(table).await, Some((0, 0)), "{table}");
    }
}

/// As an edge fills them from the venue's history after a stop of days. Of two events another edge had brought one, whose row hot has dropped.
#[tokio::test(flavor = "multi_thread")]
async fn late_events_become_rows_when_hot_keeps_rows_for_longer_unless_cold_has_them() {
    let Some(stack) = Stack::start().await else { return };
    let config = stack.configure(&format!("[batch]\nmax_age_ms = 50\n{QUICK_COPIES}window_seconds = 1\n"));
    let mut central = stack.run(&config);
    stack.is_ready().await;
    let jetstream = stack.jetstream().await;
    let late = [1, 2].map(|n| sealed(trade(n, now_us()), |event| event.header.timestamp_us -= 4 * DAY_US));
    publish(&jetstream, late.iter().cloned()).await;
    let letters: Vec<(String, String)> = eventually("the dead letters", || async {
        let sql = "SELECT subject, payload FROM marketprism_hot.dead_letters";
        stack.hot().query_raw(sql).fetch_all().await.ok().filter(|letters| letters.len() == 2)
    })
    .await;
    assert_eq!(central.terminate(PATIENCE).await.code(), Some(0));
    let Event { header, .. } = &late[1];
    let row = format!(
        "INSERT INTO marketprism_cold.trades (timestamp, exchange, market_type, symbol, venue_symbol, trade_id, event_id, created_at) SELECT \
         fromUnixTimestamp64Micro({}, 'UTC'), 'sim_spot', 'spot', 'BTC-USDT', 'BTCUSDT', '2', toUInt128('{}'), now64(3) - INTERVAL 4 DAY",
        header.timestamp_us, header.event_id.0
    );
    stack.cold().query_raw(&row).execute().await.unwrap();

    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[clickhouse]\n", "[clickhouse]\nhot_ttl_days = 8\n")).unwrap();
    stack.init(&config, &["--apply"], 0);
    let _central = stack.run(&config);
    for (subject, payload) in letters {
        publish_bytes(&jetstream, &subject, HeaderMap::new(), payload.into_bytes()).await;
    }
    eventually("each event once", || async {
        let both = "SELECT arraySort(groupArray((database, trade_id))) FROM (SELECT 'hot' AS database, trade_id FROM marketprism_hot.trades \
                    UNION ALL SELECT 'cold', trade_id FROM marketprism_cold.trades)";
        let rows: Vec<(String, String)> = stack.hot().query_raw(both).fetch_one().await.map_err(|error| error.to_string())?;
        let rows: Vec<_> = rows.iter().map(|(database, trade)| (&**database, &**trade)).collect();
        if rows == [("cold", "1"), ("cold", "2"), ("hot", "1")] { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
}

/// ClickHouse fails an insert for an error of a view, even one that rows can have, such as a decimal that overflows.
#[tokio::test(flavor = "multi_thread")]
async fn a_materialized_view_that_fails_neither_refuses_rows_nor_holds_them_up() {
    const TRADES: u64 = 200;
    let Some((stack, central, jetstream)) = Stack::ready("[batch]\nmax_age_ms = 50\n").await else { return };
    let base = now_us();
    let target =
        "CREATE TABLE marketprism_hot.small (price Decimal(9, 9)) ENGINE = MergeTree ORDER BY tuple()";
    let view = "CREATE MATERIALIZED VIEW marketprism_hot.small_prices TO marketprism_hot.small AS \
                SELECT toDecimal32(price, 9) AS price FROM marketprism_hot.trades";
    stack.execute(target).await;
    stack.execute(view).await;
    publish(&jetstream, (0..TRADES).map(|n| trade(n, base))).await;
    all_acknowledged(&stack, "MARKET_DATA", TRADES).await;
    stack.holds_once("trades", TRADES).await;
    stack.execute("DROP TABLE marketprism_hot.small SYNC").await;
    publish(&jetstream, (TRADES..2 * TRADES).map(|n| trade(n, base))).await;
    all_acknowledged(&stack, "MARKET_DATA", 2 * TRADES).await;
    stack.holds_once("trades", 2 * TRADES).await;
    let letters = stack.hot().query_raw("SELECT count() FROM marketprism_hot.dead_letters");
    assert_eq!(letters.fetch_one::<u64>().await.unwrap(), 0);
    let log = central.output();
    assert!(log.contains("the view lacks them") && log.contains("small_prices"), "{log}");
}

/// Garbage under the ids of coming trades: the broker calls the trades duplicates and drops them. Two edges on one venue give real duplicates.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_whose_events_another_message_erased_is_not_verified() {
    const SYMBOL: &str = "BTC-USDT";
    let Some((stack, _central, jetstream)) = Stack::ready(QUICK).await else { return };
    let [first, second] = windows_before([3, 2]);
    let taken = trades("e1", first, 0, 40);
    for trade in &taken {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", trade.header.event_id.to_string());
        publish_bytes(&jetstream, &message(trade).0, headers, b"garbage".to_vec()).await;
    }
    publish(&jetstream, taken.iter().cloned()).await;
    let others = trades("e1", first, 40, 100);
    publish(&jetstream, others.iter().cloned()).await;
    let mut erased = stored(SYMBOL, &others);
    (erased.duplicates, erased.duplicate_ids) = (40, ids(&taken));
    publish_audit(&jetstream, &audit("e1", first, vec![erased])).await;

    let both = trades("e1", second, 100, 200);
    publish(&jetstream, both.iter().cloned()).await;
    publish_audit(&jetstream, &audit("e1", second, vec![stored(SYMBOL, &both)])).await;
    let mut doubled = stored(SYMBOL, &[]);
    (doubled.duplicates, doubled.duplicate_ids) = (100, ids(&both));
    publish_audit(&jetstream, &audit("e2", second, vec![doubled])).await;

    let lost = judged(&stack, SYMBOL, "e1", first, "mismatch").await;
    assert_eq!((lost.expected, lost.found), (100, 60), "{}", lost.reason);
    assert!(
        lost.reason.contains("40 events that the broker called duplicates are not in hot"),
        "{}",
        lost.reason
    );
    assert_eq!(judged(&stack, SYMBOL, "e1", second, "verified").await.found, 100);
    assert_eq!(judged(&stack, SYMBOL, "e2", second, "verified").await.duplicates, 100);
    stack.holds_once("trades", 160).await;
}
