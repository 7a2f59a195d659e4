//! Deribit's socket: subscribing by JSON-RPC, heartbeat, books, trades, tickers and indices, each number compared
//! as text with the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use marketprism_venue_sim::{BookView, DataType, EventRecord, FaultAction, FaultSpec, Sim, SimConfig};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::client::{Got, Replica, SILENCE, SOON, Ws, book_at, eventually, number, start, within};

pub const DERIBIT: &str = "deribit_derivatives";

pub async fn deribit(change: impl FnOnce(&mut SimConfig)) -> Sim {
    start(|config| {
        config.exchanges = vec![DERIBIT.into()];
        change(config);
    })
    .await
}

async fn open(sim: &Sim) -> Ws {
    Ws::open(&format!("{}/ws/api/v2", sim.ws_base(DERIBIT))).await
}

/// Sends a request and waits for its answer; data that come before it are passed over.
async fn ask(ws: &mut Ws, method: &str, params: Value) -> Value {
    ws.send(&json!({"jsonrpc": "2.0", "id": method, "method": method, "params": params}).to_string()).await;
    loop {
        let message = ws.json().await;
        if message["id"] == method {
            assert_eq!((&message["jsonrpc"], &message["testnet"]), (&json!("2.0"), &json!(false)));
            return message;
        }
    }
}

async fn subscribe(ws: &mut Ws, channels: &[&str]) {
    let answer = ask(ws, "public/subscribe", json!({"channels": channels})).await;
    assert_eq!(answer["result"].as_array().map(Vec::len), Some(channels.len()), "{answer}");
}

#[derive(Deserialize)]
struct Frame {
    method: String,
    params: Params,
}

#[derive(Deserialize)]
struct Params {
    channel: String,
    data: Box<RawValue>,
}

async fn data(ws: &mut Ws) -> (String, String) {
    let text = ws.text().await;
    let frame: Frame = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(frame.method, "subscription");
    (frame.params.channel, frame.params.data.get().to_owned())
}

/// The members of an object, each as it stands in the text; strings without their quotes.
pub fn members(text: &str) -> BTreeMap<String, String> {
    let all: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    all.into_iter().map(|(key, value)| (key, value.get().trim_matches('"').to_owned())).collect()
}

#[derive(Debug, Deserialize)]
struct Update {
    r#type: String,
    instrument_name: String,
    change_id: u64,
    #[serde(default)]
    prev_change_id: Option<u64>,
    timestamp: i64,
    bids: Vec<(String, Box<RawValue>, Box<RawValue>)>,
    asks: Vec<(String, Box<RawValue>, Box<RawValue>)>,
}

