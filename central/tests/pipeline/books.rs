//! States of order books at a time: by the command and by SQL, from hot and from cold; never one that the records do not prove.

use std::path::Path;

use marketprism_schema::{Body, BookLevels, Event, EventId, OrderBookDelta};
use serde_json::{Value, json};

use crate::events::{event, heard_by, now_us, publish};
use crate::stack::Stack;

/// A record of an epoch that begins at `epoch_us`, `number` milliseconds after it.
fn delta(epoch_us: i64, number: u64, bids: &[[i64; 2]], asks: &[[i64; 2]]) -> Event<'static> {
    let at_us = epoch_us + 1_000 * i64::try_from(number).unwrap();
    let body = Body::OrderBookDelta(OrderBookDelta {
        epoch: 1,
        epoch_started_ns: epoch_us * 1_000,
        number,
        is_snapshot: number == 0,
        parts_left: 0,
        first_update_id: at_us,
        previous_update_id: None,
        last_update_id: at_us,
        checksum: None,
        is_bids_partial: true,
        is_asks_partial: false,
        levels: BookLevels {
            price_scale: 2,
            // One digit more in one record: a price is the same at any scale.
            quantity_scale: if number == 2 { 9 } else { 8 },
            bids: bids.to_vec().into(),
            asks: asks.to_vec().into(),
        },
    });
    event("BTCUSDT", at_us, body)
}

fn first_epoch(epoch_us: i64) -> Vec<Event<'static>> {
    vec![
        delta(epoch_us, 0, &[[6_400_010, 500], [6_400_000, 7]], &[[6_400_020, i64::MAX]]),
        delta(epoch_us, 1, &[[6_400_010, 0], [6_399_999, 3]], &[[6_400_021, 1]]),
        delta(epoch_us, 2, &[[6_400_000, 5]], &[]),
        delta(epoch_us, 3, &[[6_400_000, 0]], &[[6_400_020, 0]]),
    ]
}

fn book(stack: &Stack, config: &Path, at_us: i64, more: &[&str]) -> (i32, Value) {
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_us) * 1_000).unwrap();
    let at = at.format(&time::format_description::well_known::Rfc3339).unwrap();
    let arguments = [&["--json", "--at", &at, "BTC-USDT"], more].concat();
    let output = stack.command("book", config, &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let answer = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), answer)
}

fn is_unknown(stack: &Stack, config: &Path, at_us: i64, reason: &str) {
    let (status, answer) = book(stack, config, at_us, &["--edge", "edge-test"]);
    assert_eq!((status, &answer["verdict"]), (1, &json!("not_provable")), "{answer:#}");
    assert!(answer.get("book").is_none(), "{answer:#}");
    assert!(answer["reason"].as_str().unwrap().contains(reason), "{answer:#}");
}

