//! Kraken: answers for each symbol, books of limited depth with a checksum, trades with their snapshot, refusals.

use marketprism_venue_sim::{FaultAction, FaultSpec, Sim, SimConfig};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use time::{Date, Month, Time};

use super::client::{Got, Replica, SILENCE, SOON, Ws, book_at, get, number, start};

const KRAKEN: &str = "kraken_spot";

async fn kraken(change: impl FnOnce(&mut SimConfig)) -> Sim {
    start(|config| {
        config.exchanges = vec![KRAKEN.into()];
        config.heartbeat_ms = Some(60_000);
        change(config);
    })
    .await
}

/// A connection behind its greeting.
async fn open(sim: &Sim) -> Ws {
    let mut ws = Ws::open(&format!("{}/v2", sim.ws_base(KRAKEN))).await;
    let greeting = ws.json().await;
    assert_eq!((&greeting["channel"], &greeting["data"][0]["system"]), (&json!("status"), &json!("online")));
    ws
}

/// Sends a request and waits for its answers; data that come before them are passed over.
async fn ask(ws: &mut Ws, method: &str, params: Value, answers: usize) -> Vec<Value> {
    ws.send(&json!({"method": method, "params": params, "req_id": 7}).to_string()).await;
    let mut all = Vec::new();
    while all.len() < answers {
        let message = ws.json().await;
        if message.get("channel").is_none() {
            all.push(message);
        }
    }
    all
}

async fn subscribe(ws: &mut Ws, params: Value) {
    let answers = ask(ws, "subscribe", params, 1).await;
    assert_eq!(answers[0]["success"], true, "{answers:?}");
}

#[derive(Debug, Deserialize)]
struct Level {
    price: Box<RawValue>,
    qty: Box<RawValue>,
}

#[derive(Debug, Deserialize)]
struct Item {
    bids: Vec<Level>,
    asks: Vec<Level>,
    checksum: u32,
    timestamp: String,
}

#[derive(Debug, Deserialize)]
struct Update {
    channel: String,
    r#type: String,
    data: Vec<Item>,
}

