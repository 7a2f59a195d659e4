//! All parts, with cables that can be cut, and the faults done to them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use marketprism_tests::broker::Broker;
use marketprism_tests::central::{Central, Settings};
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::link::Link;
use marketprism_tests::wait::until;
use marketprism_venue_sim::{FaultAction, FaultSpec, Sim, SimConfig};

use crate::schedule::{Action, Part};

pub const EXCHANGES: [(&str, &[&str]); 4] = [
    ("binance_spot", &["BTCUSDT", "ETHUSDT"]),
    ("okx_spot", &["BTC-USDT"]),
    ("bybit_spot", &["BTCUSDT"]),
    ("kraken_spot", &["BTC/USDT"]),
];
const EDGES: [&str; 2] = ["edge-x", "edge-y"];

/// Short windows: a run of minutes has many.
pub const WINDOW: Duration = Duration::from_secs(2);
const AUDIT: &str = "[audit]\nwindow_seconds = 2\nsettle_ms = 500\n";
const LEDGER: &str = "[consumers]\nack_wait_ms = 4000\n[batch]\nmax_age_others_ms = 1000\n\
    [ledger]\nwindow_seconds = 2\ngrace_seconds = 12\ninterval_ms = 500\nrecheck_seconds = 3\n\
    [lease]\ntime_ms = 4000\n\
    [replication]\nwindow_seconds = 2\nsafety_lag_seconds = 1\ninterval_ms = 500\nrecheck_seconds = 3\n";

/// Limit for a part to end, start or connect.
const PATIENCE: Duration = Duration::from_secs(60);
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
    pub sim: Sim,
    pub hot: ClickHouse,
    pub cold: ClickHouse,
    pub broker: Broker,
    edge_links: Vec<Link>,
    central_link: Link,
    hot_link: Link,
    /// Fault of the venue that lasts.
    fault: Option<u64>,
    disk: Option<SmallDisk>,
    folder: PathBuf,
}

