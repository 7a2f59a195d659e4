//! Promise: the offset of an edge's clock from a venue's is measured and reported everywhere, the synthetic stream shows that nothing is
//! lost on the way from an edge to hot, and latencies hold live events only.

use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::stack::Stack;
use marketprism_tests::wait::eventually;
use marketprism_venue_sim::Sim;
use serde_json::Value;

use crate::{SYMBOLS, two_symbols};

const EXCHANGE: &str = "binance_spot";
const TABLES: &str = "[audit]\nwindow_seconds = 2\nsettle_ms = 500\n[clock]\nenabled = true\ninterval_ms = 1000\n\
    [selftest]\nenabled = true\nrate = 10\n";
/// The venue's clock is this far ahead.
const SKEW_MS: i64 = 7_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_is_named_with_its_error_and_every_synthetic_trade_is_in_hot_once() {
    let stack = Stack::start().await;
    let sim = Sim::start(two_symbols(50)).await.unwrap();
    assert!(sim.set_clock_skew(EXCHANGE, SKEW_MS));
    sim.resume();
    let feed = Feed::simulated(EXCHANGE, &sim.addr().to_string(), &SYMBOLS);
    let nats = stack.broker.nats();
    let edge = Edge::with_tables(stack.folder.path(), &nats, TABLES, std::slice::from_ref(&feed)).await;
    let health = eventually("the edge reports its clock", || async {
        let health: Value = serde_json::from_str(&edge.get("/health").await?).map_err(|e| e.to_string())?;
        let is_degraded = health["degraded"].to_string().contains("synchronize it");
        if is_degraded { Ok(health) } else { Err(format!("{health}")) }
    })
    .await;
    let clock = &health["clock"]["venues"][0];
    let off = clock["offset_us"].as_i64().unwrap() + SKEW_MS * 1_000;
    assert!(off.abs() <= clock["error_us"].as_i64().unwrap() + 1, "{clock}");

    stack
        .clickhouse
        .reaches("SELECT count() FROM marketprism_hot.trades WHERE exchange = 'selftest'", 20)
        .await;
    let holes = "SELECT max(toUInt64(trade_id)) - min(toUInt64(trade_id)) + 1 - count() FROM marketprism_hot.trades \
                 WHERE exchange = 'selftest' AND toUInt64(trade_id) <= (SELECT max(toUInt64(trade_id)) FROM marketprism_hot.trades \
                 WHERE exchange = 'selftest' AND created_at < now64(3) - INTERVAL 1 SECOND)";
    eventually("no id is missing or double", || async {
        let found = stack.clickhouse.number(holes).await?;
        if found == 0 { Ok(()) } else { Err(format!("{found} ids")) }
    })
    .await;
    eventually("the report has the clock and the hops", || async {
        let (_, text, errors) = stack.central.ask(&["integrity", "--json", "--from", "10m"]).await;
        let report: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}{errors}"))?;
        let has_finding = report["findings"].to_string().contains("edge.clock_offset");
        let hops = report["latency"]["streams"].to_string();
        let has_hops = ["venue_to_edge", "receive_to_publish", "publish_to_ack", "edge_to_hot"];
        let is_told =
            has_finding && has_hops.iter().all(|hop| hops.contains(hop)) && hops.contains(" s \u{b1} ");
        if is_told { Ok(()) } else { Err(format!("{} {}", report["findings"], report["latency"])) }
    })
    .await;
    // Its self-test is kept for half a minute: asked when there is everything.
    eventually("the overview has the latency and the clock that it rests on", || async {
        let overview = stack.central.get("/overview").await?;
        let overview: Value = serde_json::from_str(&overview).map_err(|e| e.to_string())?;
        let selftest = &overview["selftest"][0];
        let has_latency = selftest["hour"]["p99_us"].as_u64().is_some_and(|p99_us| p99_us > 0);
        let off = selftest["clock"]["offset_us"].as_i64().map(|offset_us| offset_us + SKEW_MS * 1_000);
        let is_told = selftest["symbol"] == "EDGE-TEST-10HZ"
            && has_latency
            && off.is_some_and(|off| {
                off.abs() <= selftest["clock"]["error_us"].as_i64().unwrap_or_default() + 1
            });
        if is_told { Ok(()) } else { Err(format!("{}", overview["selftest"])) }
    })
    .await;
}