async fn update(ws: &mut Ws) -> (String, Item) {
    let text = ws.text().await;
    let mut update: Update = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!((update.channel.as_str(), update.data.len()), ("book", 1));
    (update.r#type, update.data.remove(0))
}

/// Microseconds of a time with six places, the id of a book.
fn micros(text: &str) -> u64 {
    let field = |at: usize, len: usize| text[at..at + len].parse::<u32>().expect(text);
    let small = |at| u8::try_from(field(at, 2)).expect(text);
    assert!(text.len() == 27 && text.ends_with('Z'), "{text}");
    let month = Month::try_from(small(5)).expect(text);
    let day = Date::from_calendar_date(i32::try_from(field(0, 4)).expect(text), month, small(8)).expect(text);
    let time = Time::from_hms_micro(small(11), small(14), small(17), field(20, 6)).expect(text);
    u64::try_from(day.with_time(time).assume_utc().unix_timestamp_nanos() / 1000).expect(text)
}

/// Applies a message and cuts the book; gives the number of levels that were cut off.
fn apply(replica: &mut Replica, item: &Item, depth: usize) -> usize {
    for (side, levels) in [("bids", &item.bids), ("asks", &item.asks)] {
        for level in levels {
            replica.set(side, level.price.get(), level.qty.get());
        }
    }
    let mut cut = 0;
    while replica.bids.len() > depth {
        replica.bids.pop_first();
        cut += 1;
    }
    while replica.asks.len() > depth {
        replica.asks.pop_last();
        cut += 1;
    }
    cut
}

fn assert_is(replica: &Replica, sim: &Sim, symbol: &str, item: &Item, depth: usize) {
    let mut book = book_at(sim, KRAKEN, symbol, micros(&item.timestamp));
    assert!(book.bids.len() > 1000 && book.asks.len() > 1000);
    book.bids.truncate(depth);
    book.asks.truncate(depth);
    replica.assert_is(&book);
}

#[tokio::test]
async fn each_symbol_is_answered_for_itself() {
    let sim = kraken(|config| (config.rate, config.requests_max) = (0, Some(10))).await;
    let mut ws = open(&sim).await;
    assert_eq!(ask(&mut ws, "ping", json!({}), 1).await[0]["method"], "pong");
    let book = json!({"channel": "book", "depth": 25, "symbol": ["BTC/USD", "NOPE/USD", "XBT/USD"]});
    let answers = ask(&mut ws, "subscribe", book.clone(), 3).await;
    let taken = json!({"channel": "book", "depth": 25, "symbol": "BTC/USD", "snapshot": true});
    assert_eq!((&answers[0]["result"], &answers[0]["success"]), (&taken, &json!(true)));
    for (answer, symbol) in answers[1..].iter().zip(["NOPE/USD", "XBT/USD"]) {
        assert_eq!(answer["error"], format!("Currency pair not supported {symbol}"));
        assert_eq!((&answer["success"], &answer["symbol"]), (&json!(false), &json!(symbol)));
    }
    assert!(answers.iter().all(|answer| answer["req_id"] == 7 && answer["time_in"].is_string()));
    assert_eq!(update(&mut ws).await.0, "snapshot");
    let one = json!({"channel": "book", "depth": 25, "symbol": ["BTC/USD"]});
    for (method, params, error) in [
        ("subscribe", one.clone(), "Already subscribed"),
        (
            "subscribe",
            json!({"channel": "book", "depth": 11, "symbol": ["BTC/USD"]}),
            "Subscription depth not supported",
        ),
        ("subscribe", json!({"channel": "weather", "symbol": ["BTC/USD"]}), "Unsupported channel"),
        ("unsubscribe", json!({"channel": "trade", "symbol": ["BTC/USD"]}), "Subscription Not Found"),
        ("dance", json!({}), "Unknown method"),
    ] {
        assert_eq!(ask(&mut ws, method, params, 1).await[0]["error"], error, "{method}");
    }
    assert_eq!(ask(&mut ws, "unsubscribe", one.clone(), 1).await[0]["success"], true);
    ws.send("{").await;
    assert_eq!(ws.json().await["success"], false);
    sim.burst(KRAKEN, 50);
    assert_eq!(ws.got(SILENCE).await, Got::Nothing, "nothing is subscribed");
    subscribe(&mut ws, one).await;
    ws.send(r#"{"method":"ping"}"#).await;
    loop {
        let message = ws.json().await;
        if message.get("channel").is_none() {
            assert_eq!(message, json!({"Error": "Exceeded msg rate"}));
            break;
        }
    }
}

#[tokio::test]
async fn heartbeats_come_with_a_subscription_and_a_notice_with_maintenance() {
    let sim = kraken(|config| (config.rate, config.heartbeat_ms) = (0, Some(100))).await;
    let mut ws = open(&sim).await;
    assert_eq!(ws.got(SILENCE).await, Got::Nothing);
    subscribe(&mut ws, json!({"channel": "trade", "symbol": ["BTC/USD"]})).await;
    for _ in 0..3 {
        assert_eq!(ws.json().await, json!({"channel": "heartbeat"}));
    }
    sim.fault(FaultSpec::new(FaultAction::Notice).delay_ms(50)).expect("set");
    let mut systems = Vec::new();
    let end = loop {
        match ws.got(SOON).await {
            Got::Text(text) => {
                let message: Value = serde_json::from_str(&text).expect("JSON");
                systems.extend(message["data"][0]["system"].as_str().map(str::to_owned));
            }
            end => break end,
        }
    };
    assert_eq!(systems, ["maintenance"]);
    assert!(matches!(end, Got::Close(_)), "{end:?}");
}

#[tokio::test]
async fn cut_books_equal_the_venues_at_every_depth() {
    let sim = kraken(|config| {
        config.rate = 1500;
        config.symbols = vec!["BTC/USD".into(), "AAPLx/USD".into()];
    })
    .await;
    let mut all_cut = 0;
    for (depth, symbol) in
        [(10, "BTC/USD"), (25, "AAPLx/USD"), (100, "AAPLx/USD"), (500, "BTC/USD"), (1000, "AAPLx/USD")]
    {
        let mut ws = open(&sim).await;
        subscribe(&mut ws, json!({"channel": "book", "depth": depth, "symbol": [symbol]})).await;
        let (kind, first) = update(&mut ws).await;
        assert_eq!((kind.as_str(), first.bids.len(), first.asks.len()), ("snapshot", depth, depth));
        let mut replica = Replica::default();
        apply(&mut replica, &first, depth);
        assert_is(&replica, &sim, symbol, &first, depth);
        let mut last = micros(&first.timestamp);
        for _ in 0..50 {
            let (kind, next) = update(&mut ws).await;
            assert!(kind == "update" && micros(&next.timestamp) > last);
            last = micros(&next.timestamp);
            all_cut += apply(&mut replica, &next, depth);
            assert_is(&replica, &sim, symbol, &next, depth);
        }
    }
    assert!(all_cut > 10, "levels are pushed out without a word: {all_cut}");
}

#[tokio::test]
async fn a_lost_or_false_update_shows_in_the_checksum_and_two_may_have_one_time() {
    let sim = kraken(|config| {
        config.start_paused = true;
        config.symbols = vec!["BTC/USD".into()];
        config.trade_percent = 0;
    })
    .await;
    let mut ws = open(&sim).await;
    subscribe(&mut ws, json!({"channel": "book", "depth": 100, "symbol": ["BTC/USD"]})).await;
    update(&mut ws).await;
    let gap = sim.fault(FaultSpec::new(FaultAction::Gap)).expect("set");
    sim.burst(KRAKEN, 100);
    assert_eq!((sim.fired(gap), ws.drain().await.len() < 100), (1, true));

    let bad = sim.fault(FaultSpec::new(FaultAction::Checksum).replace(false)).expect("set");
    assert_eq!(sim.push_book_of_same_time(KRAKEN, "BTC/USD"), Ok(true));
    assert_eq!(sim.fired(bad), 1);
    let ((_, bad), (_, good)) = (update(&mut ws).await, update(&mut ws).await);
    assert_eq!((bad.checksum, &bad.timestamp), (good.checksum ^ 1, &good.timestamp));
    let quantities = |item: &Item| item.bids[0].qty.get().to_owned();
    for _ in 0..2 {
        assert_eq!(sim.push_book_of_same_time(KRAKEN, "BTC/USD"), Ok(true));
        let (_, same) = update(&mut ws).await;
        assert_eq!(same.timestamp, good.timestamp);
        assert!(same.checksum != good.checksum && quantities(&same) != quantities(&good));
    }
    let now = sim.book_now(KRAKEN, "BTC/USD").expect("known").expect("generated");
    let newest = book_at(&sim, KRAKEN, "BTC/USD", micros(&good.timestamp));
    assert_eq!(now, newest, "the time is that of the newest of its books");
    sim.burst(KRAKEN, 1);
    assert!(micros(&update(&mut ws).await.1.timestamp) > micros(&good.timestamp));
}

#[tokio::test]
async fn trades_begin_with_the_newest_fifty() {
    let sim = kraken(|config| config.start_paused = true).await;
    let ids = |message: &Value| -> Vec<u64> {
        message["data"].as_array().expect("data").iter().map(|row| number(&row["trade_id"])).collect()
    };
    let mut ws = open(&sim).await;
    subscribe(&mut ws, json!({"channel": "trade", "symbol": ["ETH/USD"]})).await;
    sim.burst(KRAKEN, 800);
    let mut seen: Vec<u64> = ws.drain().await.iter().flat_map(ids).collect();
    let mut late = open(&sim).await;
    subscribe(&mut late, json!({"channel": "trade", "snapshot": true, "symbol": ["ETH/USD"]})).await;
    let snapshot = late.json().await;
    assert_eq!(snapshot["type"], "snapshot");
    assert_eq!(ids(&snapshot), seen[seen.len() - 50..]);
    let mut from_now = open(&sim).await;
    subscribe(&mut from_now, json!({"channel": "trade", "symbol": ["ETH/USD"]})).await;
    assert_eq!(from_now.got(SILENCE).await, Got::Nothing, "they come only if they are asked for");
    drop(from_now);
    sim.burst(KRAKEN, 100);
    let more = ws.drain().await;
    assert!(more.iter().all(|message| message["type"] == "update"));
    seen.extend(more.iter().flat_map(ids));
    let ledger = sim.all_trades(KRAKEN, "ETH/USD").expect("known");
    assert_eq!(seen, ledger.iter().map(|trade| trade.id).collect::<Vec<_>>());
    let (row, trade) = (&snapshot["data"][49], &ledger[seen.len() - 1 - (more.iter().flat_map(ids).count())]);
    assert_eq!((number(&row["trade_id"]), row["side"].as_str()), (trade.id, Some(trade.side)));
    let time = micros(row["timestamp"].as_str().expect("text"));
    assert_eq!(time, trade.trade_time_ms.unsigned_abs() * 1000);
    assert_eq!((trade.sent, trade.accepted), (2, 2));
}

#[tokio::test]
async fn pairs_have_old_names_on_rest_and_refusals_are_good_answers() {
    let sim = kraken(|config| (config.rate, config.weight_max) = (0, Some(4))).await;
    let path = "/kraken_spot/0/public/AssetPairs";
    let list = get(&sim, path).await.json();
    let row = &list["result"]["XXBTZUSD"];
    assert_eq!(
        (&row["wsname"], &row["pair_decimals"], &row["lot_decimals"]),
        (&json!("XBT/USD"), &json!(1), &json!(8))
    );
    assert_eq!(list["result"]["XDGUSD"]["wsname"], "XDG/USD");
    assert_eq!(list["result"]["OLDUSD"]["status"], "cancel_only");
    assert!(list["result"]["XXBTZUSD.d"].get("wsname").is_none());
    let refused = |answer: super::client::Http| (answer.status, answer.json()["error"][0].clone());
    let unknown = get(&sim, &format!("{path}?pair=NOPE")).await;
    assert_eq!(refused(unknown), (200, json!("EQuery:Unknown asset pair")));
    for (status, error) in [(429, "EGeneral:Too many requests"), (503, "EService:Unavailable")] {
        sim.fault(FaultSpec::new(FaultAction::RestStatus).status(status)).expect("set");
        assert_eq!(refused(get(&sim, path).await), (200, json!(error)));
    }
    assert_eq!(
        refused(get(&sim, path).await),
        (200, json!("EGeneral:Too many requests")),
        "four are allowed"
    );
}
