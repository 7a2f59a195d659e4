//! Two centrals share the streams.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use marketprism_tests::broker::free_port;
use marketprism_tests::link::Link;
use marketprism_tests::process::Process;
use marketprism_tests::wait::eventually;

use crate::auditing::QUICK;
use crate::events::{Publisher, book, now_us, publish};
use crate::ingest::all_acknowledged;
use crate::stack::Stack;

const STREAMS: [&str; 2] = ["MARKET_DATA", "ORDERBOOK_SNAP"];
/// Limit for a takeover on a busy machine: a lease lasts four seconds here.
pub const TAKEOVER: Duration = Duration::from_secs(60);
/// Errors that a central logs because the machine, or a cut of the test, takes long.
const ERRORS_OF_SLOWNESS: [&str; 2] = ["leases cannot be written", "clocks differ"];

pub struct Pair {
    centrals: Vec<Option<Process>>,
    configs: Vec<PathBuf>,
    ports: Vec<u16>,
    links: Vec<[Link; 2]>,
}

impl Pair {
    /// Waits until each owns one stream.
    pub async fn start(stack: &Stack, more: &str) -> Self {
        Self::start_over(stack, more, Vec::new()).await
    }

    /// Each over its own links to the broker and to ClickHouse.
    pub async fn start_linked(stack: &Stack, more: &str) -> Self {
        let links = vec![stack.links().await, stack.links().await];
        Self::start_over(stack, more, links).await
    }

    async fn start_over(stack: &Stack, more: &str, links: Vec<[Link; 2]>) -> Self {
        let pair = Self::launch(stack, more, links);
        pair.is_shared().await;
        pair
    }

    /// Streams in two partitions; waits until each central owns one of each stream.
    pub async fn of_partitions(stack: &Stack, more: &str) -> Self {
        let pair = Self::launch(stack, &format!("[streams]\npartitions = 2\n{more}"), Vec::new());
        pair.has_halves().await;
        pair
    }

    fn launch(stack: &Stack, more: &str, links: Vec<[Link; 2]>) -> Self {
        let ports = vec![free_port(), free_port()];
        let config = |i: usize| stack.configure_as(&format!("central-{i}"), ports[i], more);
        let configs = vec![config(0), config(1)];
        for (config, links) in configs.iter().zip(&links) {
            links.iter().for_each(|link| Stack::lead_through(config, link));
        }
        let centrals = configs.iter().map(|config| Some(stack.run(config))).collect();
        Self { centrals, configs, ports, links }
    }

    pub async fn has_halves(&self) {
        eventually("each central to have a partition of each stream", || async {
            let held: Vec<_> = (0..2).map(|i| STREAMS.map(|stream| self.holds(i, stream))).collect();
            if held == [[true; 2]; 2] { Ok(()) } else { Err(format!("{held:?}")) }
        })
        .await;
    }

    pub fn port(&self, i: usize) -> u16 {
        self.ports[i]
    }

    pub fn kill(&mut self, i: usize) {
        self.centrals[i].take().unwrap().kill();
    }

    pub async fn is_shared(&self) {
        eventually("each central to have a stream", || async {
            let holders = STREAMS.map(|stream| self.holder_of(stream));
            let answers: Vec<_> = self.ports.iter().map(|port| Stack::get_at(*port, "/ready")).collect();
            let are_ready =
                answers.iter().flatten().filter(|(status, _)| *status == 200).count() == answers.len();
            match holders {
                [Some(first), Some(second)] if first != second && are_ready => Ok(()),
                _ => Err(format!("{holders:?} {answers:?}")),
            }
        })
        .await;
    }

    pub fn holder_of(&self, stream: &str) -> Option<usize> {
        (0..self.ports.len()).find(|i| self.holds(*i, stream))
    }

    pub fn holds(&self, i: usize, stream: &str) -> bool {
        let held = format!("marketprism_central_streams_held{{stream=\"{stream}\"}} 1");
        self.metrics(i).is_some_and(|metrics| metrics.contains(&held))
    }

