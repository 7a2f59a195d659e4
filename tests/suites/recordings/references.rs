//! Lists that other frames are read with, from before the replayed time.

use std::process::Command;

use marketprism_schema::{Line, RecordingKind};
use marketprism_tests::parts;
use marketprism_tests::process::run;
use serde_json::{Value, json};

const REST: &str = "https://api.bybit.com/v5/market";
/// 22:13:20 of 2023-11-14.
const TIME_MS: i64 = 1_700_000_000_000;
const NEXT_FUNDING_MS: i64 = TIME_MS + 3_600_000;

fn answer(list: Value) -> String {
    let result = json!({ "category": "linear", "list": [list], "nextPageCursor": "" });
    json!({ "retCode": 0, "retMsg": "OK", "result": result }).to_string()
}

#[test]
fn an_error_of_the_venue_leaves_the_list_before_it_in_force() {
    let instrument = json!({
        "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": "BTC", "quoteCoin": "USDT",
        "deliveryTime": "0", "priceFilter": { "tickSize": "0.10" }, "lotSizeFilter": { "qtyStep": "0.001" }
    });
    let terms = json!({ "symbol": "BTCUSDT", "nextFundingTime": NEXT_FUNDING_MS.to_string(), "fundingIntervalHour": "8" });
    let error = json!({ "retCode": 10006, "retMsg": "Too many visits!", "result": {} }).to_string();
    let data = json!({ "symbol": "BTCUSDT", "fundingRate": "0.0001" });
    let change = json!({ "topic": "tickers.BTCUSDT", "type": "delta", "ts": TIME_MS + 4_000, "data": data })
        .to_string();
    let rest = |path: &str, data: String| (RecordingKind::Rest, Some(format!("{REST}/{path}")), data);
    let lines = [
        rest("instruments-info?category=linear&limit=1000", answer(instrument)),
        rest("tickers?category=linear", answer(terms)),
        rest("tickers?category=linear", error),
        (RecordingKind::WsIn, None, change),
    ];
    let mut recorded = Vec::new();
    for (second, (kind, url, data)) in (1..).zip(lines) {
        let at = TIME_MS * 1_000_000 + second * 1_000_000_000;
        let conn = (kind == RecordingKind::WsIn).then_some(1);
        let line = Line { at, kind, conn, url: url.map(Into::into), data: Some(data.into()) };
        line.write(&mut recorded).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording.jsonl");
    std::fs::write(&path, recorded).unwrap();
    let mut replay = Command::new(parts::binary("marketprism-edge"));
    replay.args(["replay", "--exchange", "bybit_derivatives", "--data-type", "funding_rate", "--adapter"]);
    replay.arg(parts::adapter("bybit")).args(["--from", "2023-11-14T22:13:24Z"]);
    let output = run(replay.arg(&path));
    let rate: Value = serde_json::from_str(output.trim()).unwrap_or_else(|error| panic!("{error}: {output}"));
    assert_eq!(
        (&rate["interval_hours"], &rate["next_funding_time"]),
        (&json!(8), &json!(NEXT_FUNDING_MS * 1000))
    );
}