impl System {
    pub async fn start(folder: &Path) -> Self {
        let disk = SmallDisk::mount(&folder.join("nats"));
        if disk.is_none() {
            println!("no right to mount a small disk: FullDisk does nothing");
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
        let address = sim.addr().to_string();
        let feeds = EXCHANGES.map(|(exchange, symbols)| {
            let symbols = symbols.iter().map(|symbol| normalized(symbol)).collect();
            let extra = RECONNECT.to_owned();
            Feed { symbols, extra, ..Feed::simulated(exchange, &address, &[]) }
        });
        let mut edges = Vec::new();
        for (name, link) in EDGES.iter().zip(&edge_links) {
            edges.push(Edge::start_as(name, folder, &(nats(link) + AUDIT), &feeds).await);
        }
        let folder = folder.to_owned();
        let system = Self {
            edges,
            central,
            sim,
            hot,
            cold,
            broker,
            edge_links,
            central_link,
            hot_link,
            fault: None,
            disk,
            folder,
        };
        system.is_ready().await;
        system.sim.resume();
        system
    }

    async fn is_ready(&self) {
        for (edge, name) in self.edges.iter().zip(EDGES) {
            until(&format!("{name} is ready"), PATIENCE, || edge.get("/ready")).await;
        }
        until("central is ready", PATIENCE, || self.central.get("/ready")).await;
    }

    pub async fn begin(&mut self, action: Action) {
        match action {
            Action::Kill(Part::Edge(index)) => self.edges[index].kill(),
            Action::Kill(Part::Central) => self.central.kill(),
            Action::Kill(Part::Broker) => self.broker.kill(),
            Action::Kill(Part::Hot) => self.hot.kill(),
            Action::Kill(Part::Cold) => self.cold.kill(),
            Action::Stop(Part::Edge(index)) => drop(self.edges[index].process().terminate(PATIENCE).await),
            Action::Stop(_) => drop(self.central.process().terminate(PATIENCE).await),
            Action::Suspend(part) => self.signal(part, "STOP"),
            Action::CutBroker(part) => self.link(part).shut(),
            Action::CutHot => self.hot_link.shut(),
            Action::RestoreHot => {
                // An engine that runs cannot be copied.
                self.hot.kill();
                copy(&self.data_of_hot(), &self.copy_of_hot());
                self.hot.restart().await;
            }
            Action::FullDisk => self.disk.iter().for_each(SmallDisk::fill),
            Action::DropTrades(count) => self.withhold(count, None),
            Action::DropOnOne(count) => {
                let connection = self.sim.connections().first().map(|connection| connection.id);
                self.withhold(count, connection);
            }
            Action::BookGap => {
                drop(self.sim.fault(FaultSpec::new(FaultAction::Gap).exchange("binance_spot").updates(3_u64)))
            }
            Action::CutVenue => drop(self.sim.cut_all()),
            Action::Freeze => self.fault = self.sim.fault(FaultSpec::new(FaultAction::Freeze)).ok(),
            Action::Refuse => {
                let spec = FaultSpec::new(FaultAction::Refuse).duration_ms(12_000_u64);
                self.fault = self.sim.fault(spec.exchange("binance_spot")).ok();
                self.sim.cut_all();
            }
            Action::Kill(Part::Venue) => {}
        }
    }

    pub async fn end(&mut self, action: Action) {
        match action {
            Action::Kill(Part::Edge(index)) | Action::Stop(Part::Edge(index)) => {
                self.edges[index].restart().await
            }
            Action::Kill(Part::Central) | Action::Stop(_) => self.central.start_without_waiting(),
            Action::Kill(Part::Broker) => self.broker.restart().await,
            Action::Kill(Part::Hot) => self.hot.restart().await,
            Action::Kill(Part::Cold) => self.cold.restart().await,
            Action::Suspend(part) => self.signal(part, "CONT"),
            Action::CutBroker(part) => self.link(part).cut(),
            Action::CutHot => self.hot_link.cut(),
            Action::RestoreHot => {
                self.hot.kill();
                copy(&self.copy_of_hot(), &self.data_of_hot());
                self.hot.restart().await;
            }
            // nats-server 2.15 stores nothing after a failed write, whatever room there is, until it is started again.
            Action::FullDisk if self.disk.is_some() => {
                self.disk.iter().for_each(SmallDisk::empty);
                self.broker.restart().await;
            }
            Action::Freeze | Action::Refuse => drop(self.fault.take().map(|id| self.sim.remove_fault(id))),
            _ => {}
        }
    }

    fn signal(&mut self, part: Part, signal: &str) {
        let process = match part {
            Part::Edge(index) => self.edges[index].process(),
            Part::Central => self.central.process(),
            Part::Broker => self.broker.process(),
            Part::Hot => self.hot.process(),
            Part::Cold => self.cold.process(),
            Part::Venue => return,
        };
        process.signal(signal);
    }

    fn link(&self, part: Part) -> &Link {
        match part {
            Part::Edge(index) => &self.edge_links[index],
            _ => &self.central_link,
        }
    }

    fn withhold(&self, count: u64, connection: Option<u64>) {
        let spec =
            FaultSpec::new(FaultAction::Drop).exchange("binance_spot").symbol("BTCUSDT").stream("rade");
        let spec = FaultSpec { connection, ..spec.count(count) };
        self.sim.fault(spec).unwrap();
    }

    fn data_of_hot(&self) -> PathBuf {
        self.folder.join("clickhouse/data")
    }

    fn copy_of_hot(&self) -> PathBuf {
        self.folder.join("copy-of-hot")
    }

    /// No fault lasts; waits until everything that was sent is stored or given up.
    pub async fn settle(&self) {
        self.is_ready().await;
        self.sim.pause();
        for (edge, name) in self.edges.iter().zip(EDGES) {
            until(&format!("{name} has published everything"), PATIENCE, || async {
                match edge.metric("marketprism_edge_queue_messages", "").await {
                    0 => Ok(()),
                    left => Err(format!("{left} queued")),
                }
            })
            .await;
        }
    }

    pub async fn stop(self) {
        let Self { edges, central, sim, disk, broker, .. } = self;
        drop((edges, central, broker));
        sim.stop().await;
        drop(disk);
    }
}

/// Keeps waits between connects short.
const RECONNECT: &str = "reconnect_wait_max_ms = 1000";

/// Replaces a folder by a copy of another.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success(), "cp -a {} {}", from.display(), to.display());
}

/// A disk in memory. Needs the right to mount.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={DISK_MIB}m");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder);
        let is_mounted = command.output().is_ok_and(|output| output.status.success());
        is_mounted.then(|| Self { folder: folder.to_owned() })
    }

    fn fill(&self) {
        // Ends with the error that is wanted.
        let _ = Command::new("dd")
            .args(["if=/dev/zero", "bs=1M"])
            .arg(format!("of={}", self.folder.join("filler").display()))
            .output();
    }

    fn empty(&self) {
        let _ = std::fs::remove_file(self.folder.join("filler"));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).output();
    }
}