fn of_other_edge(event: Event<'static>) -> Event<'static> {
    let mut event = heard_by(event, "edge-b");
    event.header.event_id = EventId::of(&event);
    event
}

async fn view(stack: &Stack, at_us: i64) -> Result<Vec<String>, clickhouse::error::Error> {
    let sql = format!(
        "SELECT concatWithSeparator(' ', side, toString(price), toString(quantity)) FROM marketprism_hot.book_at(exchange = 'sim_spot', \
         market_type = 'spot', symbol = 'BTC-USDT', edge = 'edge-test', at = toString(fromUnixTimestamp64Micro({at_us}, 'UTC')))"
    );
    stack.hot().query_raw(&sql).fetch_all::<String>().await
}

async fn copy_to_cold(stack: &Stack, condition: &str) {
    let [cold, hot] = ["cold", "hot"].map(|side| format!("marketprism_{side}.orderbook_deltas"));
    stack.execute(&format!("INSERT INTO {cold} SELECT * FROM {hot} WHERE {condition}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_the_past_is_rebuilt_exactly_or_said_to_be_unknown() {
    let Some((stack, _central, jetstream)) = Stack::ready("").await else { return };
    let config = stack.configure("");
    let epoch = now_us() - 10_000_000;
    let later = epoch + 20_000;
    let lost = |number| delta(later, number, &[[100, 1]], &[[200, 1]]);
    publish(&jetstream, first_epoch(epoch).into_iter().chain([lost(0), lost(2), lost(3)])).await;
    stack.holds_once("orderbook_deltas", 7).await;

    let second = json!({
        "epoch": 1,
        "last_update_id": epoch + 2_000,
        "is_bids_partial": true,
        "is_asks_partial": false,
        "bids": [["64000", "0.000000005"], ["63999.99", "0.00000003"]],
        "asks": [["64000.2", "92233720368.54775807"], ["64000.21", "0.00000001"]],
    });
    let (status, answer) = book(&stack, &config, epoch + 2_999, &[]);
    assert_eq!(
        (status, &answer["verdict"], &answer["side"]),
        (0, &json!("proven"), &json!("hot")),
        "{answer:#}"
    );
    assert_eq!(answer["book"], second, "{answer:#}");
    let levels = view(&stack, epoch + 2_999).await.unwrap();
    let wanted = [
        "ask 64000.2 92233720368.54775807",
        "ask 64000.21 0.00000001",
        "bid 64000 0.000000005",
        "bid 63999.99 0.00000003",
    ];
    assert_eq!(levels, wanted);
    let (_, answer) = book(&stack, &config, epoch, &["--depth", "1"]);
    assert_eq!(answer["book"]["bids"], json!([["64000.1", "0.000005"]]), "{answer:#}");

    // Cold lags behind: of two newest states hot's is newer.
    let lagging = format!("number < 2 AND epoch_started_at = fromUnixTimestamp64Micro(toInt64({later}))");
    copy_to_cold(&stack, &lagging).await;
    let (status, answer) = book(&stack, &config, later + 9_000, &[]);
    assert_eq!((status, &answer["side"], &answer["number"]), (1, &json!("hot"), &json!(3)), "{answer:#}");

    is_unknown(&stack, &config, epoch + 3_500, "the epoch ended");
    is_unknown(&stack, &config, later + 500, "the record after 0 is missing");
    is_unknown(&stack, &config, later + 2_500, "record 2 follows record 0");
    for at in [epoch - 1, epoch + 3_500, later + 500, later + 2_500] {
        let error = view(&stack, at).await.unwrap_err().to_string();
        assert!(error.contains("not provable"), "{at}: {error}");
    }

    // The other edge had no break, and proves what the first one cannot.
    publish(
        &jetstream,
        [0, 1].into_iter().map(|number| of_other_edge(delta(later, number, &[[100, 2]], &[]))),
    )
    .await;
    stack.holds_once("orderbook_deltas", 9).await;
    copy_to_cold(&stack, "1").await;
    stack.execute("TRUNCATE TABLE marketprism_hot.orderbook_deltas").await;
    let (status, answer) = book(&stack, &config, later + 500, &[]);
    assert_eq!(
        (status, &answer["edge"], &answer["side"]),
        (0, &json!("edge-b"), &json!("cold")),
        "{answer:#}"
    );
    assert_eq!(
        (&answer["verdict"], &answer["book"]["bids"]),
        (&json!("proven"), &json!([["1", "0.00000002"]]))
    );
    let (status, answer) = book(&stack, &config, later + 9_000, &[]);
    assert_eq!(
        (status, &answer["verdict"], &answer["edge"]),
        (0, &json!("newest"), &json!("edge-b")),
        "{answer:#}"
    );

    let floats = "SELECT concatWithSeparator(' ', toString(price_float), toString(quantity_float)) FROM \
                  marketprism_cold.orderbook_delta_levels WHERE number = 2 AND price = 64000";
    assert_eq!(stack.cold().query_raw(floats).fetch_one::<String>().await.unwrap(), "64000 5e-9");
}
