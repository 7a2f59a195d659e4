//! Subscribing, naming, routing, pinging, ending.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Got, SILENCE, SOON, Ws, eventually, get, number, start};

#[tokio::test]
async fn control_messages_are_answered_as_the_venue_does() {
    let sim = start(|_| {}).await;
    let mut ws = Ws::open(&format!("{}/ws", sim.ws_base("binance_spot"))).await;
    ws.subscribe(&["nosuch@trade", "btcusdt@nosuch"]).await;
    assert_eq!(ws.got(SILENCE).await, Got::Nothing);
    ws.send(r#"{"method":"LIST_SUBSCRIPTIONS","id":9}"#).await;
    assert_eq!(ws.json().await, json!({"result": ["btcusdt@nosuch", "nosuch@trade"], "id": 9}));
    ws.send(r#"{"method":"WHAT","id":10}"#).await;
    let error = ws.json().await;
    assert_eq!((error["code"].clone(), error["id"].clone()), (json!(2), json!(10)));
    ws.subscribe(&["btcusdt@trade"]).await;
    assert_eq!(ws.json().await["e"], "trade");
    ws.send(r#"{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":11}"#).await;
    while ws.json().await.get("id").is_none() {}
    assert!(ws.drain().await.len() < 50, "what was under way may still come, then nothing");
    assert_eq!(ws.got(SILENCE).await, Got::Nothing);
    sim.stop().await;
}

#[tokio::test]
async fn frames_are_raw_or_wrapped_and_complete() {
    let sim = start(|config| config.symbols = vec!["BTCUSDT".into()]).await;
    let names =
        ["btcusdt@trade", "btcusdt@aggTrade", "btcusdt@depth", "btcusdt@depth@100ms", "btcusdt@bookTicker"];
    let url = format!("{}/stream?streams={}", sim.ws_base("binance_spot"), names.join("/"));
    let mut combined = Ws::open(&url).await;
    for name in names {
        let frame = loop {
            let frame = combined.json().await;
            if frame["stream"] == name {
                break frame["data"].clone();
            }
        };
        let keys: Vec<&str> = frame.as_object().expect("object").keys().map(String::as_str).collect();
        let mut expected = match name.split_once('@').expect("kind").1 {
            "trade" => vec!["e", "E", "s", "t", "p", "q", "T", "m", "M"],
            "aggTrade" => vec!["e", "E", "s", "a", "p", "q", "f", "l", "T", "m", "M"],
            "bookTicker" => vec!["u", "s", "b", "B", "a", "A"],
            _ => vec!["e", "E", "s", "U", "u", "b", "a"],
        };
        expected.sort_unstable();
        let mut found = keys.clone();
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
        assert_eq!(frame["s"], "BTCUSDT");
        if let Some(price) = frame["p"].as_str() {
            assert_eq!(price.split_once('.').expect("decimals").1.len(), 8, "{price}");
        }
    }
    let mut raw = Ws::open(&format!("{}/ws/btcusdt@trade", sim.ws_base("binance_spot"))).await;
    assert!(raw.text().await.starts_with(r#"{"e":"trade","E":"#));
}

#[tokio::test]
async fn wrong_routes_ack_and_stay_silent() {
    let sim = start(|config| config.exchanges = vec!["binance_derivatives".into()]).await;
    let base = sim.ws_base("binance_derivatives");
    for path in ["/ws", "/stream"] {
        let mut bare = Ws::open(&format!("{base}{path}")).await;
        bare.subscribe(&["btcusdt@aggTrade", "btcusdt@depth@100ms"]).await;
        assert_eq!(bare.got(SILENCE).await, Got::Nothing);
    }
    for (path, wrong) in [("/public/stream", "btcusdt@aggTrade"), ("/market/stream", "btcusdt@depth@100ms")] {
        let mut ws = Ws::open(&format!("{base}{path}")).await;
        ws.subscribe(&[wrong]).await;
        assert_eq!(ws.got(SILENCE).await, Got::Nothing);
    }
    let mut public = Ws::open(&format!("{base}/public/stream")).await;
    public.subscribe(&["btcusdt@depth@100ms"]).await;
    let update = public.json().await["data"].clone();
    for key in ["e", "E", "T", "s", "ps", "st", "U", "u", "pu", "b", "a"] {
        assert!(update.get(key).is_some(), "{key} in {update}");
    }
    let mut market = Ws::open(&format!("{base}/market/stream")).await;
    market.subscribe(&["btcusdt@aggTrade"]).await;
    let trade = market.json().await["data"].clone();
    for key in ["e", "E", "a", "s", "p", "q", "nq", "f", "l", "T", "m", "st"] {
        assert!(trade.get(key).is_some(), "{key} in {trade}");
    }
    market.subscribe(&["btcusdt@markPrice@1s", "ethusdt@forceOrder", "btcusdt@forceOrder"]).await;
    let mut seen = (false, false);
    while seen != (true, true) {
        let frame = market.json().await;
        seen.0 |= frame["data"]["e"] == "markPriceUpdate";
        seen.1 |= frame["data"]["e"] == "forceOrder";
    }
}

#[tokio::test]
async fn instrument_tables_are_the_venues() {
    let sim = start(|_| {}).await;
    let spot = get(&sim, "/binance_spot/api/v3/exchangeInfo").await;
    assert_eq!(spot.headers["x-mbx-used-weight-1m"], "20");
    let find = |info: &Value, name: &str| {
        let all = info["symbols"].as_array().expect("symbols");
        all.iter()
            .find(|s| s["symbol"].as_str().is_some_and(|s| s.starts_with(name)))
            .cloned()
            .expect("listed")
    };
    let fdusd = find(&spot.json(), "BTCFDUSD");
    assert_eq!((&fdusd["baseAsset"], &fdusd["quoteAsset"]), (&json!("BTC"), &json!("FDUSD")));
    assert_eq!(fdusd["filters"][0]["tickSize"], "0.01000000");
    assert_eq!(find(&spot.json(), "1000SATSUSDT")["filters"][1]["stepSize"], "1.00000000");
    let futures = get(&sim, "/binance_derivatives/fapi/v1/exchangeInfo").await.json();
    let dated = find(&futures, "BTCUSDT_");
    assert_eq!((&dated["contractType"], &dated["pair"]), (&json!("CURRENT_QUARTER"), &json!("BTCUSDT")));
    assert!(number(&dated["deliveryDate"]) > number(&futures["serverTime"]));
    assert_eq!(find(&futures, "1000PEPEUSDT")["contractType"], "PERPETUAL");
    for (path, status, code) in [
        ("/binance_spot/api/v3/depth?symbol=NOPE", 400, -1121),
        ("/binance_spot/api/v3/depth", 400, -1102),
        ("/binance_derivatives/fapi/v1/depth?symbol=BTCUSDT&limit=7", 400, -4021),
    ] {
        let answer = get(&sim, path).await;
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{path}");
    }
    assert_eq!(get(&sim, "/binance_spot/api/v3/nothing").await.status, 404);
    assert_eq!(get(&sim, "/nowhere/api").await.status, 404);
}

#[tokio::test]
async fn pings_come_and_must_be_answered() {
    let sim = start(|config| {
        config.rate = 0;
        config.ping_ms = Some(300);
        config.pong_within_ms = Some(2_500);
        config.messages_per_second = Some(50);
    })
    .await;
    let mut ws = Ws::open(&format!("{}/ws", sim.ws_base("binance_spot"))).await;
    for _ in 0..10 {
        assert!(matches!(ws.got(SOON).await, Got::Ping(payload) if !payload.is_empty()));
    }
    assert_eq!(
        sim.connections().len(),
        1,
        "ten answered pings: it lives longer than one may stay unanswered"
    );
    // Not read any more, so tungstenite answers nothing.
    eventually("silent client closed", || sim.connections().is_empty()).await;
}

#[tokio::test]
async fn connections_end_at_their_age_after_a_notice() {
    let sim = start(|config| {
        config.rate = 0;
        config.age_max_ms = Some(600);
        config.shutdown_notice_ms = Some(300);
    })
    .await;
    let opened = std::time::Instant::now();
    let mut ws = Ws::open(&format!("{}/stream", sim.ws_base("binance_spot"))).await;
    let notice = ws.json().await;
    assert_eq!(
        (&notice["stream"], &notice["data"]["e"]),
        (&json!("!serverShutdown"), &json!("serverShutdown"))
    );
    assert!(matches!(ws.end().await, Got::Close(Some((1001, _)))));
    assert!(opened.elapsed() >= Duration::from_millis(595));
}
