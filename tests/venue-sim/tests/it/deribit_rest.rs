//! Deribit's REST: the instrument list, and trades of the past with their late marks.

use std::collections::BTreeMap;

use marketprism_venue_sim::{DataType, EventRecord, Sim};
use serde_json::{Value, json};

use super::client::{Http, eventually, get};
use super::deribit::{DERIBIT, deribit, members};

const MINUTE_MS: i64 = 60_000;

fn time_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("small")
}

async fn ask(sim: &Sim, method: &str, query: &str) -> Http {
    get(sim, &format!("/{DERIBIT}/api/v2/public/{method}?{query}")).await
}

async fn rows(sim: &Sim, query: &str) -> Vec<Value> {
    let answer = ask(sim, "get_instruments", query).await.json();
    answer["result"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

#[tokio::test]
async fn instrument_lists_are_the_venues() {
    let sim = deribit(|config| config.rate = 0).await;
    let find = |rows: &[Value], name: &str| {
        let of = |row: &&Value| row["instrument_name"].as_str().is_some_and(|n| n.ends_with(name));
        rows.iter().find(of).unwrap_or_else(|| panic!("{name} in {rows:?}")).clone()
    };
    let futures = rows(&sim, "currency=any&kind=future&expired=false").await;
    assert_eq!(futures.len(), 5);
    let kinds: Vec<_> = futures.iter().map(|row| row["kind"].as_str().expect("kind")).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "future_combo").count(), 1);
    let combination = find(&futures, "_PERP")["instrument_name"].as_str().expect("name").to_owned();
    assert!(combination.starts_with("BTC-FS-"));
    let played: Vec<_> =
        sim.instruments(DERIBIT).expect("played").into_iter().map(|i| i.venue_symbol).collect();
    assert!(!played.contains(&combination));
    let perpetual = find(&futures, "BTC_USDC-PERPETUAL");
    for (name, value) in [
        ("base_currency", json!("BTC")),
        ("quote_currency", json!("USDC")),
        ("counter_currency", json!("USDC")),
        ("settlement_currency", json!("USDC")),
        ("instrument_type", json!("linear")),
        ("settlement_period", json!("perpetual")),
        ("is_active", json!(true)),
    ] {
        assert_eq!(perpetual[name], value, "{name}");
    }
    let inverse = find(&futures, "ETH-PERPETUAL");
    assert_eq!(
        (&inverse["instrument_type"], &inverse["settlement_currency"]),
        (&json!("reversed"), &json!("ETH"))
    );
    let options = rows(&sim, "currency=any&kind=option").await;
    assert_eq!(options.len(), 3);
    let put = find(&options, "-P");
    let shown = ["option_type", "quote_currency", "counter_currency"].map(|name| put[name].as_str());
    assert_eq!(shown, [Some("put"), Some("BTC"), Some("USD")]);
    let linear = rows(&sim, "currency=USDC").await;
    assert!(linear.len() == 2 && linear.iter().all(|row| row["settlement_currency"] == "USDC"));
    assert!(rows(&sim, "currency=any&expired=true").await.is_empty());
    let text = ask(&sim, "get_instruments", "currency=BTC&kind=future").await.body;
    for number in [r#""tick_size":0.5,"#, r#""contract_size":10.0,"#, r#""min_trade_amount":10.0,"#] {
        assert!(text.contains(number), "{number} in {text}");
    }
    let text = ask(&sim, "get_instruments", "currency=USDC").await.body;
    for number in [r#""strike":2.5,"#, r#""contract_size":0.0001,"#, r#""tick_size":0.0001,"#] {
        assert!(text.contains(number), "{number} in {text}");
    }
}

/// The trades of a stretch of time page by page, as often as they came.
async fn pages(
    sim: &Sim,
    symbol: &str,
    (mut from, to): (i64, i64),
    count: usize,
) -> (usize, BTreeMap<u64, Value>) {
    let (mut asked, mut found) = (0, BTreeMap::new());
    loop {
        let query = format!(
            "instrument_name={symbol}&start_timestamp={from}&end_timestamp={to}&count={count}&sorting=asc"
        );
        let result =
            ask(sim, "get_last_trades_by_instrument_and_time", &query).await.json()["result"].clone();
        asked += 1;
        for trade in result["trades"].as_array().expect("trades") {
            from = trade["timestamp"].as_i64().expect("time");
            found.insert(trade["trade_seq"].as_u64().expect("number"), trade.clone());
        }
        if result["has_more"] == false {
            return (asked, found);
        }
    }
}

fn forced(sim: &Sim) -> Vec<EventRecord> {
    sim.all_events(DERIBIT, DataType::Liquidation).expect("played")
}

