//! OKX: requests and errors, heartbeats, contracts, polls, and books with their snapshot in the stream.

use std::time::Duration;

use marketprism_venue_sim::{BookView, DataType, FaultAction, FaultSpec, Sim, SimConfig};
use serde_json::{Value, json};

use super::client::{self, Got, Replica, SILENCE, SOON, Ws, eventually, get, start, within};

pub const SPOT: &str = "okx_spot";
pub const DERIVATIVES: &str = "okx_derivatives";

pub async fn play(exchange: &str, change: impl FnOnce(&mut SimConfig)) -> Sim {
    start(|config| {
        config.exchanges = vec![exchange.into()];
        config.connects_max = Some(100);
        change(config);
    })
    .await
}

pub async fn open(sim: &Sim, exchange: &str) -> Ws {
    Ws::open(&format!("{}/ws/v5/public", sim.ws_base(exchange))).await
}

/// Sends a request with these args and reads as many answers.
pub async fn ask(ws: &mut Ws, op: &str, args: &Value) -> Vec<Value> {
    ws.send(&json!({"id": "7", "op": op, "args": args}).to_string()).await;
    let mut answers = Vec::new();
    while answers.len() < args.as_array().expect("args").len() {
        let message = ws.json().await;
        if message.get("event").is_some_and(|event| event != "channel-conn-count") {
            answers.push(message);
        }
    }
    answers
}

pub async fn subscribe(ws: &mut Ws, channel: &str, instrument: &str) {
    let answers = ask(ws, "subscribe", &json!([{"channel": channel, "instId": instrument}])).await;
    assert_eq!(answers[0]["event"], "subscribe", "{answers:?}");
}

/// The next data message of a channel.
pub async fn data(ws: &mut Ws, channel: &str) -> Value {
    loop {
        let message = ws.json().await;
        if message["arg"]["channel"] == channel && message.get("data").is_some() {
            return message;
        }
    }
}

#[tokio::test]
async fn each_arg_is_answered_for_itself() {
    let sim = play(SPOT, |config| config.requests_max = Some(4)).await;
    let mut ws = open(&sim, SPOT).await;
    ws.send("ping").await;
    assert_eq!(ws.text().await.as_str(), "pong");
    let args = json!([
        {"channel": "trades", "instId": "BTC-USDT"}, {"channel": "trades", "instId": "NOPE-USDT"},
        {"channel": "trades-all", "instId": "BTC-USDT"}, {"channel": "books-l2-tbt", "instId": "BTC-USDT"},
        {"channel": "funding-rate", "instId": "BTC-USDT"}, {"instId": "BTC-USDT"},
    ]);
    let answers = ask(&mut ws, "subscribe", &args).await;
    assert_eq!((&answers[0]["event"], &answers[0]["arg"]), (&json!("subscribe"), &args[0]));
    let codes: Vec<&str> = answers[1..].iter().map(|a| a["code"].as_str().expect("code")).collect();
    assert_eq!(codes, ["60018", "60018", "64003", "60018", "60013"]);
    assert!(answers.iter().all(|a| a["id"] == "7" && a["connId"].is_string()));
    assert_eq!(data(&mut ws, "trades").await["arg"]["instId"], "BTC-USDT");
    ws.send("{\"op\":\"what\"}").await;
    loop {
        let message = ws.json().await;
        if message["event"] == "error" {
            assert_eq!(message["code"], "60012");
            break;
        }
    }
    let bought = json!([{"channel": "trades", "instId": "BTC-USDT"}]);
    assert_eq!(ask(&mut ws, "unsubscribe", &bought).await[0]["event"], "unsubscribe");
    ws.drain().await;
    assert_eq!(ws.got(SILENCE).await, Got::Nothing);
    for _ in 0..2 {
        ask(&mut ws, "subscribe", &bought).await;
    }
    assert_eq!(ask(&mut ws, "subscribe", &bought).await[0]["code"], "60014", "four requests are allowed");
}