    /// It reports that it is not ready, and names the part.
    pub fn is_unready_for(&self, i: usize, part: &str) -> bool {
        Stack::get_at(self.ports[i], "/ready")
            .is_some_and(|(status, reasons)| status == 503 && reasons.contains(part))
    }

    pub fn metrics(&self, i: usize) -> Option<String> {
        // A suspended one accepts connections and does not answer.
        Some(Stack::get_at(self.ports[i], "/metrics")?.1)
    }

    /// To the broker and to ClickHouse.
    pub fn links(&self, i: usize) -> &[Link; 2] {
        &self.links[i]
    }

    pub fn central(&self, i: usize) -> &Process {
        self.centrals[i].as_ref().unwrap()
    }

    pub fn log(&self, i: usize) -> String {
        self.central(i).output()
    }

    pub fn kill_holder_of(&mut self, stream: &str) -> usize {
        let holder = self.holder_of(stream).unwrap();
        self.kill(holder);
        holder
    }

    pub fn restart(&mut self, stack: &Stack, i: usize) {
        self.centrals[i] = Some(stack.run(&self.configs[i]));
    }
}

/// A central that was cut off or suspended has logged no error.
pub fn has_no_error(log: &str) {
    let is_error = |line: &str| {
        line.contains("panicked")
            || line.contains("ERROR") && !ERRORS_OF_SLOWNESS.iter().any(|text| line.contains(text))
    };
    assert!(!log.lines().any(is_error), "{log}");
}

/// The time is taken from the kill to the first trade that the other central stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_central_takes_over_from_another() {
    const BOOKS: u64 = 2_000;
    let Some(stack) = Stack::start().await else { return };
    let mut pair = Pair::start(&stack, "[batch]\nmax_age_ms = 100\n").await;
    let base = now_us();
    let jetstream = stack.jetstream().await;
    let publisher = Publisher::start(jetstream.clone(), 150);
    stack.has_trades(500).await;

    let killed = pair.kill_holder_of("MARKET_DATA");
    let since = Instant::now();
    // What it had sent may still be stored; what comes later than that is the other one's.
    let at_first = eventually("the takeover", || async {
        let is_held = pair.holds(1 - killed, "MARKET_DATA");
        stack.trades().await.filter(|_| is_held)
    })
    .await;
    stack.has_trades(at_first + 1).await;
    let took = since.elapsed();
    eprintln!("the other central stored the first trade {} ms after the kill", took.as_millis());
    assert!(took < TAKEOVER, "{took:?}");

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

/// Hot refuses the ledger's holder, which is then suspended until another central has the lease, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn gauges_of_the_ledger_leave_a_central_with_its_lease() {
    let Some(stack) = Stack::start().await else { return };
    let mut pair = Pair::start_linked(&stack, QUICK).await;
    let is_active = |pair: &Pair, i: usize| gauge(pair, i, "marketprism_ledger_is_active") == Some(1);
    let holder = eventually("a holder", || async { (0..2).find(|i| is_active(&pair, *i)) }).await;
    eventually("its counts", || async {
        pair.metrics(holder).filter(|metrics| metrics.contains("marketprism_ledger_windows{"))
    })
    .await;
    // Nothing listens at the end of the link any more.
    pair.links[holder][1] = Link::to(stack.engine.port()).await;
    let lag = |pair: &Pair| gauge(pair, holder, "marketprism_ledger_lag_seconds");
    eventually("a lag", || async { lag(&pair).filter(|seconds| *seconds > 0) }).await;

    pair.central(holder).suspend();
    eventually("the other one to hold the lease", || async { is_active(&pair, 1 - holder).then_some(()) })
        .await;
    pair.central(holder).resume();
    eventually("the first one to know nothing of windows", || async {
        let metrics = pair.metrics(holder)?;
        let is_reset = !is_active(&pair, holder) && lag(&pair) == Some(0);
        (is_reset && !metrics.contains("marketprism_ledger_windows{")).then_some(())
    })
    .await;
    assert!(is_active(&pair, 1 - holder));
}

fn gauge(pair: &Pair, i: usize, name: &str) -> Option<u64> {
    let metrics = pair.metrics(i)?;
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