#[tokio::test]
async fn old_trades_are_marked_and_in_the_ledger() {
    let sim = deribit(|config| (config.rate, config.past_per_minute) = (0, 20)).await;
    let now = time_now();
    let old = (now - 90 * MINUTE_MS, now - 60 * MINUTE_MS);
    let (asked, found) = pages(&sim, "BTC-PERPETUAL", old, 100).await;
    assert!((6..=8).contains(&asked) && (590..=610).contains(&found.len()), "{asked} {}", found.len());
    let numbers: Vec<u64> = found.keys().copied().collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let mut expected = Vec::new();
    for (number, trade) in &found {
        let row = members(&trade.to_string());
        let opposite = if row["direction"] == "buy" { "sell" } else { "buy" };
        let sides = match row.get("liquidation").map(String::as_str) {
            None => vec![],
            Some("T") => vec![row["direction"].as_str()],
            Some("M") => vec![opposite],
            Some("MT") => vec!["buy", "sell"],
            Some(mark) => panic!("{mark}"),
        };
        let one = |side: &str| (number.to_string(), side.to_owned(), row["timestamp"].clone());
        expected.extend(sides.into_iter().map(one));
    }
    let shown =
        |e: &EventRecord| (e.values["trade_id"].clone(), e.values["side"].clone(), e.time_ms.to_string());
    let mut told: Vec<_> = forced(&sim).iter().map(shown).collect();
    told.sort_unstable();
    expected.sort_unstable();
    assert_eq!(told, expected);
    assert!((60..200).contains(&told.len()), "{} of 600", told.len());
    let kinds = |mark: &str| found.values().filter(|trade| trade["liquidation"] == mark).count();
    assert!(["M", "T", "MT"].iter().all(|mark| kinds(mark) > 5));
    for event in forced(&sim) {
        let trade = &found[&event.values["trade_id"].parse().expect("number")];
        assert_eq!(trade["price"].to_string(), event.values["price"]);
        assert_eq!(trade["amount"].to_string(), event.values["quantity"]);
        assert_eq!(format!("{}.0", event.values["quote_value"]), event.values["quantity"]);
    }
    let young = (now - 59 * MINUTE_MS, now);
    let (_, found) = pages(&sim, "BTC-PERPETUAL", young, 1000).await;
    assert!(found.len() > 1000 && found.values().all(|trade| trade.get("liquidation").is_none()));
    assert_eq!(forced(&sim).len(), told.len());
    let (asked, _) = pages(&sim, "BTC-PERPETUAL", (0, now - 121 * MINUTE_MS), 1000).await;
    assert_eq!(asked, 1, "no older ones");
}

#[tokio::test]
async fn requests_are_counted_checked_and_refused() {
    let sim = deribit(|config| {
        config.liquidation_delay_ms = 0;
        config.past_per_minute = 0;
        config.weight_max = Some(12);
        config.weight_window_ms = Some(60_000);
    })
    .await;
    let method = "get_last_trades_by_instrument_and_time";
    eventually("trades", || sim.all_trades(DERIBIT, "BTC-PERPETUAL").expect("known").len() > 200).await;
    sim.pause();
    let ledger = sim.all_trades(DERIBIT, "BTC-PERPETUAL").expect("known");
    let (_, found) = pages(&sim, "BTC-PERPETUAL", (0, i64::MAX), 1000).await;
    assert_eq!(found.len(), ledger.len());
    assert!(!forced(&sim).is_empty() && forced(&sim).iter().all(|event| event.deliveries.accepted == 1));
    let query = format!("instrument_name=BTC-PERPETUAL&start_timestamp=0&end_timestamp={}", i64::MAX);
    let answer = ask(&sim, method, &query).await.json();
    let trades = answer["result"]["trades"].as_array().expect("trades");
    assert_eq!((trades.len(), &answer["result"]["has_more"]), (10, &json!(true)));
    assert_eq!(trades[0]["trade_seq"].as_u64(), ledger.last().map(|trade| trade.id));
    for (method, query, code) in [
        (method, "instrument_name=NOPE&start_timestamp=0&end_timestamp=1", -32602),
        (method, "instrument_name=BTC-PERPETUAL&end_timestamp=1", -32602),
        (method, "instrument_name=BTC-PERPETUAL&start_timestamp=0&end_timestamp=1&count=1001", -32602),
        (method, "instrument_name=BTC-PERPETUAL&start_timestamp=0&end_timestamp=1&sorting=up", -32602),
        ("get_instruments", "currency=any&kind=nope", -32602),
        ("nope", "", -32601),
    ] {
        let answer = ask(&sim, method, query).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!(code)), "{method}?{query}");
    }
    for _ in 0..4 {
        assert_eq!(ask(&sim, "get_time", "").await.status, 200);
    }
    let refused = ask(&sim, "get_time", "").await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!(10028)));
    assert!(refused.headers.contains_key("retry-after"));
}