#[tokio::test]
async fn idle_connections_end_unless_they_ping() {
    let sim = play(SPOT, |config| {
        (config.rate, config.idle_ms, config.connects_max) = (0, Some(4_000), None);
    })
    .await;
    let mut ws = open(&sim, SPOT).await;
    let begun = std::time::Instant::now();
    while begun.elapsed().as_millis() < 5_000 {
        ws.send("ping").await;
        assert_eq!(ws.text().await.as_str(), "pong");
        assert_eq!(ws.got(SILENCE).await, Got::Nothing);
    }
    assert!(matches!(ws.end().await, Got::Close(Some((4004, _)))));
    let url = format!("{}/ws/v5/public", sim.ws_base(SPOT));
    let mut all_refused = 0;
    let refused = within(Duration::from_secs(1), async || {
        let mut refused = 0;
        for _ in 0..5 {
            refused += u64::from(tokio_tungstenite::connect_async(&url).await.is_err());
        }
        all_refused += refused;
        refused
    })
    .await;
    assert_eq!(refused, 2, "three a second");
    assert_eq!(sim.state().exchanges[SPOT].counters.refused_connections, all_refused);
}

#[tokio::test]
async fn trades_are_what_the_ledger_says() {
    let sim = play(DERIVATIVES, |config| config.start_paused = true).await;
    let all = sim.instruments(DERIVATIVES).expect("played");
    let option = all.iter().find(|i| i.market_type == "options").expect("listed").venue_symbol.clone();
    let mut most = 0;
    for (symbol, linear) in [("BTC-USDT-SWAP", true), ("BTC-USD-SWAP", false), (option.as_str(), true)] {
        let mut ws = open(&sim, DERIVATIVES).await;
        subscribe(&mut ws, "trades", symbol).await;
        let before = sim.all_trades(DERIVATIVES, symbol).expect("known").len();
        sim.burst(DERIVATIVES, 2000);
        let frames = ws.drain().await;
        let rows: Vec<&Value> = frames
            .iter()
            .filter(|f| f.get("data").is_some())
            .flat_map(|f| f["data"].as_array().expect("data"))
            .collect();
        most = most.max(frames.iter().filter_map(|f| f["data"].as_array()).map(Vec::len).max().unwrap_or(0));
        let trades = sim.all_trades(DERIVATIVES, symbol).expect("known").split_off(before);
        assert_eq!(rows.len(), trades.len());
        assert!(rows.len() > 20);
        for (row, trade) in rows.iter().zip(&trades) {
            assert_eq!((&row["tradeId"], &row["px"]), (&json!(trade.trade_id), &json!(trade.price)));
            assert_eq!((&row["sz"], &row["side"]), (&json!(trade.quantity), &json!(trade.side)));
            assert_eq!(row["ts"], trade.trade_time_ms.to_string());
            let count = trade.last_match_id - trade.first_match_id + 1;
            assert_eq!(row["count"], count.to_string());
            assert_eq!((trade.base_quantity.is_some(), trade.quote_value.is_some()), (linear, !linear));
            assert_eq!((trade.sent, trade.accepted), (1, 1));
        }
    }
    assert!(most > 1, "some messages hold several trades");
}