async fn update(ws: &mut Ws) -> Update {
    let (_, text) = data(ws).await;
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn apply(replica: &mut Replica, update: &Update) {
    for (side, rows) in [("bids", &update.bids), ("asks", &update.asks)] {
        for (action, price, amount) in rows {
            let before = replica.set(side, price.get(), amount.get());
            assert!(price.get().contains('.') && amount.get().contains('.'), "a digit behind the point");
            assert_eq!(before.is_none(), action == "new", "{action} {price}");
            assert_eq!(amount.get() == "0.0", action == "delete", "{action} {price}");
        }
    }
}

fn assert_is(replica: &Replica, book: &BookView) {
    assert!(book.bids.len() >= 100 && book.asks.len() >= 100);
    replica.assert_is(book);
}

#[tokio::test]
async fn requests_are_answered_as_the_venue_does() {
    let sim = deribit(|_| {}).await;
    let mut ws = open(&sim).await;
    let raw = json!({"channels": ["trades.BTC-PERPETUAL.100ms", "book.BTC-PERPETUAL.raw"]});
    let refused = ask(&mut ws, "public/subscribe", raw).await;
    assert_eq!(refused["error"]["code"], 13778);
    assert_eq!(ws.got(SILENCE).await, Got::Nothing, "the good channel was not taken either");
    let mixed = json!({"channels": ["ticker.BTC-PERPETUAL.100ms", "trades.NOPE.100ms", "book.BTC-PERPETUAL.1s",
        "trades.BTC-PERPETUAL.100ms", "deribit_volatility_index.btc_usd", "deribit_volatility_index.sol_usd"]});
    let answer = ask(&mut ws, "public/subscribe", mixed).await;
    let taken =
        ["trades.BTC-PERPETUAL.100ms", "ticker.BTC-PERPETUAL.100ms", "deribit_volatility_index.btc_usd"];
    assert_eq!(answer["result"], json!(taken));
    assert!(number(&answer["usOut"]) - number(&answer["usIn"]) == number(&answer["usDiff"]));
    let mut seen = BTreeSet::new();
    while seen.len() < taken.len() {
        seen.insert(data(&mut ws).await.0);
    }
    let gone = json!({"channels": [taken[0], "book.BTC-PERPETUAL.100ms"]});
    assert_eq!(ask(&mut ws, "public/unsubscribe", gone).await["result"], json!([taken[0]]));
    assert_eq!(ask(&mut ws, "public/unsubscribe_all", json!({})).await["result"], "ok");
    ws.drain().await;
    assert_eq!(ws.got(SILENCE * 5).await, Got::Nothing);
    for (method, params, code) in [
        ("public/nope", json!({}), -32601),
        ("public/subscribe", json!({"channels": "book.BTC-PERPETUAL.100ms"}), -32602),
        ("public/set_heartbeat", json!({"interval": 9}), -32602),
    ] {
        assert_eq!(ask(&mut ws, method, params).await["error"]["code"], code, "{method}");
    }
    ws.send("{").await;
    assert_eq!(ws.json().await["error"]["code"], -32700);
    assert!(ask(&mut ws, "public/test", json!({})).await["result"]["version"].is_string());
}

#[tokio::test]
async fn credits_run_out_and_come_back() {
    let sim = deribit(|config| (config.rate, config.requests_max) = (0, Some(3))).await;
    let more = json!({"channels": ["book.ETH-PERPETUAL.100ms"]});
    let (mut ws, begun, refused) = within(Duration::from_secs(3), async || {
        let mut ws = open(&sim).await;
        let begun = Instant::now();
        for _ in 0..3 {
            subscribe(&mut ws, &["trades.BTC-PERPETUAL.100ms"]).await;
        }
        let refused = ask(&mut ws, "public/subscribe", more.clone()).await;
        (ws, begun, refused)
    })
    .await;
    assert_eq!(refused["error"], json!({"code": 10028, "message": "too_many_requests", "data": null}));
    assert_eq!(ws.got(SILENCE).await, Got::Nothing);
    while ask(&mut ws, "public/subscribe", more.clone()).await.get("error").is_some() {
        assert!(begun.elapsed() < SOON);
        ws.got(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(3));
    assert_eq!(update(&mut ws).await.r#type, "snapshot");
}

#[tokio::test]
async fn test_requests_must_be_answered() {
    let sim = deribit(|config| (config.rate, config.heartbeat_ms) = (0, Some(2_000))).await;
    let mut ws = open(&sim).await;
    assert_eq!(ws.got(Duration::from_millis(3_000)).await, Got::Nothing, "nobody asked for it");
    assert_eq!(ask(&mut ws, "public/set_heartbeat", json!({"interval": 30})).await["result"], "ok");
    let mut answered = Instant::now();
    for _ in 0..4 {
        for kind in ["heartbeat", "test_request"] {
            let beat = json!({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": kind}});
            assert_eq!(ws.json().await, beat);
        }
        answered = Instant::now();
        ws.send(r#"{"jsonrpc":"2.0","id":9,"method":"public/test"}"#).await;
        assert_eq!(ws.json().await["id"], 9);
    }
    assert!(matches!(ws.end().await, Got::Close(Some((1000, _)))));
    assert!(answered.elapsed() >= Duration::from_millis(2_400));
    eventually("counted", || sim.state().exchanges[DERIBIT].counters.unanswered == 1).await;
}

#[tokio::test]
async fn snapshot_and_changes_rebuild_the_book() {
    let sim = deribit(|config| config.rate = 1500).await;
    let option = sim.instruments(DERIBIT).expect("played")[4].venue_symbol.clone();
    for (symbol, channel, rounds) in [
        ("BTC-PERPETUAL", "book.BTC-PERPETUAL.100ms".to_owned(), 300),
        ("BTC_USDC-PERPETUAL", "book.BTC_USDC-PERPETUAL.agg2".to_owned(), 2),
        (&option, format!("book.{option}.100ms"), 100),
    ] {
        let mut ws = open(&sim).await;
        subscribe(&mut ws, &[&channel]).await;
        let first = update(&mut ws).await;
        assert_eq!((first.r#type.as_str(), first.prev_change_id), ("snapshot", None));
        let (mut replica, mut last, mut leaps) = (Replica::default(), first.change_id, 0);
        apply(&mut replica, &first);
        assert_is(&replica, &book_at(&sim, DERIBIT, symbol, last));
        for _ in 0..rounds {
            let next = update(&mut ws).await;
            assert_eq!((next.r#type.as_str(), next.instrument_name.as_str()), ("change", symbol));
            assert_eq!(next.prev_change_id, Some(last));
            assert!(next.change_id > last && next.timestamp >= first.timestamp - 1000);
            leaps += u64::from(next.change_id > last + 1);
            last = next.change_id;
            apply(&mut replica, &next);
            assert_is(&replica, &book_at(&sim, DERIBIT, symbol, last));
        }
        assert!(leaps > 0, "ids are shared with other books");
    }
    let mut ws = open(&sim).await;
    let channel = "book.ETH-PERPETUAL.100ms";
    subscribe(&mut ws, &[channel]).await;
    let mut last = update(&mut ws).await.change_id;
    sim.fault(FaultSpec::new(FaultAction::Gap).exchange(DERIBIT).stream(channel).count(1)).expect("set");
    loop {
        let next = update(&mut ws).await;
        if next.prev_change_id != Some(last) {
            assert!(next.prev_change_id > Some(last));
            break;
        }
        last = next.change_id;
    }
    ask(&mut ws, "public/unsubscribe", json!({"channels": [channel]})).await;
    ws.drain().await;
    subscribe(&mut ws, &[channel]).await;
    let fresh = update(&mut ws).await;
    assert!(fresh.r#type == "snapshot" && fresh.change_id > last);
    let mut replica = Replica::default();
    apply(&mut replica, &fresh);
    assert_is(&replica, &book_at(&sim, DERIBIT, "ETH-PERPETUAL", fresh.change_id));
    assert!(sim.fault(FaultSpec::new(FaultAction::RestartSequence).exchange(DERIBIT)).is_err());
}

#[tokio::test]
async fn trades_are_what_the_ledger_says() {
    let sim = deribit(|_| {}).await;
    let symbols: Vec<String> =
        sim.instruments(DERIBIT).expect("played").into_iter().map(|i| i.venue_symbol).collect();
    let mut ws = open(&sim).await;
    let channels: Vec<String> = symbols.iter().map(|symbol| format!("trades.{symbol}.100ms")).collect();
    subscribe(&mut ws, &channels.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut frames = Vec::new();
    while frames.len() < 300 {
        frames.push(data(&mut ws).await);
    }
    sim.pause();
    while let Got::Text(text) = ws.got(SILENCE).await {
        let frame: Frame = serde_json::from_str(&text).expect("frame");
        frames.push((frame.params.channel, frame.params.data.get().to_owned()));
    }
    let (mut ids, mut several) = (BTreeSet::new(), 0);
    let mut by_symbol: BTreeMap<String, Vec<BTreeMap<String, String>>> = BTreeMap::new();
    for (channel, array) in &frames {
        let rows: Vec<Box<RawValue>> = serde_json::from_str(array).expect("array");
        several += usize::from(rows.len() > 1);
        for row in rows {
            let row = members(row.get());
            assert_eq!(*channel, format!("trades.{}.100ms", row["instrument_name"]));
            assert!(ids.insert(row["trade_id"].clone()), "{row:?}");
            by_symbol.entry(row["instrument_name"].clone()).or_default().push(row);
        }
    }
    assert!(several > 10);
    for symbol in &symbols {
        let ledger = sim.all_trades(DERIBIT, symbol).expect("known");
        let sent: Vec<_> = ledger.iter().filter(|trade| trade.sent > 0).collect();
        let rows = &by_symbol[symbol];
        assert_eq!(sent.len(), rows.len(), "{symbol}");
        assert!(sent.windows(2).all(|pair| pair[1].id == pair[0].id + 1));
        for (trade, row) in sent.iter().zip(rows) {
            let expected = [&trade.trade_id, &trade.price, &trade.quantity, trade.side];
            assert_eq!(["trade_seq", "price", "amount", "direction"].map(|key| row[key].as_str()), expected);
            assert_eq!(row["timestamp"], trade.trade_time_ms.to_string());
            assert!(
                !row.contains_key("liquidation") && row["contracts"].ends_with(|c: char| c.is_ascii_digit())
            );
            assert_eq!(
                (trade.accepted, row.contains_key("iv")),
                (1, symbol.ends_with("-C") || symbol.ends_with("-P"))
            );
            assert_eq!(trade.quote_value.is_some(), trade.base_quantity.is_none());
        }
    }
    let dollars = sim.all_trades(DERIBIT, "ETH-PERPETUAL").expect("known");
    assert!(
        dollars.iter().all(|trade| trade.quote_value.as_ref().map(|value| format!("{value}.0"))
            == Some(trade.quantity.clone()))
    );
}

fn find(sim: &Sim, data_type: DataType, symbol: &str, time_ms: &str) -> Option<EventRecord> {
    let all = sim.all_events(DERIBIT, data_type).expect("played");
    let mut found = all.iter().filter(|e| e.symbol == symbol && e.time_ms.to_string() == time_ms);
    assert!(found.clone().count() <= 1, "told once, however many streams carry it");
    found.next().cloned()
}

#[tokio::test]
async fn tickers_and_indices_are_in_the_ledger() {
    let sim = deribit(|config| (config.rate, config.event_ms) = (0, Some(100))).await;
    let instruments = sim.instruments(DERIBIT).expect("played");
    let mut channels: Vec<String> =
        instruments.iter().map(|i| format!("ticker.{}.100ms", i.venue_symbol)).collect();
    channels.push("ticker.BTC-PERPETUAL.agg2".into());
    channels.extend(["btc_usd", "eth_usd"].map(|index| format!("deribit_volatility_index.{index}")));
    let mut ws = open(&sim).await;
    subscribe(&mut ws, &channels.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut frames = Vec::new();
    while frames.len() < 80 {
        frames.push(data(&mut ws).await);
    }
    sim.pause();
    let mut seen = BTreeSet::new();
    for (channel, text) in frames {
        seen.insert(channel.clone());
        let row = members(&text);
        let time = row["timestamp"].as_str();
        if let Some(index) = row.get("index_name") {
            let event = find(&sim, DataType::VolatilityIndex, index, time).expect("in the ledger");
            assert_eq!(event.values["index_value"], row["volatility"]);
            assert_eq!(event.values["underlying"].to_lowercase() + "_usd", *index);
            continue;
        }
        let name = &row["instrument_name"];
        let instrument = instruments.iter().find(|i| i.venue_symbol == *name).expect("listed");
        let interest = find(&sim, DataType::OpenInterest, name, time).expect("in the ledger");
        let unit = if instrument.contract_value.is_some() { "value_usd" } else { "base" };
        assert_eq!(interest.values, BTreeMap::from([(unit, row["open_interest"].clone())]));
        let funding = find(&sim, DataType::FundingRate, name, time);
        assert_eq!(funding.is_some(), instrument.market_type == "perpetual");
        assert_eq!(funding.is_some(), row.contains_key("current_funding"));
        let Some(funding) = funding else { continue };
        assert_ne!(row["funding_8h"], row["current_funding"]);
        let expected = BTreeMap::from([
            ("funding_rate", row["funding_8h"].clone()),
            ("mark_price", row["mark_price"].clone()),
            ("index_price", row["index_price"].clone()),
            ("interval_hours", "8".to_owned()),
        ]);
        assert_eq!(funding.values, expected);
    }
    assert_eq!(seen.len(), channels.len());
    ws.drain().await;
    assert_eq!(sim.push(DERIBIT, "btc_usd", DataType::VolatilityIndex, 1), Ok(1));
    assert_eq!(sim.push(DERIBIT, "BTC-PERPETUAL", DataType::Liquidation, 1), Ok(0), "only asked for");
    assert_eq!(data(&mut ws).await.0, "deribit_volatility_index.btc_usd");
}
