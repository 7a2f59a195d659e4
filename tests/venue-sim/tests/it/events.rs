//! Events other than trades and books: each message and answer is in the ledger, value for value.

use marketprism_venue_sim::{DataType, EventRecord, FaultAction, FaultSpec, Sim};
use serde_json::{Value, json};

use super::client::{Got, SILENCE, Ws, eventually, get, post, start};

const UM: &str = "binance_derivatives";

async fn usd_m() -> Sim {
    start(|config| {
        config.exchanges = vec![UM.into()];
        config.rate = 0;
        config.event_ms = Some(100);
    })
    .await
}

fn find(sim: &Sim, data_type: DataType, symbol: &str, time_ms: i64) -> EventRecord {
    let all = sim.all_events(UM, data_type).expect("played");
    let found = all.iter().find(|e| e.symbol == symbol && e.time_ms == time_ms);
    found.unwrap_or_else(|| panic!("{symbol} at {time_ms} is not among {all:?}")).clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

#[tokio::test]
async fn mark_prices_are_in_the_ledger_value_for_value() {
    let sim = usd_m().await;
    let instruments = sim.instruments(UM).expect("played");
    let dated = instruments.iter().find(|i| i.market_type == "futures").expect("dated").venue_symbol.clone();
    let info = get(&sim, "/binance_derivatives/fapi/v1/fundingInfo").await.json();
    assert_eq!((&info[0]["symbol"], info.as_array().map(Vec::len)), (&json!("1000PEPEUSDT"), Some(1)));
    let mut ws = Ws::open(&format!("{}/market/ws", sim.ws_base(UM))).await;
    let quiet = format!("{}@markPrice@1s", dated.to_lowercase());
    ws.subscribe(&["1000pepeusdt@markPrice@1s", "1000pepeusdt@markPrice", &quiet]).await;
    let (mut seen, mut empty) = (Vec::new(), 0);
    while seen.len() < 12 || empty == 0 {
        let frame = ws.json().await;
        assert_eq!(frame["st"], 1);
        if frame["s"] == dated.as_str() {
            assert_eq!((&frame["r"], &frame["T"]), (&json!(""), &json!(0)));
            empty += 1;
        } else {
            seen.push(frame);
        }
    }
    sim.pause();
    for frame in &seen {
        let event = find(&sim, DataType::FundingRate, "1000PEPEUSDT", frame["E"].as_i64().expect("time"));
        for (key, name) in [("r", "funding_rate"), ("p", "mark_price"), ("i", "index_price")] {
            assert_eq!(text(&frame[key]), event.values[name], "{key}");
        }
        assert_eq!(frame["T"].to_string(), event.values["next_funding_time_ms"]);
        assert_eq!(event.values["interval_hours"], info[0]["fundingIntervalHours"].to_string());
        assert!(event.deliveries.accepted >= 1 && event.deliveries.accepted == event.deliveries.sent);
    }
    let all = sim.all_events(UM, DataType::FundingRate).expect("played");
    assert!(all.iter().all(|e| e.symbol == "1000PEPEUSDT"));
    assert!(all.iter().all(|e| all.iter().filter(|o| o.time_ms == e.time_ms).count() == 1));
}

#[tokio::test]
async fn forced_orders_are_in_the_ledger_and_foreign_ones_are_not() {
    let sim = usd_m().await;
    sim.pause();
    let mut ws = Ws::open(&format!("{}/market/ws", sim.ws_base(UM))).await;
    ws.subscribe(&["btcusdt@forceOrder", "!forceOrder@arr"]).await;
    assert_eq!(sim.push(UM, "BTCUSDT", DataType::Liquidation, 2), Ok(2));
    let frames = ws.drain().await;
    let (own, foreign): (Vec<_>, Vec<_>) = frames.iter().partition(|f| f["st"] == 1);
    assert_eq!((own.len(), foreign.len()), (4, 2));
    assert!(foreign.iter().all(|f| f["o"]["s"] == "BTCUSD_PERP"));
    let events = sim.all_events(UM, DataType::Liquidation).expect("played");
    assert_eq!(events.len(), 2);
    for frame in own {
        let order = &frame["o"];
        let event = find(&sim, DataType::Liquidation, "BTCUSDT", order["T"].as_i64().expect("time"));
        let side = if order["S"] == "SELL" { "sell" } else { "buy" };
        assert_eq!(event.values["side"], side);
        assert_eq!(event.values["price"], text(&order["ap"]));
        assert_eq!(event.values["base_quantity"], text(&order["z"]));
        assert_eq!((event.deliveries.sent, event.deliveries.accepted, event.deliveries.withheld), (2, 2, 0));
    }
    sim.fault(FaultSpec::new(FaultAction::Drop).stream("@forceOrder").count(1)).expect("set");
    sim.push(UM, "ETHUSDT", DataType::Liquidation, 1).expect("played");
    sim.push(UM, "BTCUSDT", DataType::Liquidation, 1).expect("played");
    ws.drain().await;
    let last = sim.all_events(UM, DataType::Liquidation).expect("played").pop().expect("events");
    assert_eq!((last.deliveries.sent, last.deliveries.withheld), (1, 1), "one of the two streams lost it");
}

#[tokio::test]
async fn polled_values_are_in_the_ledger() {
    let sim = usd_m().await;
    let path = |rest: &str| format!("/binance_derivatives{rest}");
    let interest = get(&sim, &path("/fapi/v1/openInterest?symbol=BTCUSDT")).await.json();
    let event = find(&sim, DataType::OpenInterest, "BTCUSDT", interest["time"].as_i64().expect("time"));
    assert_eq!(event.values["base"], text(&interest["openInterest"]));
    for (name, data_type) in [
        ("topLongShortPositionRatio", Some(DataType::LsrTopPosition)),
        ("globalLongShortAccountRatio", Some(DataType::LsrAllAccount)),
        ("topLongShortAccountRatio", None),
    ] {
        let url = path(&format!("/futures/data/{name}?symbol=BTCUSDT&period=5m&limit=3"));
        let rows = get(&sim, &url).await.json();
        assert_eq!(rows.as_array().map(Vec::len), Some(3), "{rows}");
        for row in rows.as_array().expect("rows") {
            let time = row["timestamp"].as_i64().or_else(|| row["timestamp"].as_str()?.parse().ok());
            let Some(data_type) = data_type else { continue };
            let event = find(&sim, data_type, "BTCUSDT", time.expect("time"));
            for (key, value) in
                [("longShortRatio", "ratio"), ("longAccount", "long"), ("shortAccount", "short")]
            {
                assert_eq!(text(&row[key]), event.values[value], "{key}");
            }
        }
        let refuse = FaultSpec::new(FaultAction::RestStatus).status(418).retry_after_s(7).path(name);
        sim.fault(refuse).expect("set");
        let answer = get(&sim, &url).await;
        assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (418, "7"));
    }
    assert_eq!(get(&sim, &path("/futures/data/topLongShortPositionRatio?symbol=BTCUSDT")).await.status, 400);
    let premium = get(&sim, &path("/fapi/v1/premiumIndex")).await.json();
    assert_eq!(premium.as_array().map(Vec::len), Some(sim.instruments(UM).expect("played").len()));
}