#[tokio::test]
async fn pushed_events_are_in_the_ledger() {
    let sim = play(DERIVATIVES, |config| config.start_paused = true).await;
    let perpetual = "SOL-USD_UM_XPERP-310404";
    let mut ws = open(&sim, DERIVATIVES).await;
    let args = json!([
        {"channel": "funding-rate", "instId": perpetual}, {"channel": "open-interest", "instId": "BTC-USD-SWAP"},
        {"channel": "liquidation-orders", "instType": "SWAP"},
    ]);
    assert!(ask(&mut ws, "subscribe", &args).await.iter().all(|a| a["event"] == "subscribe"));
    assert_eq!(sim.push(DERIVATIVES, perpetual, DataType::FundingRate, 1), Ok(1));
    assert_eq!(sim.push(DERIVATIVES, "BTC-USD-SWAP", DataType::OpenInterest, 1), Ok(1));
    let row = data(&mut ws, "funding-rate").await["data"][0].clone();
    let told = sim.all_events(DERIVATIVES, DataType::FundingRate).expect("played").remove(0);
    assert_eq!(
        (&row["fundingRate"], &row["instType"]),
        (&json!(told.values["funding_rate"]), &json!("FUTURES"))
    );
    assert_eq!(
        (&row["fundingTime"], &row["ts"]),
        (&json!(told.values["next_funding_time_ms"]), &json!(told.time_ms.to_string()))
    );
    let time = |key: &str| row[key].as_str().expect("text").parse::<i64>().expect("time");
    let hours = (time("nextFundingTime") - time("fundingTime")) / 3_600_000;
    assert_eq!(told.values["interval_hours"], hours.to_string());

    let row = data(&mut ws, "open-interest").await["data"][0].clone();
    let told = sim.all_events(DERIVATIVES, DataType::OpenInterest).expect("played").remove(0);
    for (key, name) in [("oi", "contracts"), ("oiCcy", "base"), ("oiUsd", "value_usd")] {
        assert_eq!(row[key], told.values[name], "{key}");
    }
    let figure = |name: &str| told.values[name].parse::<u64>().expect("whole");
    assert_eq!(figure("value_usd"), 100 * figure("contracts"));

    sim.push(DERIVATIVES, "BTC-USDT-SWAP", DataType::Liquidation, 4).expect("played");
    let frames = ws.drain().await;
    let rows: Vec<&Value> =
        frames.iter().flat_map(|f| f["data"][0]["details"].as_array().expect("rows")).collect();
    let events = sim.all_events(DERIVATIVES, DataType::Liquidation).expect("played");
    assert_eq!(rows.len(), events.len());
    assert!(rows.len() >= 4);
    for (row, event) in rows.iter().zip(&events) {
        assert_eq!(
            (&row["bkPx"], &row["sz"]),
            (&json!(event.values["price"]), &json!(event.values["quantity"]))
        );
        assert_eq!(
            (&row["side"], &row["ts"]),
            (&json!(event.values["side"]), &json!(event.time_ms.to_string()))
        );
        assert_eq!(row["posSide"], if row["side"] == "buy" { "short" } else { "long" });
        assert!(event.values.contains_key("base_quantity"));
    }
    let mut late = open(&sim, DERIVATIVES).await;
    ask(&mut late, "subscribe", &json!([{"channel": "liquidation-orders", "instType": "SWAP"}])).await;
    let again = data(&mut late, "liquidation-orders").await;
    let newest = &again["data"].as_array().expect("rows").last().expect("some")["details"][0];
    assert_eq!(newest["ts"], events.last().expect("some").time_ms.to_string());
    eventually("noted", || {
        let now = sim.all_events(DERIVATIVES, DataType::Liquidation).expect("played");
        now.len() == events.len() && now.last().expect("some").deliveries.accepted == 2
    })
    .await;
}

#[tokio::test]
async fn polled_values_and_lists_are_the_venues() {
    let sim = play(DERIVATIVES, |config| config.rate = 0).await;
    let api = |rest: &str| format!("/{DERIVATIVES}/api/v5/{rest}");
    let rows = get(&sim, &api("public/instruments?instType=SWAP")).await.json();
    assert_eq!((&rows["code"], rows["data"].as_array().map(Vec::len)), (&json!("0"), Some(3)));
    let inverse = rows["data"].as_array().unwrap().iter().find(|r| r["instId"] == "BTC-USD-SWAP").unwrap();
    assert_eq!(
        (&inverse["ctType"], &inverse["ctVal"], &inverse["ctValCcy"]),
        (&json!("inverse"), &json!("100"), &json!("USD"))
    );
    let families = get(&sim, &api("public/underlying?instType=OPTION")).await.json();
    assert_eq!(families["data"], json!([["BTC-USD"]]));
    let options = get(&sim, &api("public/instruments?instType=OPTION&uly=BTC-USD")).await.json();
    assert_eq!(
        (&options["data"][0]["ctMult"], options["data"].as_array().map(Vec::len)),
        (&json!("0.01"), Some(2))
    );
    let refused = get(&sim, &api("public/instruments?instType=OPTION&instFamily=SOL-USD")).await;
    assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("51000")));
    for (name, data_type) in [
        ("long-short-position-ratio-contract-top-trader", DataType::LsrTopPosition),
        ("long-short-account-ratio-contract", DataType::LsrAllAccount),
    ] {
        let path = api(&format!("rubik/stat/contracts/{name}?instId=BTC-USDT-SWAP&period=5m&limit=2"));
        let answers = within(Duration::from_secs(2), async || {
            let mut answers = Vec::new();
            for _ in 0..6 {
                answers.push(get(&sim, &path).await);
            }
            answers
        })
        .await;
        let rows = answers[0].json()["data"].clone();
        let events = sim.all_events(DERIVATIVES, data_type).expect("played");
        assert_eq!((rows.as_array().map(Vec::len), events.len()), (Some(2), 2));
        for (row, event) in rows.as_array().unwrap().iter().zip(&events) {
            assert_eq!(
                (&row[0], &row[1]),
                (&json!(event.time_ms.to_string()), &json!(event.values["ratio"]))
            );
        }
        assert!(events[0].time_ms > events[1].time_ms, "newest first");
        assert!(answers[..5].iter().all(|answer| answer.status == 200));
        let sixth = &answers[5];
        assert_eq!((sixth.status, &sixth.json()["code"]), (429, &json!("50011")), "five in two seconds");
    }
    let unknown = get(&sim, &api("rubik/stat/contracts/long-short-account-ratio-contract?instId=NOPE")).await;
    assert_eq!((unknown.status, &unknown.json()["code"]), (200, &json!("51001")));
}

