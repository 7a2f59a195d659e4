//! Bybit: requests and errors, numbered books of limited depth, tickers, lists, ratios, refusals.

use marketprism_venue_sim::{BookView, DataType, FaultAction, FaultSpec, Sim, SimConfig};
use serde_json::{Value, json};

use super::client::{Got, Replica, SILENCE, SOON, Ws, book_at, eventually, get, number, start};

const SPOT: &str = "bybit_spot";
const DERIVATIVES: &str = "bybit_derivatives";

async fn play(exchange: &str, change: impl FnOnce(&mut SimConfig)) -> Sim {
    start(|config| {
        (config.exchanges, config.start_paused) = (vec![exchange.into()], true);
        change(config);
    })
    .await
}

async fn open(sim: &Sim, exchange: &str) -> Ws {
    let route = if exchange == SPOT { "spot" } else { "linear" };
    Ws::open(&format!("{}/v5/public/{route}", sim.ws_base(exchange))).await
}

/// The answer to a request; data that comes before it is not expected.
async fn ask(ws: &mut Ws, op: &str, topics: &[&str]) -> Value {
    ws.send(&json!({"req_id": "7", "op": op, "args": topics}).to_string()).await;
    let answer = ws.json().await;
    assert_eq!((&answer["req_id"], &answer["op"]), (&json!("7"), &json!(op)), "{answer}");
    answer
}

async fn subscribe(ws: &mut Ws, topics: &[&str]) {
    assert_eq!(ask(ws, "subscribe", topics).await["success"], true);
}

