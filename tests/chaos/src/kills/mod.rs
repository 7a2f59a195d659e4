//! `marketprism-chaos kills`: an edge under load is killed at seeded points of its life, some of them power cuts, some without a broker. In the
//! end hot has everything that it had journaled, once, and the report names exactly the rest.

mod verdict;

use std::path::Path;
use std::time::Duration;

use marketprism_tests::broker::Broker;
use marketprism_tests::central::{Central, Settings};
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::laid_out;
use marketprism_tests::link::Link;
use marketprism_tests::wait::until;
use marketprism_venue_sim::{Sim, SimConfig};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::disk::{JournaledEvents, WatchedDisk};
use crate::report::Reporter;

const EXCHANGE: &str = "binance_spot";
/// Symbols of the venue, and normalized.
const SYMBOLS: [(&str, &str); 2] = [("BTCUSDT", "BTC-USDT"), ("ETHUSDT", "ETH-USDT")];
const NAME: &str = "edge-killed";

const LEDGER: &str = "[consumers]\nack_wait_ms = 4000\n[batch]\nmax_age_others_ms = 1000\n\
    [ledger]\nwindow_seconds = 2\ngrace_seconds = 4\ninterval_ms = 1000\nrecheck_seconds = 4\n";
const AUDIT: &str = "[audit]\nwindow_seconds = 2\nsettle_ms = 500\n";
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KillPoint {
    /// Age of the process.
    after: Duration,
    /// Bytes that were not synced are lost too.
    is_power_cut: bool,
    /// The connection to the broker carries nothing in this run.
    is_broker_away: bool,
    is_broker_killed: bool,
}

impl KillPoint {
    fn draw(random: &mut StdRng) -> Self {
        // A third while it starts, or still recovers what the kill before has left.
        let ms = if random.random_bool(0.33) { 0..500 } else { 500..2_500 };
        Self {
            after: Duration::from_millis(random.random_range(ms)),
            is_power_cut: random.random_bool(0.4),
            is_broker_away: random.random_bool(0.25),
            is_broker_killed: random.random_bool(0.1),
        }
    }
}

/// Times in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Life {
    from_ms: i64,
    killed_ms: i64,
    /// Start of the process after it.
    to_ms: i64,
}

/// Dropped in the order of the fields.
struct KilledEdge {
    edge: Edge,
    central: Central,
    sim: Sim,
    hot: ClickHouse,
    broker: Broker,
    link: Link,
    disk: WatchedDisk,
    journaled: JournaledEvents,
    lives: Vec<Life>,
    failures: Vec<String>,
    at_risk: AtRisk,
}

/// Time between an event and the power cut that took it.
#[derive(Debug, Clone, Copy, Default)]
struct AtRisk {
    most_ms: i64,
    /// Without the time in which the disk synced.
    most_without_syncs_ms: i64,
}

impl AtRisk {
    fn note(&mut self, ms: i64, syncing_ms: i64) {
        self.most_ms = self.most_ms.max(ms);
        self.most_without_syncs_ms = self.most_without_syncs_ms.max(ms - syncing_ms);
    }
}

impl KilledEdge {
    async fn start(folder: &Path) -> Self {
        let (broker, hot) = tokio::join!(Broker::start(folder), laid_out::engine(folder));
        let (nats, url) = (broker.nats(), hot.url());
        let settings = Settings { more: LEDGER, ..Settings::impatient(&nats, &url) };
        let central = Central::with_settings(folder, &settings).await;
        let sim = SimConfig {
            exchanges: vec![EXCHANGE.to_owned()],
            symbols: SYMBOLS.map(|(symbol, _)| symbol.to_owned()).to_vec(),
            rate: 400,
            start_paused: true,
            ..SimConfig::default()
        };
        let sim = Sim::start(sim).await.unwrap();
        let link = Link::to(broker.port()).await;
        let feed = Feed::simulated(EXCHANGE, &sim.addr().to_string(), &SYMBOLS.map(|(_, symbol)| symbol));
        let feed = Feed { extra: "reconnect_wait_max_ms = 500".to_owned(), ..feed };
        let nats = format!("urls = [\"nats://127.0.0.1:{}\"]\n{AUDIT}", link.near());
        let mut edge = Edge::named(NAME, folder, &nats, &[feed]);
        let disk = WatchedDisk::prepare(edge.folder());
        disk.put_under(&mut edge, None);
        let journaled = JournaledEvents::of(edge.folder().join("data/journal").join(NAME));
        let (lives, failures) = (Vec::new(), Vec::new());
        Self {
            edge,
            central,
            sim,
            hot,
            broker,
            link,
            disk,
            journaled,
            lives,
            failures,
            at_risk: AtRisk::default(),
        }
    }