#[tokio::test]
async fn a_service_upgrade_is_announced() {
    let sim = play(SPOT, |config| config.rate = 0).await;
    let mut ws = open(&sim, SPOT).await;
    sim.fault(FaultSpec::new(FaultAction::Notice).delay_ms(100)).expect("set");
    assert_eq!(ws.json().await["code"], "64008");
    assert!(matches!(ws.got(SOON).await, Got::Close(_)));
}

#[tokio::test]
async fn faults_work_here_too() {
    let names = ["okx_spot:BTC-USDT", "binance_spot:ETHUSDT", "ETH-USDT-SWAP"];
    let sim = start(|config| {
        (config.start_paused, config.symbols) = (true, names.map(str::to_owned).to_vec());
    })
    .await;
    let played = |exchange: &str| -> Vec<String> {
        sim.instruments(exchange).expect("played").into_iter().map(|i| i.venue_symbol).collect()
    };
    let all = [played(SPOT), played("binance_spot"), played(DERIVATIVES)].concat();
    assert_eq!(all, ["BTC-USDT", "ETHUSDT", "ETH-USDT-SWAP"]);
    let mut ws = open(&sim, SPOT).await;
    subscribe(&mut ws, "trades", "BTC-USDT").await;
    ws.drain().await;
    let spec = |action| FaultSpec::new(action).exchange(SPOT).symbol("BTC-USDT").stream("trades:");
    sim.fault(spec(FaultAction::Drop)).expect("set");
    sim.fault(spec(FaultAction::Duplicate).after(5)).expect("set");
    sim.burst(SPOT, 60);
    let id = |frame: &Value| frame["data"][0]["tradeId"].as_str().expect("id").to_owned();
    let ids: Vec<String> = ws.drain().await.iter().map(id).collect();
    assert_eq!(ids.windows(2).filter(|w| w[0] == w[1]).count(), 1);
    let trades = sim.all_trades(SPOT, "BTC-USDT").expect("known");
    assert_eq!((trades[0].withheld, trades[0].sent), (1, 0));
    assert!(!ids.contains(&trades[0].trade_id));
    sim.fault(spec(FaultAction::Half)).expect("set");
    sim.burst(SPOT, 20);
    assert!(serde_json::from_str::<Value>(&ws.text().await).is_err());
    let path = format!("/{SPOT}/api/v5/public/instruments?instType=SPOT");
    for action in [FaultAction::Garbage, FaultAction::Half] {
        sim.fault(FaultSpec::new(action).path("public/instruments")).expect("set");
        assert!(serde_json::from_str::<Value>(&get(&sim, &path).await.body).is_err());
        assert_eq!(get(&sim, &path).await.json()["code"], "0");
    }
    ws.drain().await;
    sim.fault(FaultSpec::new(FaultAction::Cut).exchange(SPOT)).expect("set");
    assert!(matches!(ws.end().await, Got::Failed(_)));
}

/// A replica that checks the chain of updates.
#[derive(Default)]
struct Chain {
    book: Replica,
    last: i64,
}

