//! Promise: an edge above a limit of its own drains, starts again in the same process, and the report gives the cause of the downtime.

use std::os::unix::process::ExitStatusExt as _;

use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::stack::Stack;
use marketprism_tests::wait::{PATIENCE, eventually};
use marketprism_venue_sim::{Sim, SimConfig};

/// Every check is above the limit, so that the edge starts again after each cooldown.
const LIMITS: &str = "[audit]\nwindow_seconds = 1\nsettle_ms = 200\n[selfcare]\nauto_restart = true\nmemory_mb = 1\n\
                      monitor_interval_seconds = 1\nrestart_cooldown_seconds = 6\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_above_its_memory_limit_starts_again_in_place_and_the_report_tells_it() {
    let stack = Stack::start().await;
    let sim =
        Sim::start(SimConfig { symbols: vec!["BTCUSDT".to_owned()], ..SimConfig::default() }).await.unwrap();
    let feed = Feed::simulated("binance_spot", &sim.addr().to_string(), &["BTC-USDT"]);
    let mut edge = Edge::with_tables(stack.folder.path(), &stack.broker.nats(), LIMITS, &[feed]).await;

    let ended = "SELECT count() FROM marketprism_hot.downtimes WHERE reason = 'self_care' AND to_ns > from_ns AND \
                 match(detail, '^memory [0-9]+ MB above 1 MB$')";
    stack.clickhouse.reaches(ended, 1).await;
    assert!(edge.process().is_running(), "another process goes on in its place");
    let output = edge.process().output();
    assert!(output.contains("self-care restarts the edge"), "{output}");
    // The page is unreachable during a start.
    eventually("the restart is counted", || async {
        let text = edge.get("/metrics").await?;
        let name = "marketprism_edge_selfcare_restarts_total{cause=\"memory\"} ";
        let count = text.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        count.filter(|count| *count > 0).ok_or(text)
    })
    .await;
    // Only windows with a verdict are reported.
    eventually("the report has the restart", || async {
        let report = stack.central.ask(&["integrity", "--json"]).await.1;
        if report.contains("restarted by self-care: memory ") { Ok(()) } else { Err(report) }
    })
    .await;

    // Also while it stops for a restart, a signal ends it; in the first milliseconds of a program it does so by itself.
    let status = edge.process().terminate(PATIENCE).await;
    assert!(status.success() || status.signal() == Some(15), "{status}");
    let twice = "SELECT count() - uniqExact(event_id) FROM marketprism_hot.trades";
    assert_eq!(stack.clickhouse.number(twice).await.unwrap(), 0);
}
