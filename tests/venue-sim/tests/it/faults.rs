//! Each fault has its effect on frames, sockets and REST answers, and counts it; the backlog resends what a cut lost.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use marketprism_venue_sim::{FaultAction, FaultSpec, Sim};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;

use super::client::{Got, SOON, Ws, eventually, get, number, post, start, try_http};

async fn paused() -> Sim {
    start(|config| {
        config.symbols = vec!["BTCUSDT".into()];
        config.start_paused = true;
        config.ping_ms = Some(100);
        config.messages_per_second = Some(100);
    })
    .await
}

async fn trades(sim: &Sim) -> Ws {
    let ws = Ws::open(&format!("{}/ws/btcusdt@trade", sim.ws_base("binance_spot"))).await;
    eventually("subscribed", || sim.connections().iter().any(|c| !c.subscriptions.is_empty())).await;
    ws
}

fn spec(action: FaultAction) -> FaultSpec {
    FaultSpec::new(action).exchange("binance_spot").symbol("BTCUSDT").stream("@trade")
}

fn ids(frames: &[Value]) -> Vec<u64> {
    frames.iter().map(|frame| number(&frame["t"])).collect()
}

#[tokio::test]
async fn frames_are_dropped_doubled_and_reordered() {
    let sim = paused().await;
    let mut ws = trades(&sim).await;
    let first = sim.fault(spec(FaultAction::Drop).count(2).after(1)).expect("set");
    sim.burst("binance_spot", 40);
    let got = ids(&ws.drain().await);
    let ledger = sim.all_trades("binance_spot", "BTCUSDT").expect("known");
    let withheld: Vec<u64> = ledger.iter().filter(|t| t.withheld > 0).map(|t| t.id).collect();
    assert_eq!(withheld, [ledger[1].id, ledger[2].id]);
    assert_eq!(ledger[1].sent, 0);
    assert_eq!(got.len() + 2, ledger.len());
    assert!(!got.contains(&withheld[0]) && !got.contains(&withheld[1]));
    assert_eq!(sim.fired(first), 2);

    sim.fault(spec(FaultAction::Duplicate)).expect("set");
    sim.burst("binance_spot", 40);
    let got = ids(&ws.drain().await);
    assert_eq!(got[0], got[1]);
    assert!(got.windows(2).skip(1).all(|w| w[1] == w[0] + 1));

    sim.fault(spec(FaultAction::Reorder)).expect("set");
    sim.burst("binance_spot", 40);
    let got = ids(&ws.drain().await);
    assert_eq!(got[0], got[1] + 1);
    assert!(got.windows(2).skip(2).all(|w| w[1] == w[0] + 1));
}

#[tokio::test]
async fn a_reordered_last_frame_is_not_lost() {
    let sim = paused().await;
    let mut ws = trades(&sim).await;
    sim.fault(spec(FaultAction::Reorder).count(u64::MAX).delay_ms(50)).expect("set");
    sim.burst("binance_spot", 1);
    sim.set_rate(0);
    sim.resume();
    let sent = sim.all_trades("binance_spot", "BTCUSDT").expect("known").len();
    assert_eq!(ws.drain().await.len(), sent);
}

#[tokio::test]
async fn a_gap_breaks_the_sequence_once() {
    let sim = paused().await;
    let mut ws = Ws::open(&format!("{}/ws/btcusdt@depth@100ms", sim.ws_base("binance_spot"))).await;
    eventually("subscribed", || sim.connections().len() == 1).await;
    let gap =
        post(&sim, "/sim/fault", &json!({"action": "gap", "symbol": "BTCUSDT", "after": 3})).await.json();
    sim.burst("binance_spot", 100);
    let updates = ws.drain().await;
    let breaks = updates.windows(2).filter(|w| number(&w[1]["U"]) != number(&w[0]["u"]) + 1).count();
    assert_eq!(breaks, 1);
    assert_ne!(number(&updates[3]["U"]), number(&updates[2]["u"]) + 1);
    let listed = get(&sim, "/sim/faults").await.json();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["fired"], &listed[0]["active"]),
        (&gap["id"], &json!(1), &json!(false))
    );
}

#[tokio::test]
async fn a_frozen_socket_stays_open_and_pings() {
    let sim = paused().await;
    let mut ws = trades(&sim).await;
    let frozen = sim.fault(FaultSpec::new(FaultAction::Freeze)).expect("set");
    sim.burst("binance_spot", 100);
    for _ in 0..3 {
        assert!(matches!(ws.got(SOON).await, Got::Ping(_)));
    }
    assert!(sim.fired(frozen) > 0);
    assert!(sim.remove_fault(frozen) && !sim.remove_fault(frozen + 1));
    sim.burst("binance_spot", 20);
    assert_eq!(ws.json().await["e"], "trade");
}

