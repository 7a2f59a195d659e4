//! Two centrals side by side.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::events::{book, now_us, publish};
use crate::ingest::all_acknowledged;
use crate::link::Link;
use crate::publisher::Publisher;
use crate::stack::{Running, Stack, free_port, until, until_told};

/// The streams of events.
const STREAMS: [&str; 2] = ["MARKET_DATA", "ORDERBOOK_SNAP"];

/// Two centrals that share the streams.
pub struct Pair {
    centrals: Vec<Option<Running>>,
    configs: Vec<PathBuf>,
    ports: Vec<u16>,
    links: Vec<[Link; 2]>,
}

impl Pair {
    /// Starts both, and waits until each has one stream.
    pub async fn start(stack: &Stack, more: &str) -> Self {
        Self::start_over(stack, more, Vec::new()).await
    }

    /// The same, each over links of its own to the broker and to ClickHouse.
    pub async fn start_linked(stack: &Stack, more: &str) -> Self {
        let links = vec![stack.links().await, stack.links().await];
        Self::start_over(stack, more, links).await
    }

    async fn start_over(stack: &Stack, more: &str, links: Vec<[Link; 2]>) -> Self {
        let ports = vec![free_port(), free_port()];
        let config = |i: usize| stack.configure_as(&format!("central-{i}"), ports[i], more);
        let configs = vec![config(0), config(1)];
        for (config, links) in configs.iter().zip(&links) {
            links.iter().for_each(|link| Stack::lead_through(config, link));
        }
        let centrals = configs.iter().map(|config| Some(stack.run(config))).collect();
        let pair = Self { centrals, configs, ports, links };
        pair.is_shared().await;
        pair
    }

    /// Waits until each central has one stream.
    pub async fn is_shared(&self) {
        until_told("each central to have a stream", || async {
            let holders = STREAMS.map(|stream| self.holder_of(stream));
            let told: Vec<_> = self.ports.iter().map(|port| Stack::get_at(*port, "/ready")).collect();
            let are_ready = told.iter().flatten().filter(|(status, _)| *status == 200).count() == told.len();
            match holders {
                [Some(first), Some(second)] if first != second && are_ready => Ok(()),
                _ => Err(format!("{holders:?} {told:?}")),
            }
        })
        .await;
    }

    /// The central that takes a stream.
    pub fn holder_of(&self, stream: &str) -> Option<usize> {
        (0..self.ports.len()).find(|i| self.holds(*i, stream))
    }

    /// Whether one of them takes a stream, by its own account.
    pub fn holds(&self, i: usize, stream: &str) -> bool {
        let held = format!("marketprism_central_streams_held{{stream=\"{stream}\"}} 1");
        self.metrics(i).is_some_and(|metrics| metrics.contains(&held))
    }

    /// Whether one of them says that it is not ready, naming a part.
    pub fn is_unready_for(&self, i: usize, part: &str) -> bool {
        Stack::get_at(self.ports[i], "/ready")
            .is_some_and(|(status, reasons)| status == 503 && reasons.contains(part))
    }

    /// What one of them counts.
    pub fn metrics(&self, i: usize) -> Option<String> {
        // One that is stopped takes connections and does not answer.
        Some(Stack::get_at(self.ports[i], "/metrics")?.1)
    }

    /// Links of one of them to the broker and to ClickHouse.
    pub fn links(&self, i: usize) -> &[Link; 2] {
        &self.links[i]
    }

    /// One of them, running or stopped.
    pub fn central(&self, i: usize) -> &Running {
        self.centrals[i].as_ref().unwrap()
    }

    /// What one of them has logged.
    pub fn log(&self, i: usize) -> String {
        Stack::log(&self.configs[i])
    }

    /// Ends it as a power cut would.
    pub fn kill_holder_of(&mut self, stream: &str) -> usize {
        let holder = self.holder_of(stream).unwrap();
        self.centrals[holder].take().unwrap().kill();
        holder
    }

    /// Starts one again.
    pub fn restart(&mut self, stack: &Stack, i: usize) {
        self.centrals[i] = Some(stack.run(&self.configs[i]));
    }
}

/// Goal: two centrals share the streams; when one is killed the other takes its stream within 15 s, and when it comes back they share again;
/// nothing is lost or doubled.
/// Method: trades and books are published all the time; the time is taken from the kill to the first trade that the other one stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_central_takes_over_from_another() {
    const BOOKS: u64 = 2_000;
    let Some(stack) = Stack::start() else { return };
    let mut pair = Pair::start(&stack, "[batch]\nmax_age_ms = 100\n").await;
    let base = now_us();
    let jetstream = stack.jetstream().await;
    let publisher = Publisher::start(jetstream.clone(), 800);
    let rows = || async {
        let (rows, distinct) = stack.counts("trades").await?;
        assert_eq!(rows, distinct, "an event shows twice");
        Some(rows)
    };
    until("some trades", || async { rows().await.filter(|rows| *rows > 2_000) }).await;

    let killed = pair.kill_holder_of("MARKET_DATA");
    let since = Instant::now();
    // What it had sent may still be stored; what comes later than that is the other one's.
    let at_first = until("the takeover", || async {
        let is_held = pair.holds(1 - killed, "MARKET_DATA");
        rows().await.filter(|_| is_held)
    })
    .await;
    until("a trade of the other one", || async { rows().await.filter(|rows| *rows > at_first) }).await;
    let took = since.elapsed();
    eprintln!("the other central stored the first trade {} ms after the kill", took.as_millis());
    assert!(took < Duration::from_secs(15), "{took:?}");

    publish(&jetstream, (0..BOOKS).map(|n| book(n, 20, base))).await;
    pair.restart(&stack, killed);
    pair.is_shared().await;
    let trades = publisher.end().await;
    all_acknowledged(&stack, "MARKET_DATA", trades).await;
    all_acknowledged(&stack, "ORDERBOOK_SNAP", BOOKS).await;
    stack.holds_once("trades", trades).await;
    stack.holds_once("orderbooks", BOOKS).await;
    assert_eq!(stack.copies().await, Some(0), "a message that is delivered again is no copy");
}
