//! Recordings are played as they were, or as of now.

use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use marketprism_venue_sim::{Sim, SimConfig};
use serde_json::Value;

use super::client::{SOON, Ws, eventually, get, number};

/// The recording, or `None` (said aloud) where the shared recordings are not there.
fn recording(name: &str) -> Option<(PathBuf, Vec<Value>)> {
    let root =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../..").join("shared/recordings").join(name);
    let Ok(text) = std::fs::read_to_string(&root) else {
        println!("SKIPPED: no recording {}", root.display());
        return None;
    };
    Some((root, text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()))
}

fn frames(lines: &[Value]) -> Vec<Value> {
    let of = lines.iter().filter(|line| line["kind"] == "ws-in");
    of.map(|line| serde_json::from_str(line["data"].as_str().expect("text")).expect("JSON")).collect()
}

async fn play(file: PathBuf, shift_to_now: bool, speed_percent: u64) -> Sim {
    let config = SimConfig { recordings: vec![file], shift_to_now, speed_percent, ..SimConfig::default() };
    Sim::start(config).await.expect("starts")
}

#[tokio::test]
async fn a_recording_arrives_byte_for_byte() {
    let Some((file, lines)) = recording("binance_spot.jsonl") else { return };
    let sim = play(file, false, 0).await;
    let url = lines.iter().find(|l| l["kind"] == "ws-open").expect("opened")["url"].as_str().expect("url");
    let streams = url.split_once("/stream?").expect("combined").1;
    let mut ws = Ws::open(&format!("{}/stream?{streams}", sim.ws_base("binance_spot"))).await;
    for line in lines.iter().filter(|line| line["kind"] == "ws-in") {
        assert_eq!(ws.text().await.as_str(), line["data"].as_str().expect("text"));
    }
    let snapshot = get(&sim, "/binance_spot/api/v3/depth?symbol=LRCBTC&limit=1000").await;
    let recorded = lines.iter().find(|l| l["url"].as_str().is_some_and(|url| url.contains("symbol=LRCBTC")));
    assert_eq!(snapshot.body, recorded.expect("recorded")["data"].as_str().expect("text"));
    let info = get(&sim, "/binance_spot/api/v3/exchangeInfo").await.json();
    assert_eq!(info["symbols"].as_array().expect("symbols").len(), 4);
    let state = sim.state().exchanges["binance_spot"].recording.clone().expect("played");
    assert_eq!((state.frames as u64, state.unroutable), (state.played, 0));
}

#[tokio::test]
async fn shifted_times_are_of_now_and_the_pace_is_kept() {
    let Some((file, lines)) = recording("binance_derivatives.jsonl") else { return };
    let all = frames(&lines);
    let expected: Vec<&Value> = all.iter().filter(|f| f["stream"] == "sushiusdt@aggTrade").collect();
    // One and a half seconds of wall clock for the whole recording.
    let at = |line: Option<&Value>| line.expect("frames")["at"].as_i64().expect("at");
    let received: Vec<&Value> = lines.iter().filter(|l| l["kind"] == "ws-in").collect();
    let span_ms = (at(received.last().copied()) - at(received.first().copied())) / 1_000_000;
    let speed = u64::try_from(span_ms).expect("positive") * 100 / 1500;
    let sim = play(file, true, speed).await;
    let base = sim.ws_base("binance_derivatives");
    let begun = Instant::now();
    let mut market = Ws::open(&format!("{base}/market/stream?streams=sushiusdt@aggTrade")).await;
    let mut public = Ws::open(&format!("{base}/public/stream?streams=sushiusdt@depth@100ms")).await;
    let played = || sim.state().exchanges["binance_derivatives"].recording.clone().expect("recording");
    eventually("played", || played().done).await;
    assert!(begun.elapsed().as_millis() >= 1400 && begun.elapsed() < SOON);
    let got = market.drain().await;
    assert!(got.len() + 2 >= expected.len() && !got.is_empty(), "two frames may fall before the connection");
    let expected = &expected[expected.len() - got.len()..];
    let shift = number(&got[0]["data"]["E"]) - number(&expected[0]["data"]["E"]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("clock").as_millis() as u64;
    assert!(now.abs_diff(number(&got[0]["data"]["E"])) < 60_000);
    for (got, recorded) in got.iter().zip(expected) {
        let mut moved = (*recorded).clone();
        for key in ["E", "T"] {
            moved["data"][key] = (number(&recorded["data"][key]) + shift).into();
        }
        assert_eq!(got, &moved);
    }
    assert!(!public.drain().await.is_empty());
    let ledger = sim.all_trades("binance_derivatives", "SUSHIUSDT").expect("known");
    let last = got.last().expect("trades");
    let trade = ledger.last().expect("recorded");
    assert_eq!(
        (trade.id, trade.price.as_str()),
        (number(&last["data"]["a"]), last["data"]["p"].as_str().expect("text"))
    );
    assert_eq!(trade.event_time_ms, last["data"]["E"].as_i64().expect("time"));
}
