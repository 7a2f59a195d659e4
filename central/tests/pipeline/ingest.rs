//! Published events are in hot exactly once, with exact values.

use std::collections::HashMap;

use marketprism_schema::{Body, DataType, Event, Table, stream_of};
use marketprism_tests::wait::eventually;

use crate::events::{self, MessageId, now_us, one_of_each, publish, publish_with, trade};
use crate::stack::{PATIENCE, Stack};

/// Columns of a trade that come from the edge.
type TradeRow = (String, String, String, String, bool, i64, i64, u128);

fn expected(event: &Event<'_>) -> TradeRow {
    let Body::Trade(trade) = &event.body else { panic!("not a trade") };
    let header = &event.header;
    (
        trade.trade_id.to_string(),
        trade.price.to_string(),
        trade.quantity.to_string(),
        trade.side.to_string(),
        trade.is_maker(),
        header.timestamp_us,
        header.received_at_ns,
        header.event_id.0,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn trades_arrive_once_with_exact_values() {
    const TRADES: u64 = 5_000;
    let Some((stack, _central, jetstream)) = Stack::ready_for_counts("").await else { return };
    let base = now_us();
    publish(&jetstream, (0..TRADES).map(|n| trade(n, base))).await;
    stack.holds_once("trades", TRADES).await;

    let sql = "SELECT trade_id, toString(price), toString(quantity), toString(side), is_maker, \
               toUnixTimestamp64Micro(timestamp), toUnixTimestamp64Nano(received_at), event_id \
               FROM marketprism_hot.trades";
    let rows: Vec<TradeRow> = stack.hot().query_raw(sql).fetch_all().await.unwrap();
    let rows: HashMap<String, TradeRow> = rows.into_iter().map(|row| (row.0.clone(), row)).collect();
    for number in 0..TRADES {
        let expected = expected(&trade(number, base));
        assert_eq!(rows.get(&expected.0), Some(&expected));
    }
    let set = "SELECT countIf(data_source = 'live' AND stream_seq > 0 AND abs(created_at - now64(3)) < 300 \
               AND edge = 'edge-test' AND symbol = 'BTC-USDT' AND venue_symbol = 'BTCUSDT') FROM marketprism_hot.trades";
    assert_eq!(stack.number(set).await, Some(TRADES));
    stack.metrics_contain("hot_storage_messages_processed_total 5000").await;
    assert_eq!(stack.get("/health").unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_has_its_table() {
    let Some((stack, _central, jetstream)) = Stack::ready("").await else { return };
    publish(&jetstream, one_of_each(now_us()).into_iter()).await;
    for (table, columns, values) in [
        (
            "funding_rates",
            "funding_rate, isNull(funding_time), interval_hours, mark_price, index_price",
            "-0.0001|true|8|9223372036854775807|9.223372036854775807",
        ),
        (
            "open_interests",
            "open_interest, isNull(open_interest_contracts), open_interest_value",
            "5|true|300000",
        ),
        (
            "liquidations",
            "side, price, quantity, liquidation_time = timestamp, liquidation_id",
            "sell|59999|0.014|true|x-1",
        ),
        ("lsr_top_positions", "long_position_ratio, short_position_ratio, ratio, period", "0.6|0.4|1.5|5m"),
        ("lsr_all_accounts", "long_account_ratio, short_account_ratio, ratio, period", "0.6|0.4|1.5|5m"),
        ("volatility_indices", "index_value, underlying_asset", "129.36|BTC"),
        (
            "orderbooks",
            "last_update_id, length(bids), bids[1].price, bids[3].price, asks[2].quantity, depth, epoch",
            "1|3|60000|59999.98|0.00000049|3|1",
        ),
        ("trades", "trade_id", "1"),
        (
            "orderbook_deltas",
            "epoch, toUnixTimestamp64Nano(epoch_started_at) = toUnixTimestamp64Micro(timestamp) * 1000 + 1, number, is_snapshot, \
             parts_left, first_update_id, previous_update_id, last_update_id, checksum, is_bids_partial, is_asks_partial, price_scale, \
             quantity_scale, bids.price, bids.quantity, asks.price",
            "2|true|5|false|0|8|null|9|4294967295|true|false|2|8|[9223372036854775807,5]|[1,0]|[]",
        ),
        (
            "quotes",
            "epoch, last_update_id, price_scale, quantity_scale, bid_price, bid_quantity, ask_price, ask_quantity",
            "2|9|2|9|6400011|9223372036854775807|0|0",
        ),
        (
            "quote_prices",
            "epoch, last_update_id, edge, bid_price, bid_quantity, ask_price, ask_quantity, bid_price_float, ask_quantity_float",
            "2|9|edge-test|64000.11|9223372036.854775807|null|null|64000.11|null",
        ),
    ] {
        // The view is of the table before it.
        if table != "quote_prices" {
            stack.holds_once(table, 1).await;
        }
        let parts: Vec<String> = columns.split(", ").map(text_of).collect();
        let sql =
            format!("SELECT concatWithSeparator('|', {}) FROM marketprism_hot.{table}", parts.join(", "));
        let row = stack.hot().query_raw(&sql).fetch_one::<String>().await.unwrap();
        assert_eq!(row, values, "{table}");
    }
}

fn text_of(column: &str) -> String {
    let is_condition = column.starts_with("isNull") || column.contains(" = ");
    let value = if is_condition { format!("toBool({column})") } else { column.to_owned() };
    format!("ifNull(toString({value}), 'null')")
}

/// Without message ids: once while the event ids are in memory, once after a restart, received long before they reach the broker.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_never_a_second_row() {
    const TRADES: u64 = 3_000;
    let Some(stack) = Stack::start().await else { return };
    let config =
        stack.configure("[streams.market_data]\nduplicate_window_seconds = 1\n[batch]\nmax_age_ms = 50\n");
    Stack::redeliver_late(&config);
    let base = now_us() - 60_000_000;
    let trades = || (0..TRADES).map(|n| trade(n, base));
    let jetstream = stack.jetstream().await;
    let mut central = stack.run(&config);
    stack.is_ready().await;
    publish_with(&jetstream, trades().chain(trades()), MessageId::Missing).await;
    all_acknowledged(&stack, "MARKET_DATA", 2 * TRADES).await;
    stack.holds_once("trades", TRADES).await;
    assert_eq!(central.terminate(PATIENCE).await.code(), Some(0));

    let _central = stack.run(&config);
    publish_with(&jetstream, trades(), MessageId::Missing).await;
    all_acknowledged(&stack, "MARKET_DATA", 3 * TRADES).await;
    stack.holds_once("trades", TRADES).await;
    let stored = "marketprism_central_duplicates_total{found=\"stored\",stream=\"MARKET_DATA\"} 3000";
    stack.metrics_contain(stored).await;
}

/// Old events received now, published before and after a restart, without message ids.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_value_reported_again_is_never_a_second_row() {
    let Some(stack) = Stack::start().await else { return };
    let config = stack.configure("[batch]\nmax_age_ms = 50\n");
    let base = now_us() - 600_000_000;
    let reported_now = || {
        one_of_each(base).into_iter().map(|mut event| {
            event.header.received_at_ns = now_us() * 1_000;
            event
        })
    };
    let jetstream = stack.jetstream().await;
    let mut central = stack.run(&config);
    stack.is_ready().await;
    publish_with(&jetstream, reported_now(), MessageId::Missing).await;
    all_acknowledged(&stack, "MARKET_DATA", 7).await;
    assert_eq!(central.terminate(PATIENCE).await.code(), Some(0));
    let _central = stack.run(&config);
    publish_with(&jetstream, reported_now(), MessageId::Missing).await;
    all_acknowledged(&stack, "MARKET_DATA", 14).await;
    for table in marketprism_schema::Table::ALL {
        stack.holds_once(table.name, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn coverage_shows_received_streams() {
    let Some(stack) = Stack::start().await else { return };
    let config = stack.configure("[batch]\nmax_age_ms = 50\n");
    let base = now_us();
    let mut central = stack.run(&config);
    let without_books = one_of_each(base).into_iter().filter(|e| !matches!(e.body, Body::OrderBook(_)));
    stack.is_ready().await;
    publish(&stack.jetstream().await, without_books).await;
    let complete = |events_since_start: u64| {
        let (_, body) = stack.get("/coverage")?;
        let table: serde_json::Value = serde_json::from_str(&body).ok()?;
        let rows = table["coverage"].as_array()?;
        let whole = rows.len() == 9
            && table["nothing_of"] == serde_json::json!(["orderbook"])
            && rows.iter().all(|row| {
                let newest = row["newest_timestamp_us"].as_i64();
                row["status"] == "ok"
                    && row["exchange"] == "sim_spot"
                    && (newest == Some(base) || newest == Some(base + 1))
                    && row["events_since_start"] == events_since_start
            });
        whole.then_some(())
    };
    eventually("the table of coverage", || async { complete(1) }).await;
    assert_eq!(central.terminate(PATIENCE).await.code(), Some(0));
    let _central = stack.run(&config);
    eventually("the table after the restart", || async { complete(0) }).await;
}

/// Batches would wait for a minute; central is stopped when it has taken all messages.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_flushes_what_was_taken() {
    let Some(stack) = Stack::start().await else { return };
    let config = stack.configure("[batch]\nmax_age_ms = 60000\n");
    Stack::redeliver_late(&config);
    let mut central = stack.run(&config);
    stack.is_ready().await;
    let base = now_us();
    publish(&stack.jetstream().await, (0..500).map(|n| trade(n, base))).await;
    stack.metrics_contain("edge_to_broker_seconds_count{stream=\"MARKET_DATA\"} 500").await;
    assert_eq!(stack.counts("trades").await, Some((0, 0)), "the test must stop central before the flush");
    assert_eq!(central.terminate(PATIENCE).await.code(), Some(0));
    assert_eq!(stack.counts("trades").await, Some((500, 500)));
    let consumer = events_consumer(&stack, "MARKET_DATA", "central-trades").await.unwrap();
    assert_eq!((consumer.num_ack_pending, consumer.ack_floor.stream_sequence), (0, 500));
}

pub async fn events_consumer(
    stack: &Stack,
    stream: &str,
    name: &str,
) -> Option<async_nats::jetstream::consumer::Info> {
    let handle = stack.jetstream().await.get_stream(stream).await.ok()?;
    handle.consumer_info(name).await.ok()
}

/// Names of central's consumers.
pub fn consumers_of(stream: &str) -> Vec<String> {
    let own = DataType::ALL.iter().filter(|&&data_type| stream_of(data_type) == stream);
    let own: Vec<String> =
        own.map(|&of| format!("central-{}", Table::of(of).name.replace('_', "-"))).collect();
    if own.is_empty() { vec![format!("central-{}", stream.to_lowercase())] } else { own }
}

/// Waits until everything up to a sequence is acknowledged.
pub async fn all_acknowledged(stack: &Stack, stream: &str, last: u64) {
    eventually(&format!("all of {stream} to be acknowledged"), || async {
        let mut floor = 0;
        for name in consumers_of(stream) {
            let info = events_consumer(stack, stream, &name).await?;
            if info.num_ack_pending > 0 || info.num_pending > 0 {
                return None;
            }
            floor = floor.max(info.ack_floor.stream_sequence);
        }
        (floor >= last).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn books_keep_every_level() {
    const BOOKS: u64 = 300;
    let Some((stack, _central, jetstream)) = Stack::ready("").await else { return };
    let base = now_us();
    publish(&jetstream, (0..BOOKS).map(|n| events::book(n, 400, base))).await;
    stack.holds_once("orderbooks", BOOKS).await;
    let sides = "SELECT arrayStringConcat(arrayMap(l -> concat(toString(l.1), ' ', toString(l.2)), bids), ','), \
                 arrayStringConcat(arrayMap(l -> concat(toString(l.1), ' ', toString(l.2)), asks), ',') \
                 FROM marketprism_hot.orderbooks WHERE last_update_id = 123";
    let (bids, asks) = stack.hot().query_raw(sides).fetch_one::<(String, String)>().await.unwrap();
    let Body::OrderBook(book) = events::book(123, 400, base).body else { panic!("not a book") };
    let text = |levels: &[[i64; 2]]| {
        let shown = |mantissa, scale| marketprism_schema::Decimal { mantissa, scale }.to_string();
        let level = |[price, quantity]: &[i64; 2]| format!("{} {}", shown(*price, 2), shown(*quantity, 8));
        levels.iter().map(level).collect::<Vec<_>>().join(",")
    };
    assert_eq!((bids, asks), (text(&book.levels.bids), text(&book.levels.asks)));
}