impl Chain {
    fn apply(&mut self, frame: &Value) {
        let data = &frame["data"][0];
        assert_eq!(data["checksum"], 0);
        if frame["action"] == "snapshot" {
            *self = Chain { last: -1, ..Chain::default() };
        }
        assert_eq!(data["prevSeqId"].as_i64(), Some(self.last), "{frame}");
        self.last = data["seqId"].as_i64().expect("seqId");
        for side in ["bids", "asks"] {
            for row in data[side].as_array().expect("rows") {
                let (price, size) = (row[0].as_str().expect("text"), row[1].as_str().expect("text"));
                assert_eq!((&row[2], row[3].is_string()), (&json!("0"), true));
                let before = self.book.set(side, price, size);
                assert!(size != "0" || before.is_some(), "only known levels are removed");
            }
        }
    }

    fn assert_is(&self, book: &BookView) {
        assert!(book.bids.len() <= 400 && book.asks.len() <= 400, "the channel shows 400 levels");
        self.book.assert_is(book);
    }
}

fn book_at(sim: &Sim, exchange: &str, symbol: &str, id: i64) -> BookView {
    client::book_at(sim, exchange, symbol, id.unsigned_abs())
}

#[tokio::test]
async fn books_follow_from_their_snapshot() {
    let sim = play(DERIVATIVES, |config| config.rate = 2000).await;
    let symbol = "BTC-USD-SWAP";
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let mut ws = open(&sim, DERIVATIVES).await;
        subscribe(&mut ws, "books", symbol).await;
        let mut replica = Chain::default();
        for n in 0..60 {
            let frame = data(&mut ws, "books").await;
            assert_eq!(frame["action"], if n == 0 { "snapshot" } else { "update" });
            replica.apply(&frame);
            replica.assert_is(&book_at(&sim, DERIVATIVES, symbol, replica.last));
        }
        replicas.push((ws, replica));
    }
    sim.pause();
    let (mut ws, mut replica) = replicas.pop().expect("two");
    for frame in ws.drain().await {
        replica.apply(&frame);
    }
    sim.push_still_book(DERIVATIVES, symbol).expect("played");
    let still = ws.json().await;
    assert_eq!((&still["data"][0]["asks"], &still["data"][0]["bids"]), (&json!([]), &json!([])));
    assert_eq!(still["data"][0]["seqId"].as_i64(), Some(replica.last));
    replica.apply(&still);
    for _ in 0..2 {
        let spec = FaultSpec::new(FaultAction::RestartSequence).exchange(DERIVATIVES).symbol(symbol);
        let id = sim.fault(spec).expect("allowed");
        assert_eq!(sim.fired(id), 1);
        // Changes not yet published come first, with the old numbers.
        let mut restarts = 0;
        for frame in ws.drain().await {
            let before = replica.last;
            replica.apply(&frame);
            restarts += usize::from(replica.last < before);
        }
        assert_eq!(restarts, 1);
        replica.assert_is(&book_at(&sim, DERIVATIVES, symbol, replica.last));
        sim.burst(DERIVATIVES, 200);
        for frame in ws.drain().await {
            replica.apply(&frame);
        }
        replica.assert_is(&book_at(&sim, DERIVATIVES, symbol, replica.last));
    }
    sim.fault(FaultSpec::new(FaultAction::Gap).exchange(DERIVATIVES).symbol(symbol)).expect("set");
    sim.burst(DERIVATIVES, 400);
    assert_ne!(ws.drain().await[0]["data"][0]["prevSeqId"].as_i64(), Some(replica.last));
    ask(&mut ws, "unsubscribe", &json!([{"channel": "books", "instId": symbol}])).await;
    subscribe(&mut ws, "books", symbol).await;
    replica.apply(&data(&mut ws, "books").await);
    replica.assert_is(&sim.book_now(DERIVATIVES, symbol).expect("known").expect("generated"));
}

#[tokio::test]
async fn still_books_are_told_by_the_clock() {
    let sim = play(SPOT, |config| (config.rate, config.still_book_ms) = (0, Some(200))).await;
    let mut ws = open(&sim, SPOT).await;
    subscribe(&mut ws, "books", "BTC-USDT").await;
    let mut replica = Chain::default();
    for _ in 0..4 {
        replica.apply(&data(&mut ws, "books").await);
    }
}
