//! Trades that came from the venue's history, in kept frames.

use marketprism_schema::{Line, RecordingKind};
use serde_json::{Value, json};

use super::replayed_lines;

const REST: &str = "https://api.binance.com/api/v3";
const INSTRUMENTS: &str = r#"{"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","baseAssetPrecision":8,"quoteAssetPrecision":8,"filters":[{"filterType":"PRICE_FILTER","minPrice":"0.01","maxPrice":"1000000","tickSize":"0.01"},{"filterType":"LOT_SIZE","minQty":"0.000001","maxQty":"9000","stepSize":"0.000001"}]}]}"#;
const TIME_MS: u64 = 1_700_000_000_000;

fn live(id: u64) -> String {
    let data = json!({
        "e": "trade", "E": TIME_MS + id, "s": "BTCUSDT", "t": id, "p": "64000.01", "q": "0.5", "T": TIME_MS + id, "m": true, "M": true
    });
    json!({ "stream": "btcusdt@trade", "data": data }).to_string()
}

fn past(ids: std::ops::RangeInclusive<u64>) -> String {
    let trade = |id: u64| json!({ "id": id, "price": "64000.01", "qty": "0.5", "quoteQty": "32000.005", "time": TIME_MS + id, "isBuyerMaker": true, "isBestMatch": true });
    Value::from_iter(ids.map(trade)).to_string()
}

#[test]
fn trades_from_the_history_are_replayed_if_they_were_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording.jsonl");
    let rest = |path: &str, data: String| (RecordingKind::Rest, Some(format!("{REST}/{path}")), data);
    let frame = |id| (RecordingKind::WsIn, None, live(id));
    let lines = [
        rest("exchangeInfo?permissions=SPOT", INSTRUMENTS.to_owned()),
        frame(11),
        // The hole began before the frames.
        rest("historicalTrades?symbol=BTCUSDT&fromId=8&limit=1000", past(8..=11)),
        frame(15),
        rest("historicalTrades?symbol=BTCUSDT&fromId=12&limit=1000", past(12..=16)),
        frame(16),
        // Again, as for another hole.
        rest("historicalTrades?symbol=BTCUSDT&fromId=12&limit=1000", past(12..=16)),
    ];
    let mut recorded = Vec::new();
    for (number, (kind, url, data)) in (1..).zip(lines) {
        let at = i64::try_from(TIME_MS).unwrap() * 1_000_000 + number * 1_000_000_000;
        let conn = (kind == RecordingKind::WsIn).then_some(1);
        let line = Line { at, kind, conn, url: url.map(Into::into), data: Some(data.into()) };
        line.write(&mut recorded).unwrap();
    }
    std::fs::write(&path, recorded).unwrap();
    let output = replayed_lines(&path, ["binance", "binance_spot"], &["trade"]);
    let trades: Vec<(String, String)> = output
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            // What came live does not say so.
            let source = event["data_source"].as_str().unwrap_or("live").to_owned();
            (event["trade_id"].as_str().unwrap().to_owned(), source)
        })
        .collect();
    let expected = ["11 live", "15 live", "12 backfill", "13 backfill", "14 backfill", "16 live"];
    let found: Vec<String> = trades.iter().map(|(id, source)| format!("{id} {source}")).collect();
    assert_eq!(found, expected, "{output}");
}