    fn reporter(&self) -> Reporter<'_> {
        Reporter { central: &self.central, hot: &self.hot }
    }

    /// One process of the edge, from its start to its end at the point.
    async fn live(&mut self, point: KillPoint, random: &mut StdRng) {
        if point.is_broker_away {
            self.link.shut();
        }
        let before = crate::disk::segments(self.journaled.folder()).pop();
        self.starts();
        tokio::time::sleep(point.after).await;
        self.kill();
        self.journaled.read();
        if point.is_power_cut {
            self.power_cut(before.as_deref(), random);
        }
        if point.is_broker_killed {
            self.broker.kill();
            self.broker.restart().await;
        }
        self.link.cut();
    }

    fn kill(&mut self) {
        self.edge.kill();
        if let Some(life) = self.lives.last_mut() {
            life.killed_ms = now_ms();
        }
    }

    fn starts(&mut self) {
        let now = now_ms();
        if let Some(life) = self.lives.last_mut() {
            life.to_ms = now;
        }
        self.lives.push(Life { from_ms: now, killed_ms: i64::MAX, to_ms: i64::MAX });
        self.edge.start_without_waiting();
    }

    /// `before`: the newest segment of the life before.
    fn power_cut(&mut self, before: Option<&Path>, random: &mut StdRng) {
        let cut = self.disk.cut_power(self.journaled.folder(), random);
        let wrote =
            crate::disk::segments(self.journaled.folder()).last().map(std::path::PathBuf::as_path) > before;
        for (path, kept) in cut {
            let lost = self.journaled.cut(&path, kept);
            let is_older = before.is_some_and(|before| path <= before);
            if is_older && wrote && !lost.is_empty() {
                let text = format!(
                    "a power cut took {} events of {}, which an earlier process had written",
                    lost.len(),
                    path.display()
                );
                self.failures.push(text);
            } else if !is_older {
                let Some(oldest_ns) = lost.iter().map(|event| event.received_at_ns).min() else { continue };
                let killed_ms = self.lives.last().map_or_else(now_ms, |life| life.killed_ms);
                let oldest_ms = oldest_ns / 1_000_000;
                self.at_risk.note(killed_ms - oldest_ms, self.disk.syncing_ms(oldest_ms, killed_ms));
            }
        }
    }

    /// Returns once trades flow.
    async fn collects(&mut self) {
        self.starts();
        until("the edge is ready", PATIENCE, || self.edge.get("/ready")).await;
        self.sim.resume();
        let trades = || self.edge.metric("marketprism_edge_events_total", "data_type=\"trade\"");
        until("trades are collected", PATIENCE, || async {
            let found = trades().await;
            if found > 200 { Ok(()) } else { Err(found.to_string()) }
        })
        .await;
    }

    /// Ends with everything that the edge has at the broker.
    async fn all_is_sent(&self) {
        self.sim.pause();
        until("nothing waits", PATIENCE, || async {
            let mut waiting = 0;
            for name in ["marketprism_edge_queue_messages", "marketprism_edge_journal_waiting_events"] {
                waiting += self.edge.metric(name, "").await;
            }
            if waiting == 0 { Ok(()) } else { Err(format!("{waiting} events")) }
        })
        .await;
    }
}

fn now_ms() -> i64 {
    i64::try_from(crate::clock::now_ms()).unwrap()
}

pub async fn run(folder: &Path, seed: u64, kills: u32) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut killed = KilledEdge::start(folder).await;
    let begin_ms = killed.reporter().now_ms().await;
    // The first trades are in hot: what no edge was there for is not missing.
    killed.collects().await;
    killed.all_is_sent().await;
    killed.kill();
    killed.sim.resume();
    for number in 1..=kills {
        let point = KillPoint::draw(&mut random);
        killed.live(point, &mut random).await;
        println!("kill {number:>4}  {:>5} ms  {}", point.after.as_millis(), point.words());
    }
    killed.collects().await;
    killed.all_is_sent().await;
    killed.verdict(begin_ms).await;
    let KilledEdge { edge, central, sim, failures, .. } = killed;
    drop((edge, central));
    sim.stop().await;
    failures
}

impl KillPoint {
    fn words(self) -> String {
        let mut words = vec![if self.is_power_cut { "power cut" } else { "kill -9" }];
        words.extend(self.is_broker_away.then_some("without a broker"));
        words.extend(self.is_broker_killed.then_some("broker killed too"));
        words.join(", ")
    }
}
