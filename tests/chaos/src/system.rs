//! All parts, with cables that can be cut and disks that can be full or slow.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use marketprism_tests::broker::Broker;
use marketprism_tests::central::{Central, Settings};
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::link::Link;
use marketprism_tests::process::Process;
use marketprism_tests::wait::until;
use marketprism_venue_sim::{Sim, SimConfig};

use crate::clock::{self, SteppedClock};
use crate::disk::{JournaledEvents, WatchedDisk};
use crate::flatness::Usage;
use crate::report::Reporter;
use crate::versions::{SignedVersions, TOKEN};

pub const EXCHANGES: [(&str, &[&str]); 4] = [
    ("binance_spot", &["BTCUSDT", "ETHUSDT"]),
    ("okx_spot", &["BTC-USDT"]),
    ("bybit_spot", &["BTCUSDT"]),
    ("kraken_spot", &["BTC/USDT"]),
];
pub const EDGES: [&str; 2] = ["edge-x", "edge-y"];

/// Short windows: a run of minutes has many.
pub const WINDOW: Duration = Duration::from_secs(2);
const AUDIT: &str = "[audit]\nwindow_seconds = 2\nsettle_ms = 500\n";
const LEDGER: &str = "[consumers]\nack_wait_ms = 4000\n[batch]\nmax_age_others_ms = 1000\n\
    [ledger]\nwindow_seconds = 2\ngrace_seconds = 12\ninterval_ms = 500\nrecheck_seconds = 3\n\
    [lease]\ntime_ms = 4000\n\
    [replication]\nwindow_seconds = 2\nsafety_lag_seconds = 1\ninterval_ms = 500\nrecheck_seconds = 3\n";
/// Much smaller than its disk, which a fault fills.
const JOURNAL: &str = "[journal]\nmax_bytes = 268435456\n";
/// A change of an adapter takes a second.
const ADAPTERS: &str =
    "shadow_frames = 20\nshadow_ms = 0\nprobation_ms = 500\n[sandbox]\ncall_deadline_ms = 5000\n";

/// Limit for a part to end, start or connect.
pub const PATIENCE: Duration = Duration::from_secs(60);
const DISK_MIB: u64 = 512;

/// `BASE-QUOTE` of a venue's symbol.
pub fn normalized(symbol: &str) -> String {
    if symbol.ends_with("-USDT") {
        symbol.to_owned()
    } else {
        symbol.replace('/', "").replace("USDT", "-USDT")
    }
}

/// Dropped in the order of the fields.
pub struct System {
    pub edges: Vec<Edge>,
    pub central: Central,
    /// Takes the place of the other one.
    pub(crate) spare_central: Central,
    pub sim: Sim,
    pub hot: ClickHouse,
    pub cold: ClickHouse,
    pub broker: Broker,
    pub(crate) edge_links: Vec<Link>,
    pub(crate) central_link: Link,
    pub(crate) hot_link: Link,
    pub(crate) edge_disks: Vec<EdgeDisk>,
    pub(crate) disk: Option<SmallDisk>,
    pub(crate) versions: SignedVersions,
    /// Processes that got another adapter.
    pub(crate) with_other_adapter: BTreeSet<u32>,
    pub(crate) reloads: u32,
    pub full_journals: Vec<FullJournal>,
    /// Times, in milliseconds since 1970, from one to which the clock of an edge was stepped until it was right again: the edge lives through
    /// some of them twice, and what it missed in a second pass lies between that and a time of afterwards.
    pub lived_twice: Vec<(u64, u64)>,
    /// Fault of the venue that lasts.
    pub(crate) fault: Option<u64>,
    pub(crate) folder: PathBuf,
}

/// A time in which the journal of an edge had no room: events that the broker acknowledged in it and lost later are lost.
#[derive(Debug, Clone, Copy)]
pub struct FullJournal {
    pub edge: &'static str,
    pub from_ms: u64,
    /// The edge tries again a second after a failure.
    pub to_ms: u64,
}

/// Disk and clock of an edge.
pub(crate) struct EdgeDisk {
    pub(crate) watched: WatchedDisk,
    pub(crate) clock: SteppedClock,
    pub(crate) small: Option<SmallDisk>,
}

impl System {
    /// `has_clocks`: those of the edges can be stepped.
    pub async fn start(folder: &Path, has_clocks: bool) -> Self {
        let disk = SmallDisk::mount(&folder.join("nats"));
        if disk.is_none() {
            println!("no right to mount a small disk: FullDisk and FullJournal do nothing");
        }
        let (broker, hot, cold) =
            tokio::join!(Broker::start(folder), ClickHouse::start(folder), ClickHouse::named(folder, "cold"));
        let edge_links = vec![Link::to(broker.port()).await, Link::to(broker.port()).await];
        let (central_link, hot_link) = tokio::join!(Link::to(broker.port()), Link::to(hot.port()));
        let nats = |link: &Link| format!("urls = [\"nats://127.0.0.1:{}\"]\n", link.near());
        let through =
            |url: String| url.replace(&format!(":{}", hot.port()), &format!(":{}", hot_link.near()));
        let (hot_url, cold_url, central_nats) = (through(hot.url()), cold.url(), nats(&central_link));
        let settings =
            Settings { cold: Some(&cold_url), more: LEDGER, ..Settings::impatient(&central_nats, &hot_url) };
        let central = Central::with_settings(folder, &settings).await;
        let spare = folder.join("spare");
        let spare_central = Central::prepared(&spare, &settings);
        let symbols = EXCHANGES
            .iter()
            .flat_map(|(exchange, symbols)| symbols.iter().map(move |symbol| format!("{exchange}:{symbol}")));
        let exchanges = EXCHANGES.map(|(exchange, _)| exchange.to_owned()).to_vec();
        let config = SimConfig {
            exchanges,
            symbols: symbols.collect(),
            rate: 60,
            start_paused: true,
            ..SimConfig::default()
        };
        let sim = Sim::start(config).await.unwrap();
        let mut system = Self {
            edges: Vec::new(),
            central,
            spare_central,
            sim,
            hot,
            cold,
            broker,
            edge_links,
            central_link,
            hot_link,
            edge_disks: Vec::new(),
            disk,
            versions: SignedVersions::of("binance", folder),
            with_other_adapter: BTreeSet::new(),
            reloads: 0,
            full_journals: Vec::new(),
            lived_twice: Vec::new(),
            fault: None,
            folder: folder.to_owned(),
        };
        for index in 0..EDGES.len() {
            system.start_edge(index, has_clocks).await;
        }
        system.is_ready().await;
        system.sim.resume();
        system
    }