#[tokio::test]
async fn frames_are_spoiled_as_asked() {
    let sim = paused().await;
    let mut ws = trades(&sim).await;
    for binary in [false, true] {
        sim.fault(spec(FaultAction::Garbage).binary(binary)).expect("set");
    }
    sim.burst("binance_spot", 20);
    assert!(serde_json::from_str::<Value>(&ws.text().await).is_err());
    let after = loop {
        match ws.got(SOON).await {
            Got::Ping(_) => {}
            other => break other,
        }
    };
    assert!(matches!(after, Got::Binary(_)));
    let all = sim.all_trades("binance_spot", "BTCUSDT").expect("known");
    assert_eq!(
        ids(&ws.drain().await),
        all.iter().map(|t| t.id).collect::<Vec<_>>(),
        "nothing is lost beside it"
    );

    sim.fault(spec(FaultAction::Half)).expect("set");
    sim.burst("binance_spot", 20);
    let half = ws.text().await;
    assert!(half.starts_with(r#"{"e":"trade""#) && serde_json::from_str::<Value>(&half).is_err());
    ws.drain().await;

    sim.fault(spec(FaultAction::WrongTypes)).expect("set");
    sim.burst("binance_spot", 20);
    let wrong = ws.json().await;
    assert!(wrong["t"].is_array() && wrong["p"].is_array());
    let withheld =
        sim.all_trades("binance_spot", "BTCUSDT").expect("known").iter().filter(|t| t.withheld > 0).count();
    assert_eq!(withheld, 2, "half and wrong took the place of a trade");
}

#[tokio::test]
async fn connections_are_closed_and_cut() {
    let sim = paused().await;
    let mut kept =
        Ws::open(&format!("{}/market/ws/btcusdt@aggTrade", sim.ws_base("binance_derivatives"))).await;
    let mut closed = trades(&sim).await;
    let id = sim.fault(spec(FaultAction::Close).code(1013).reason("again later")).expect("set");
    assert_eq!(closed.end().await, Got::Close(Some((1013, "again later".into()))));
    assert_eq!(sim.fired(id), 1);

    eventually("left", || sim.connections().len() == 1).await;
    let mut cut = trades(&sim).await;
    let id = sim.fault(spec(FaultAction::Cut)).expect("set");
    assert!(matches!(cut.end().await, Got::Failed(_)), "no close frame");
    assert_eq!(sim.fired(id), 1);

    eventually("left", || sim.connections().len() == 1).await;
    let mut mid_frame = trades(&sim).await;
    sim.fault(spec(FaultAction::HalfCut).after(3)).expect("set");
    sim.burst("binance_spot", 30);
    let mut before = 0;
    let end = loop {
        match mid_frame.got(SOON).await {
            Got::Text(_) => before += 1,
            Got::Ping(_) => {}
            end => break end,
        }
    };
    assert!(matches!(end, Got::Failed(_)), "{end:?}");
    assert!(before <= 3);

    sim.burst("binance_derivatives", 20);
    assert_eq!(kept.json().await["e"], "aggTrade");
    assert_eq!(post(&sim, "/sim/cut", &json!({})).await.json(), json!({"cut": 1}));
    assert!(matches!(kept.end().await, Got::Failed(_)));
    eventually("all closed", || sim.connections().is_empty()).await;
}

#[tokio::test]
async fn connects_are_refused_for_a_time() {
    let sim = paused().await;
    let refuse = FaultSpec::new(FaultAction::Refuse).exchange("binance_spot").duration_ms(3_000);
    let id = sim.fault(refuse).expect("set");
    let url = format!("{}/ws", sim.ws_base("binance_spot"));
    assert!(connect_async(&url).await.is_err());
    assert!(try_http(sim.addr(), "GET", "/binance_spot/api/v3/ping", "").await.is_err());
    assert_eq!(get(&sim, "/binance_derivatives/fapi/v1/ping").await.status, 200);
    assert_eq!(sim.fired(id), 2);
    let deadline = Instant::now() + SOON;
    while connect_async(&url).await.is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let mut open = Ws::open(&url).await;
    let down = Instant::now();
    sim.fault(FaultSpec::new(FaultAction::ListenerDown).duration_ms(3_000)).expect("set");
    let mut refused = false;
    loop {
        match try_http(sim.addr(), "GET", "/binance_spot/api/v3/ping", "").await {
            Ok(_) if refused => break,
            Ok(_) => {}
            Err(error) => refused |= error.kind() == std::io::ErrorKind::ConnectionRefused,
        }
        assert!(down.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(down.elapsed() >= Duration::from_millis(2_980));
    open.subscribe(&["btcusdt@trade"]).await;
}

#[tokio::test]
async fn senseless_faults_are_refused() {
    let sim = paused().await;
    for (body, says) in [
        (json!({"action": "rest_status"}), "status"),
        (json!({"action": "refuse"}), "duration_ms"),
        (json!({"action": "drop", "exchange": "nowhere"}), "nowhere"),
        (json!({"action": "drop", "smybol": "BTCUSDT"}), "smybol"),
        (json!({"action": "explode"}), "explode"),
    ] {
        let answer = post(&sim, "/sim/fault", &body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains(says), "{}", answer.body);
    }
}

const DEPTH: &str = "/binance_spot/api/v3/depth?symbol=BTCUSDT&limit=10";

#[tokio::test]
async fn snapshots_are_slow_and_stale() {
    let sim = start(|_| {}).await;
    let slow = json!({"action": "slow_snapshot", "symbol": "BTCUSDT", "delay_ms": 6_000});
    post(&sim, "/sim/fault", &slow).await;
    let begun = Instant::now();
    get(&sim, "/binance_spot/api/v3/depth?symbol=ETHUSDT&limit=10").await;
    assert!(begun.elapsed() < Duration::from_millis(5_500));
    let begun = Instant::now();
    get(&sim, DEPTH).await;
    assert!(begun.elapsed() >= Duration::from_secs(6));

    sim.burst("binance_spot", 3000);
    sim.pause();
    let now = number(&get(&sim, DEPTH).await.json()["lastUpdateId"]);
    let id = sim.fault(FaultSpec::new(FaultAction::StaleSnapshot).updates(500)).expect("set");
    let old = number(&get(&sim, DEPTH).await.json()["lastUpdateId"]);
    assert_eq!(now - old, 500, "spot ids are consecutive");
    assert_eq!(number(&get(&sim, DEPTH).await.json()["lastUpdateId"]), now);
    assert_eq!(sim.fired(id), 1);
}

#[tokio::test]
async fn requests_are_refused_and_left_hanging() {
    let sim = start(|_| {}).await;
    for status in [429, 418, 500] {
        sim.fault(FaultSpec::new(FaultAction::RestStatus).status(status).retry_after_s(3)).expect("set");
        let answer = get(&sim, DEPTH).await;
        assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (status, "3"));
        assert_eq!(get(&sim, DEPTH).await.status, 200);
    }
    sim.fault(FaultSpec::new(FaultAction::RestTimeout).delay_ms(300)).expect("set");
    let begun = Instant::now();
    assert!(try_http(sim.addr(), "GET", DEPTH, "").await.is_err());
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn ten_cuts_lose_no_trade_with_the_backlog() {
    for backlog in [true, false] {
        let sim = start(|config| {
            config.exchanges = vec!["binance_spot".into()];
            config.symbols = vec!["BTCUSDT".into()];
            config.backlog = backlog;
            config.rate = 1000;
        })
        .await;
        let mut ids = BTreeSet::new();
        for round in 0..11 {
            let mut ws = Ws::open(&format!("{}/ws/btcusdt@trade", sim.ws_base("binance_spot"))).await;
            let enough = ids.len() + 100;
            while ids.len() < enough {
                ids.insert(number(&ws.json().await["t"]));
            }
            if round < 10 {
                assert_eq!(sim.cut_all(), 1);
                // What the kernel had already is read by nobody.
                drop(ws);
                eventually("closed", || sim.connections().is_empty()).await;
                sim.burst("binance_spot", 20);
                continue;
            }
            sim.pause();
            ids.extend(ws.drain().await.iter().map(|frame| number(&frame["t"])));
        }
        let trades = sim.all_trades("binance_spot", "BTCUSDT").expect("known");
        let missing = trades.iter().filter(|t| !ids.contains(&t.id)).count();
        let stats = sim.state().exchanges["binance_spot"].ledger;
        if backlog {
            assert_eq!((missing, stats.backlog_lost), (0, 0));
            assert!(stats.resent > 0);
        } else {
            let unsent: Vec<_> = trades.iter().filter(|t| t.sent == 0).collect();
            assert!(missing >= 50 && !unsent.is_empty() && unsent.iter().all(|t| !ids.contains(&t.id)));
        }
    }
}
