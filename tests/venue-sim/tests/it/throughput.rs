//! Throughput of one client. The numbers are printed; the bounds only catch a collapse.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;

use super::client::{Ws, start};

#[tokio::test(flavor = "multi_thread")]
async fn one_client_is_sent_tens_of_thousands_of_frames_a_second() {
    for (rate, at_least) in [(5_000, 4_000), (1_000_000, 15_000)] {
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
        let (begun, mut frames, mut bytes) = (Instant::now(), 0usize, 0usize);
        while begun.elapsed() < Duration::from_secs(2) {
            let message = ws.stream.next().await.expect("open").expect("frame");
            frames += 1;
            bytes += message.len();
        }
        let per_second = frames * 1000 / begun.elapsed().as_millis() as usize;
        println!("asked for {rate}/s: {per_second} frames/s, {} bytes each", bytes / frames.max(1));
        assert!(per_second >= at_least, "{per_second}");
        drop(ws);
        sim.stop().await;
    }
}
