//! Faults of REST answers.

use std::time::{Duration, Instant};

use marketprism_venue_sim::{FaultAction, FaultSpec};
use serde_json::json;

use super::client::{get, number, post, start, try_http};

const DEPTH: &str = "/binance_spot/api/v3/depth?symbol=BTCUSDT&limit=10";

#[tokio::test]
async fn snapshots_are_slow_and_stale() {
    let sim = start(|_| {}).await;
    let slow = json!({"action": "slow_snapshot", "symbol": "BTCUSDT", "delay_ms": 300});
    post(&sim, "/sim/fault", &slow).await;
    let begun = Instant::now();
    get(&sim, "/binance_spot/api/v3/depth?symbol=ETHUSDT&limit=10").await;
    assert!(begun.elapsed() < Duration::from_millis(250));
    let begun = Instant::now();
    get(&sim, DEPTH).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));

    sim.burst("binance_spot", 3000);
    sim.pause();
    let now = number(&get(&sim, DEPTH).await.json()["lastUpdateId"]);
    let mut stale = FaultSpec::new(FaultAction::StaleSnapshot);
    stale.updates = Some(500);
    let id = sim.fault(stale).expect("set");
    let old = number(&get(&sim, DEPTH).await.json()["lastUpdateId"]);
    assert_eq!(now - old, 500, "spot ids are consecutive");
    assert_eq!(number(&get(&sim, DEPTH).await.json()["lastUpdateId"]), now);
    assert_eq!(sim.fired(id), 1);
    sim.stop().await;
}

#[tokio::test]
async fn requests_are_refused_and_left_hanging() {
    let sim = start(|_| {}).await;
    for status in [429, 418, 500] {
        let mut refuse = FaultSpec::new(FaultAction::RestStatus);
        (refuse.status, refuse.retry_after_s) = (Some(status), Some(3));
        sim.fault(refuse).expect("set");
        let answer = get(&sim, DEPTH).await;
        assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (status, "3"));
        assert_eq!(get(&sim, DEPTH).await.status, 200);
    }
    let mut hang = FaultSpec::new(FaultAction::RestTimeout);
    hang.delay_ms = Some(300);
    sim.fault(hang).expect("set");
    let begun = Instant::now();
    assert!(try_http(sim.addr(), "GET", DEPTH, "").await.is_err());
    assert!(begun.elapsed() >= Duration::from_millis(300));
    sim.stop().await;
}