    async fn start_edge(&mut self, index: usize, has_clocks: bool) {
        let nats = format!("urls = [\"nats://127.0.0.1:{}\"]\n", self.edge_links[index].near());
        let key = &self.versions.public_key;
        let tables = format!("{AUDIT}{JOURNAL}[adapters]\ntrusted_keys = [{key:?}]\n{ADAPTERS}");
        let mut edge = Edge::named(EDGES[index], &self.folder, &(nats + &tables), &self.feeds(0));
        let watched = WatchedDisk::prepare(edge.folder());
        let small = SmallDisk::mount(&edge.folder().join("data/journal"));
        let clock = SteppedClock::in_folder(edge.folder());
        watched.put_under(&mut edge, clock::library().filter(|_| has_clocks));
        for (name, value) in clock.variables() {
            edge.set_variable(name, value);
        }
        edge.set_variable("MARKETPRISM_HTTP__TOKEN", TOKEN);
        edge.restart().await;
        self.edges.push(edge);
        self.edge_disks.push(EdgeDisk { watched, clock, small });
    }

    /// The feeds of both edges; a change of one of them is a restart of that feed.
    pub(crate) fn feeds(&self, change: u32) -> Vec<Feed> {
        let address = self.sim.addr().to_string();
        let feed = |(exchange, symbols): (&str, &[&str])| {
            let symbols = symbols.iter().map(|symbol| normalized(symbol)).collect();
            let wait_ms = if exchange == "okx_spot" { 1_000 + change } else { 1_000 };
            // Keeps waits between connects short.
            let extra = format!("reconnect_wait_max_ms = {wait_ms}");
            Feed { symbols, extra, ..Feed::simulated(exchange, &address, &[]) }
        };
        EXCHANGES.map(feed).to_vec()
    }

    pub const fn reporter(&self) -> Reporter<'_> {
        Reporter { central: &self.central, hot: &self.hot }
    }

    pub async fn is_ready(&self) {
        for (edge, name) in self.edges.iter().zip(EDGES) {
            until(&format!("{name} is ready"), PATIENCE, || edge.get("/ready")).await;
        }
        until("central is ready", PATIENCE, || self.central.get("/ready")).await;
    }

    /// Of what this repository is, and of what runs.
    pub fn usage(&mut self) -> Vec<Usage> {
        let [x, y] = &mut self.edges[..] else { return Vec::new() };
        let usage = |(name, process): (&'static str, &mut Process)| Usage {
            name,
            pid: process.pid(),
            has_changed_adapter: self.with_other_adapter.contains(&process.pid()),
            resident_bytes: process.resident_bytes(),
            open_files: process.open_files(),
            threads: process.threads(),
        };
        let parts = [(EDGES[0], x.process()), (EDGES[1], y.process()), ("central", self.central.process())];
        parts.into_iter().map(usage).collect()
    }

    /// No fault lasts; waits until everything that was sent is stored or given up.
    pub async fn settle(&self) {
        self.is_ready().await;
        self.sim.pause();
        for (edge, name) in self.edges.iter().zip(EDGES) {
            until(&format!("{name} has published everything"), PATIENCE, || async {
                let mut left = 0;
                for name in ["marketprism_edge_queue_messages", "marketprism_edge_journal_waiting_events"] {
                    left += edge.metric(name, "").await;
                }
                if left == 0 { Ok(()) } else { Err(format!("{left} queued")) }
            })
            .await;
        }
    }

    /// By name of the edge.
    pub fn journals(&self) -> impl Iterator<Item = (&'static str, JournaledEvents)> {
        let journal = |(edge, name): (&Edge, &'static str)| {
            (name, JournaledEvents::of(edge.folder().join("data/journal").join(name)))
        };
        self.edges.iter().zip(EDGES).map(journal)
    }

    pub async fn stop(self) {
        let Self { edges, central, spare_central, sim, disk, edge_disks, broker, .. } = self;
        drop((edges, central, spare_central, broker));
        sim.stop().await;
        drop((disk, edge_disks));
    }
}

/// A disk in memory. Needs the right to mount.
pub(crate) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    pub(crate) fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={DISK_MIB}m");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder);
        let is_mounted = command.output().is_ok_and(|output| output.status.success());
        is_mounted.then(|| Self { folder: folder.to_owned() })
    }

    /// Takes what room there is; again, what became free since.
    pub(crate) fn fill(&self) {
        // Ends with the error that is wanted.
        let _ = Command::new("dd")
            .args(["if=/dev/zero", "bs=1M"])
            .arg(format!("of={}", self.folder.join(format!("filler-{}", self.fillers().len())).display()))
            .output();
    }

    pub(crate) fn empty(&self) {
        for filler in self.fillers() {
            let _ = std::fs::remove_file(filler);
        }
    }

    fn fillers(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("filler")))
            .collect()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).output();
    }
}
