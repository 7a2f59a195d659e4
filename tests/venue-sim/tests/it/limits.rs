//! Limits of the venue, slow clients, and the throughput of one client.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;

use super::client::{Got, SOON, Ws, eventually, get, start, within};

#[tokio::test]
async fn weight_is_counted_refused_and_banned() {
    let sim = start(|config| {
        config.weight_max = Some(300);
        config.weight_window_ms = Some(60_000);
        config.ban_after_ignored = Some(2);
        config.ban_ms = Some(4_000);
    })
    .await;
    let depth = |limit: u32| format!("/binance_spot/api/v3/depth?symbol=BTCUSDT&limit={limit}");
    let mut used = 0;
    for (limit, weight) in [(100, 5), (500, 25), (1000, 50)] {
        used += weight;
        let answer = get(&sim, &depth(limit)).await;
        assert_eq!(
            (answer.status, answer.headers["x-mbx-used-weight-1m"].as_str()),
            (200, used.to_string().as_str())
        );
    }
    for status in [429, 429, 418, 418] {
        let answer = get(&sim, &depth(5000)).await;
        assert_eq!(answer.status, status);
        assert!(answer.headers["retry-after"].parse::<u64>().expect("seconds") >= 1);
        assert_eq!(answer.json()["code"], -1003);
    }
    assert_eq!(
        get(&sim, "/binance_derivatives/fapi/v1/ping").await.status,
        200,
        "each exchange counts for itself"
    );
    let banned = std::time::Instant::now();
    while get(&sim, &depth(5000)).await.status != 200 {
        assert!(banned.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn too_many_messages_close_with_1008() {
    let sim = start(|config| config.rate = 0).await;
    for (exchange, path, allowed) in [("binance_spot", "ws", 5), ("binance_derivatives", "public/ws", 10)] {
        let url = format!("{}/{path}", sim.ws_base(exchange));
        let mut closed = 0;
        let end = within(Duration::from_secs(1), async || {
            let mut ws = Ws::open(&url).await;
            for n in 0..allowed {
                ws.send(&format!(r#"{{"method":"LIST_SUBSCRIPTIONS","id":{n}}}"#)).await;
            }
            for _ in 0..allowed {
                ws.json().await;
            }
            ws.send(r#"{"method":"LIST_SUBSCRIPTIONS","id":99}"#).await;
            let end = ws.got(SOON).await;
            closed += u64::from(matches!(end, Got::Close(_)));
            end
        })
        .await;
        assert!(matches!(end, Got::Close(Some((1008, _)))), "{end:?}");
        assert_eq!(sim.state().exchanges[exchange].counters.too_many_messages, closed);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let sim = start(|config| {
        config.rate = 200;
        config.symbols = vec!["BTCUSDT".into()];
        config.queue_capacity = 500;
    })
    .await;
    let url = format!("{}/stream?streams=btcusdt@trade/btcusdt@depth@100ms", sim.ws_base("binance_spot"));
    let slow = Ws::open(&url).await;
    eventually("subscribed", || sim.connections().len() == 1).await;
    sim.set_rate(100_000);
    let overflows = || sim.state().exchanges["binance_spot"].counters.overflows;
    eventually("cut off", || overflows() == 1).await;
    eventually("closed", || sim.connections().is_empty()).await;
    sim.set_rate(200);
    let mut other = Ws::open(&url).await;
    assert!(other.json().await.get("stream").is_some());
    drop(slow);
}

/// CPU time of this process, which is venue and client, so far.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let (_, fields) = stat.rsplit_once(") ").expect("fields behind the name");
    // Fields 14 and 15, in hundredths of a second.
    let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u32>().expect("number"));
    Duration::from_millis(10) * ticks.sum::<u32>()
}

/// Frames that a client got, and the time and CPU time that it took.
async fn frames_at(rate: u64) -> (usize, Duration, Duration) {
    let sim = start(|config| {
        config.exchanges = vec!["binance_spot".into()];
        config.rate = rate;
        config.queue_capacity = 4_000_000;
    })
    .await;
    let symbols = ["btcusdt", "ethusdt", "btcfdusd", "1000satsusdt"];
    let streams: Vec<String> =
        symbols.iter().flat_map(|s| [format!("{s}@trade"), format!("{s}@depth@100ms")]).collect();
    let mut ws =
        Ws::open(&format!("{}/stream?streams={}", sim.ws_base("binance_spot"), streams.join("/"))).await;
    let (begun, cpu, mut frames, mut bytes) = (Instant::now(), cpu_time(), 0usize, 0usize);
    while begun.elapsed() < Duration::from_secs(2) {
        let message = ws.stream.next().await.expect("open").expect("frame");
        frames += 1;
        bytes += message.len();
    }
    let (took, cpu) = (begun.elapsed(), cpu_time() - cpu);
    println!(
        "asked for {rate}/s: {frames} frames in {took:?}, {cpu:?} of CPU, {} bytes each",
        bytes / frames.max(1)
    );
    (frames, took, cpu)
}

/// Other load of the machine does not count: of the CPU's time each second is one of this process, though slower while caches and frequency are shared,
/// and of several rounds one keeps the pace.
#[tokio::test(flavor = "multi_thread")]
async fn throughput_of_one_client_is_tens_of_thousands_of_frames_a_second() {
    let mut rounds = Vec::new();
    while !rounds.iter().any(|per_second| *per_second >= 15_000.0) {
        assert!(rounds.len() < 10, "frames in a second of one core, in each round: {rounds:?}");
        let (frames, _, cpu) = frames_at(1_000_000).await;
        rounds.push(frames as f64 / cpu.as_secs_f64());
    }
    rounds.clear();
    while !rounds.iter().any(|per_second| *per_second >= 4_000.0) {
        assert!(rounds.len() < 10, "asked for 5000/s, frames/s in each round: {rounds:?}");
        let (frames, took, _) = frames_at(5_000).await;
        rounds.push(frames as f64 / took.as_secs_f64());
    }
}

#[tokio::test]
async fn past_trades_are_served_by_id_in_pages_from_the_horizon_on() {
    let sim = start(|config| config.rate = 400).await;
    let histories = [
        ("binance_spot", "BTCUSDT", "api/v3/historicalTrades?symbol=BTCUSDT&limit=3&fromId="),
        ("binance_derivatives", "BTCUSDT", "fapi/v1/aggTrades?symbol=BTCUSDT&limit=3&fromId="),
        (
            "deribit_derivatives",
            "BTC-PERPETUAL",
            "api/v2/public/get_last_trades_by_instrument?instrument_name=BTC-PERPETUAL&count=3&sorting=asc&start_seq=",
        ),
    ];
    let known = |exchange, symbol| sim.all_trades(exchange, symbol).expect("played");
    // A request is a visit, and other exchanges then rest.
    for (exchange, symbol, _) in histories {
        eventually("trades", || known(exchange, symbol).len() > 10).await;
    }
    sim.pause();
    for (exchange, symbol, path) in histories {
        let first = known(exchange, symbol)[2].id;
        let ids = async |from: u64| -> Vec<u64> {
            let answer = get(&sim, &format!("/{exchange}/{path}{from}")).await.json();
            let rows =
                answer.as_array().or_else(|| answer["result"]["trades"].as_array()).expect("rows").clone();
            let id = |row: &serde_json::Value| {
                ["id", "a", "trade_seq"].iter().find_map(|name| row[name].as_u64()).expect("an id")
            };
            rows.iter().map(id).collect()
        };
        assert_eq!(ids(first).await, [first, first + 1, first + 2], "{exchange}");
        sim.set_history(exchange, symbol, first + 2).expect("played");
        if exchange == "binance_derivatives" {
            let refused = get(&sim, &format!("/{exchange}/{path}{first}")).await;
            assert_eq!((refused.status, &refused.json()["code"]), (400, &serde_json::json!(-4166)));
            assert_eq!(ids(first + 2).await, [first + 2, first + 3, first + 4]);
        } else {
            assert_eq!(ids(first).await, [first + 2, first + 3, first + 4], "{exchange}");
        }
    }
}