#[tokio::test]
async fn a_wrong_topic_refuses_its_whole_request() {
    let trades = "publicTrade.BTCUSDT";
    for (exchange, refusal) in [
        (SPOT, "Invalid symbol :[orderbook.30.BTCUSDT]"),
        (DERIVATIVES, "error:handler not found,topic:orderbook.30.BTCUSDT"),
    ] {
        let sim = play(exchange, |_| {}).await;
        let mut ws = open(&sim, exchange).await;
        ws.send(r#"{"req_id":"1","op":"ping"}"#).await;
        let pong = ws.json().await;
        assert!(if exchange == SPOT { pong["ret_msg"] == "pong" } else { pong["op"] == "pong" }, "{pong}");
        let answer = ask(&mut ws, "subscribe", &[trades, "orderbook.30.BTCUSDT"]).await;
        assert_eq!((&answer["success"], &answer["ret_msg"]), (&json!(false), &json!(refusal)));
        sim.burst(exchange, 200);
        assert_eq!(ws.got(SILENCE).await, Got::Nothing, "the other topic is not subscribed either");
        subscribe(&mut ws, &[trades]).await;
        let again = ask(&mut ws, "subscribe", &[trades]).await;
        assert_eq!(again["ret_msg"], format!("error:already subscribed,topic:{trades}"));
        sim.burst(exchange, 200);
        assert_eq!(ws.json().await["topic"], trades);
        ws.drain().await;
        assert_eq!(ask(&mut ws, "unsubscribe", &[trades]).await["success"], true);
        sim.burst(exchange, 200);
        assert_eq!(ws.got(SILENCE).await, Got::Nothing);
        assert_eq!(ask(&mut ws, "nope", &[trades]).await["ret_msg"], "error:invalid op");
        ws.send("hello").await;
        assert!(ws.json().await["ret_msg"].as_str().expect("text").starts_with("Failed to decode"));
    }
}

#[tokio::test]
async fn requests_and_connections_have_limits() {
    let symbols: Vec<String> = (0..700).map(|n| format!("1000000COIN{n:03}USDT")).collect();
    let topics: Vec<String> = symbols.iter().map(|symbol| format!("orderbook.200.{symbol}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    for (exchange, allowed) in [(SPOT, 10), (DERIVATIVES, 20)] {
        let sim = play(exchange, |config| config.symbols = symbols.clone()).await;
        let mut ws = open(&sim, exchange).await;
        let more = ask(&mut ws, "subscribe", &topics[..11]).await;
        assert_eq!(more["ret_msg"] == "args size >10", exchange == SPOT, "{more}");
        drop(ws);
        let mut ws = open(&sim, exchange).await;
        let mut characters = 0;
        for chunk in topics.chunks(allowed) {
            ws.send(&json!({"req_id": "1", "op": "subscribe", "args": chunk}).to_string()).await;
            let answer = loop {
                let message = ws.json().await;
                if message["op"] == "subscribe" {
                    break message;
                }
            };
            characters += chunk.iter().map(|topic| topic.len()).sum::<usize>();
            assert_eq!(answer["success"], characters <= 21_000, "{characters}: {answer}");
        }
        assert!(characters > 21_000);
    }
}

/// A book of limited depth, with the number of its newest update.
struct Cut {
    depth: usize,
    book: Replica,
    u: u64,
}

impl Cut {
    fn new(depth: usize) -> Cut {
        Cut { depth, book: Replica::default(), u: 0 }
    }

    fn apply(&mut self, frame: &Value) {
        let (data, u) = (&frame["data"], number(&frame["data"]["u"]));
        assert!(frame["cts"].is_i64() && data["seq"].is_u64() && data["s"] == "BTCUSDT", "{frame}");
        if frame["type"] == "snapshot" {
            self.book = Replica::default();
        } else {
            assert_eq!(u, self.u + 1, "{frame}");
        }
        self.u = u;
        for side in ["b", "a"] {
            for level in data[side].as_array().expect("levels") {
                self.book.set(side, level[0].as_str().expect("price"), level[1].as_str().expect("size"));
            }
        }
    }

    fn assert_is(&mut self, mut own: BookView, cuts: bool) {
        while cuts && self.book.bids.len() > self.depth {
            self.book.bids.pop_first();
        }
        while cuts && self.book.asks.len() > self.depth {
            self.book.asks.pop_last();
        }
        own.bids.truncate(self.depth);
        own.asks.truncate(self.depth);
        self.book.assert_is(&own);
    }
}

#[tokio::test]
async fn books_are_cut_to_their_depth_and_numbered_by_update() {
    for exchange in [SPOT, DERIVATIVES] {
        let sim = play(exchange, |_| {}).await;
        let mut ws = open(&sim, exchange).await;
        let mut books = [Cut::new(50), Cut::new(200)];
        let of = |frame: &Value| usize::from(frame["topic"] == "orderbook.200.BTCUSDT");
        subscribe(&mut ws, &["orderbook.50.BTCUSDT", "orderbook.200.BTCUSDT"]).await;
        for _ in 0..5 {
            sim.burst(exchange, 100);
            for frame in ws.drain().await {
                let cut = &mut books[of(&frame)];
                cut.apply(&frame);
                cut.assert_is(book_at(&sim, exchange, "BTCUSDT", cut.u), exchange != SPOT);
            }
        }
        assert!(books[0].u > 200 && books[1].u > books[0].u, "each depth has numbers of its own");
        sim.fault(FaultSpec::new(FaultAction::Gap).stream("orderbook.50.BTCUSDT")).expect("set");
        let before = books[0].u;
        sim.burst(exchange, 100);
        let frames = ws.drain().await;
        let first = frames.iter().find(|frame| of(frame) == 0).expect("an update");
        assert_eq!(number(&first["data"]["u"]), before + 2, "one is lost");
        assert_eq!(ask(&mut ws, "unsubscribe", &["orderbook.50.BTCUSDT"]).await["success"], true);
        subscribe(&mut ws, &["orderbook.50.BTCUSDT"]).await;
        let snapshot = ws.json().await;
        assert_eq!(snapshot["type"], "snapshot");
        books[0].apply(&snapshot);
        books[0].assert_is(book_at(&sim, exchange, "BTCUSDT", books[0].u), false);
        let restart = FaultSpec::new(FaultAction::RestartSequence).exchange(exchange).symbol("BTCUSDT");
        sim.fault(restart).expect("set");
        for frame in ws.drain().await.iter().filter(|frame| of(frame) == 0) {
            assert_eq!((&frame["type"], number(&frame["data"]["u"])), (&json!("snapshot"), 1));
            books[0].apply(frame);
        }
        books[0].assert_is(sim.book_now(exchange, "BTCUSDT").expect("known").expect("a book"), false);
        sim.stop().await;
    }
}

#[tokio::test]
async fn tickers_begin_whole_and_go_on_with_changes() {
    let sim = play(DERIVATIVES, |config| config.event_ms = Some(200)).await;
    let mut ws = open(&sim, DERIVATIVES).await;
    subscribe(&mut ws, &["tickers.BTCUSDT"]).await;
    let mut state = ws.json().await;
    assert_eq!((&state["type"], &state["data"]["fundingIntervalHour"]), (&json!("snapshot"), &json!("8")));
    let list = get(&sim, &format!("/{DERIVATIVES}/v5/market/tickers?category=linear")).await.json();
    let mut rows = list["result"]["list"].as_array().expect("rows").iter();
    let row = rows.find(|row| row["symbol"] == "BTCUSDT").expect("listed");
    for terms in ["nextFundingTime", "fundingIntervalHour"] {
        assert_eq!(row[terms], state["data"][terms]);
    }
    sim.resume();
    let mut compared = [0, 0];
    while compared.iter().any(|count| *count < 3) {
        let change = ws.json().await;
        assert_eq!(change["type"], "delta");
        assert!(change["ts"].as_i64() >= state["ts"].as_i64(), "times never go back");
        let fields = change["data"].as_object().expect("fields").clone();
        assert!(!fields.contains_key("fundingIntervalHour"));
        state["ts"] = change["ts"].clone();
        state["data"].as_object_mut().expect("fields").extend(fields.clone());
        let all = |kind| sim.all_events(DERIVATIVES, kind).expect("played");
        let told = |kind| {
            let own = all(kind).into_iter().find(|e| e.symbol == "BTCUSDT" && state["ts"] == e.time_ms);
            own.expect("in the ledger").values.clone()
        };
        if fields.contains_key("fundingRate") {
            let values = told(DataType::FundingRate);
            assert_eq!(state["data"]["fundingRate"], values["funding_rate"]);
            assert_eq!(state["data"]["nextFundingTime"], values["next_funding_time_ms"]);
            assert_eq!(state["data"]["fundingIntervalHour"], values["interval_hours"]);
            assert_eq!(state["data"]["markPrice"], values["mark_price"]);
            compared[0] += 1;
        } else if fields.contains_key("openInterest") {
            let values = told(DataType::OpenInterest);
            assert_eq!(state["data"]["singleOpenInterest"], values["base"]);
            assert_eq!(state["data"]["singleOpenInterestValue"], values["value_usd"]);
            assert_ne!(state["data"]["openInterest"], values["base"], "both sides");
            compared[1] += 1;
        }
    }
}

#[tokio::test]
async fn trades_and_liquidations_are_in_the_ledger() {
    for exchange in [SPOT, DERIVATIVES] {
        let sim = play(exchange, |_| {}).await;
        let mut ws = open(&sim, exchange).await;
        subscribe(&mut ws, &["publicTrade.BTCUSDT"]).await;
        sim.burst(exchange, 1000);
        let frames = ws.drain().await;
        let rows: Vec<&Value> = frames.iter().flat_map(|f| f["data"].as_array().expect("rows")).collect();
        assert!(frames.len() < rows.len(), "some messages hold several trades");
        let trades = sim.all_trades(exchange, "BTCUSDT").expect("known");
        assert_eq!(rows.len(), trades.len());
        for (row, trade) in rows.iter().zip(&trades) {
            assert_eq!((&row["i"], &row["p"]), (&json!(trade.trade_id), &json!(trade.price)));
            assert_eq!((&row["v"], &row["T"]), (&json!(trade.quantity), &json!(trade.trade_time_ms)));
            assert_eq!(row["S"].as_str().expect("side").to_lowercase(), trade.side);
            assert_eq!(trade.trade_id.contains('-'), exchange == DERIVATIVES);
        }
    }
    let sim = play(DERIVATIVES, |_| {}).await;
    let mut ws = open(&sim, DERIVATIVES).await;
    subscribe(&mut ws, &["allLiquidation.BTCUSDT"]).await;
    assert_eq!(sim.push(DERIVATIVES, "BTCUSDT", DataType::Liquidation, 20), Ok(20));
    let rows: Vec<Value> =
        ws.drain().await.iter().flat_map(|f| f["data"].as_array().expect("rows").clone()).collect();
    let events = sim.all_events(DERIVATIVES, DataType::Liquidation).expect("played");
    assert_eq!(rows.len(), events.len());
    assert!(rows.len() > 20);
    for (row, event) in rows.iter().zip(&events) {
        let of_order = if row["S"] == "Buy" { "sell" } else { "buy" };
        assert_eq!((of_order, &row["p"]), (event.values["side"].as_str(), &json!(event.values["price"])));
    }
}

#[tokio::test]
async fn lists_have_pages_and_ratios_are_shares() {
    let sim = play(DERIVATIVES, |_| {}).await;
    let list = format!("/{DERIVATIVES}/v5/market/instruments-info?category=linear&limit=1000");
    let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    while pages == 0 || !cursor.is_empty() {
        let page = get(&sim, &format!("{list}&cursor={cursor}")).await.json();
        let rows = page["result"]["list"].as_array().expect("rows").clone();
        found.extend(rows.iter().map(|row| row["symbol"].as_str().expect("symbol").to_owned()));
        cursor = page["result"]["nextPageCursor"].as_str().expect("cursor").to_owned();
        pages += 1;
    }
    let own: Vec<String> =
        sim.instruments(DERIVATIVES).expect("played").into_iter().map(|i| i.venue_symbol).collect();
    assert_eq!((pages, &found), (2, &own));
    let path = |query: &str| format!("/{DERIVATIVES}/v5/market/account-ratio?{query}");
    let good = path("category=linear&symbol=BTCUSDT&period=5min&limit=2");
    let rows = get(&sim, &good).await.json()["result"]["list"].clone();
    let events = sim.all_events(DERIVATIVES, DataType::LsrAllAccount).expect("played");
    for (row, event) in rows.as_array().expect("rows").iter().zip(&events) {
        assert_eq!(
            (&row["buyRatio"], &row["sellRatio"]),
            (&json!(event.values["long"]), &json!(event.values["short"]))
        );
        assert_eq!(
            (row["timestamp"].as_str(), event.values["period"].as_str()),
            (Some(&*event.time_ms.to_string()), "5m")
        );
    }
    assert_eq!(events.len(), 2);
    for query in [
        "category=spot&symbol=BTCUSDT",
        "category=linear&symbol=BTCPERP&period=5min",
        "category=linear&symbol=BTCUSDT&period=5m",
    ] {
        let refused = get(&sim, &path(query)).await;
        assert_eq!((refused.status, &refused.json()["retCode"]), (200, &json!(10001)), "{query}");
    }
    for code in [10006, 10016] {
        sim.fault(FaultSpec::new(FaultAction::RestStatus).code(code).path("account-ratio")).expect("set");
        let refused = get(&sim, &good).await;
        assert_eq!((refused.status, &refused.json()["retCode"]), (200, &json!(code)));
        assert_eq!(get(&sim, &good).await.json()["retCode"], 0);
    }
}

#[tokio::test]
async fn too_many_requests_shut_out_without_a_time() {
    let sim = play(SPOT, |config| (config.weight_max, config.ban_ms) = (Some(2), Some(4_000))).await;
    let path = format!("/{SPOT}/v5/market/time");
    for status in [200, 200, 403, 403] {
        let answer = get(&sim, &path).await;
        assert_eq!((answer.status, answer.headers.contains_key("retry-after")), (status, false));
    }
    eventually("let in again", || sim.state().exchanges[SPOT].counters.refused_requests == 2).await;
    let begun = std::time::Instant::now();
    while get(&sim, &path).await.status == 403 {
        assert!(begun.elapsed() < SOON);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn faults_work_here_too() {
    let sim = play(DERIVATIVES, |config| config.symbols = vec!["BTCUSDT".into()]).await;
    let mut ws = open(&sim, DERIVATIVES).await;
    subscribe(&mut ws, &["publicTrade.BTCUSDT"]).await;
    let spec = |action| FaultSpec::new(action).exchange(DERIVATIVES).symbol("BTCUSDT").stream("publicTrade");
    sim.fault(spec(FaultAction::Drop)).expect("set");
    sim.fault(spec(FaultAction::Duplicate).after(5)).expect("set");
    sim.fault(spec(FaultAction::Reorder).after(10)).expect("set");
    sim.burst(DERIVATIVES, 100);
    let seqs: Vec<u64> = ws.drain().await.iter().map(|frame| number(&frame["data"][0]["seq"])).collect();
    let trades = sim.all_trades(DERIVATIVES, "BTCUSDT").expect("known");
    assert_eq!((trades[0].withheld, trades[0].sent), (1, 0));
    assert_eq!(seqs.windows(2).filter(|pair| pair[0] == pair[1]).count(), 1);
    assert_eq!(seqs.windows(2).filter(|pair| pair[0] > pair[1]).count(), 1);
    let freeze = sim.fault(spec(FaultAction::Freeze)).expect("set");
    sim.burst(DERIVATIVES, 100);
    assert_eq!(ws.got(SILENCE).await, Got::Nothing);
    assert!(sim.remove_fault(freeze));
    sim.fault(spec(FaultAction::Cut)).expect("set");
    assert!(matches!(ws.end().await, Got::Failed(_)));
}