#[tokio::test]
async fn events_instruments_and_endpoints_are_served_over_http() {
    let sim = start(|config| config.start_paused = true).await;
    let endpoints = get(&sim, "/sim/endpoints").await.json();
    assert_eq!(endpoints[UM]["ws"], format!("ws://{}/{UM}", sim.addr()));
    assert_eq!(endpoints["binance_spot"]["rest"], format!("http://{}/binance_spot", sim.addr()));
    let mut ws = Ws::open(&format!("{}/market/ws/ethusdt@markPrice@1s", sim.ws_base(UM))).await;
    eventually("subscribed", || sim.connections().iter().any(|c| !c.subscriptions.is_empty())).await;
    let push = json!({"exchange": UM, "symbol": "ETHUSDT", "data_type": "funding_rate", "count": 2});
    assert_eq!(post(&sim, "/sim/push", &push).await.json(), json!({"pushed": 2}));
    assert_eq!(ws.drain().await.len(), 2);
    let path = "/sim/events?exchange=binance_derivatives&data_type=funding_rate&symbol=ETHUSDT";
    let events = get(&sim, path).await.json();
    assert_eq!((events.as_array().map(Vec::len), &events[1]["accepted"]), (Some(2), &json!(1)));
    assert_eq!(get(&sim, &format!("{path}&from=2")).await.json()[0], events[1]);
    let instruments = get(&sim, "/sim/instruments?exchange=binance_derivatives").await.json();
    assert_eq!(instruments[0]["symbol"], "BTC-USDT");
    for (push, status) in [
        (json!({"exchange": UM, "symbol": "NOPE", "data_type": "funding_rate"}), 404),
        (json!({"exchange": UM, "symbol": "ETHUSDT", "data_type": "nope"}), 400),
    ] {
        assert_eq!(post(&sim, "/sim/push", &push).await.status, status);
    }
    sim.resume();
    assert_eq!(get(&sim, "/sim/events?exchange=nope").await.status, 404);
    assert!(matches!(ws.got(SILENCE * 10).await, Got::Text(_)), "the clock goes on");
}

#[tokio::test]
async fn a_notice_comes_before_the_end() {
    let sim = start(|config| config.rate = 0).await;
    let mut ws = Ws::open(&format!("{}/stream", sim.ws_base("binance_spot"))).await;
    let notice = FaultSpec::new(FaultAction::Notice).exchange("binance_spot").delay_ms(300);
    let begun = std::time::Instant::now();
    let id = sim.fault(notice).expect("set");
    assert_eq!(sim.fired(id), 1);
    assert_eq!(ws.json().await["data"]["e"], "serverShutdown");
    assert!(matches!(ws.end().await, Got::Close(Some((1001, _)))));
    assert!(begun.elapsed().as_millis() >= 300);
    assert!(sim.fault(FaultSpec::new(FaultAction::RestartSequence).exchange("binance_spot")).is_err());
}
