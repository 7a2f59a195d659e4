//! Three regions, a centre and the venues, each in a namespace of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use marketprism_tests::central::{Central, Settings};
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::nats_files::{NatsFromFiles, nats_table};
use marketprism_tests::parts;
use marketprism_tests::wait::until;
use marketprism_venue_sim::{Sim, SimConfig};
use tokio::runtime::{Builder, Runtime};

use super::brokers;
use super::namespace::{self, Namespace};
use super::plan::{Plan, REGIONS, RegionPlan, venue_addresses, wan_addresses};
use super::wan::Wan;
use crate::versions::SignedVersions;

/// Venue of all three regions, in addition to those of the examples: its adapter is promoted from region to region.
pub const SHARED_EXCHANGE: &str = "binance_spot";
const SHARED_SYMBOLS: [&str; 2] = ["BTC-USDT", "ETH-USDT"];
pub const EXCHANGES: [&str; 5] =
    ["binance_spot", "binance_derivatives", "okx_spot", "deribit_derivatives", "kraken_spot"];
/// Venue's symbols of the example feeds, where the simulator lists others.
const SYMBOLS: [&str; 3] = ["BTCUSDT", "ETHUSDT", "SOLUSDT"];
/// Frames a second of all venues together.
pub const RATE: u64 = 150;

/// Short windows: the verdict on the last one comes soon after the end.
const CENTRAL: &str = "[streams]\nreplicas = 3\n\
    [ledger]\nwindow_seconds = 10\ngrace_seconds = 60\ninterval_ms = 1000\n\
    [replication]\nwindow_seconds = 10\nsafety_lag_seconds = 5\ninterval_ms = 1000\n";
/// A change of an adapter takes seconds.
const EDGE: &str = "[audit]\nwindow_seconds = 10\n[clock]\nenabled = true\n\
    [adapters]\nshadow_frames = 200\nshadow_ms = 2000\nprobation_ms = 5000\n";

/// Limit for a part to start or connect.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Dropped in the order of the fields.
pub struct Region {
    pub plan: RegionPlan,
    pub edge: Edge,
    pub leaf: NatsFromFiles,
    pub wan: Wan,
    pub namespace: Namespace,
}

impl Region {
    /// Sum of a metric of its edge.
    pub fn metric(&self, name: &str) -> u64 {
        self.namespace.run(async || self.edge.metric(name, "").await)
    }
}

/// Dropped in the order of the fields.
pub struct World {
    pub regions: Vec<Region>,
    pub central: Central,
    /// Another build, which is not started.
    pub next_central: Central,
    pub servers: Vec<NatsFromFiles>,
    pub hot: ClickHouse,
    pub cold: ClickHouse,
    pub sim: Sim,
    pub centre: Namespace,
    _venues: Namespace,
    _ways: Runtime,
    pub versions: SignedVersions,
    pub tls: PathBuf,
}

impl World {
    /// Returns with every part ready and the venues silent. `build`: another binary of central.
    pub fn start(folder: &Path, plan: Plan, build: PathBuf) -> Self {
        let ways = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (centre, venues) = (Namespace::create("centre"), Namespace::create("venues"));
        let namespaces = REGIONS.map(|region| Namespace::create(region.name));
        let wans: Vec<Wan> = namespaces
            .iter()
            .enumerate()
            .map(|(index, namespace)| way(index, &centre, namespace, &venues, &ways, plan.seed))
            .collect();
        let sim = venues.run(async || Sim::start(sim_config(plan.seed)).await.unwrap());
        let tls = folder.join("tls");
        brokers::write_certificates(&tls);
        let feeds: Vec<Vec<Feed>> = (0..REGIONS.len()).map(|index| feeds(index, sim.addr().port())).collect();
        let (mut servers, leaves) = brokers::start(
            folder,
            &tls,
            &centre,
            &namespaces,
            &feeds.iter().map(|of| exchanges(of)).collect::<Vec<_>>(),
        );
        let versions = SignedVersions::of("binance", folder);
        let (hot, cold, central, next_central) = centre.run(async || {
            for server in &mut servers {
                server.listens().await;
            }
            let (hot, cold) = tokio::join!(ClickHouse::start(folder), ClickHouse::named(folder, "cold"));
            let urls: Vec<String> = servers.iter().map(NatsFromFiles::url).collect();
            let nats = nats_table(&tls, &urls, "central", servers[0].password("CENTRAL"));
            let (hot_url, cold_url) = (hot.url(), cold.url());
            let more = format!("{CENTRAL}[adapters]\ntrusted_keys = [{:?}]\n", versions.public_key);
            let settings =
                Settings { cold: Some(&cold_url), more: &more, ..Settings::plain(&nats, &hot_url) };
            let mut central = Central::prepared(folder, &settings);
            // It waits until the servers have elected one.
            central.restart().await;
            // Creates the buckets of adapters.
            let (code, text, errors) = central.ask(&["adapters", "status"]).await;
            assert_eq!(code, Some(0), "{text}{errors}");
            let next = Central::prepared(&folder.join("next"), &settings).with_binary(build);
            (hot, cold, central, next)
        });
        let mut regions = Vec::new();
        for (((index, namespace), leaf), wan) in namespaces.into_iter().enumerate().zip(leaves).zip(wans) {
            let plan = REGIONS[index];
            let edge = namespace.run(async || {
                start_edge(folder, &tls, plan, &leaf, &feeds[index], &versions.public_key).await
            });
            regions.push(Region { plan, edge, leaf, wan, namespace });
        }
        let world = Self {
            regions,
            central,
            next_central,
            servers,
            hot,
            cold,
            sim,
            centre,
            _venues: venues,
            _ways: ways,
            versions,
            tls,
        };
        world.is_ready();
        world
    }

    fn is_ready(&self) {
        for Region { plan, edge, namespace, .. } in &self.regions {
            namespace.run(async || {
                until(&format!("{} is ready", plan.edge), PATIENCE, || edge.get("/ready")).await;
            });
        }
        self.centre.run(async || until("central is ready", PATIENCE, || self.central.get("/ready")).await);
    }

    /// Exit code and output of a command of central.
    pub fn ask(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.centre.run(async || self.central.ask(arguments).await)
    }

    /// The one number that a query of hot returns.
    pub fn number(&self, query: &str) -> Result<u64, String> {
        self.centre.run(async || self.hot.number(query).await)
    }
}

/// Devices of a region: to the centre, and to the venues.
fn way(
    index: usize,
    centre: &Namespace,
    region: &Namespace,
    venues: &Namespace,
    ways: &Runtime,
    seed: u64,
) -> Wan {
    let ([at_venues, to_venues], [at_centre, to_centre]) = (venue_addresses(index), wan_addresses(index));
    let device = |of: &str| format!("mp{}{of}{index}", std::process::id());
    namespace::join([(venues, &device("v"), &at_venues), (region, &device("r"), &to_venues)]);
    let RegionPlan { delay, loss, .. } = REGIONS[index];
    let ends = [(centre, &*device("c"), &*at_centre), (region, &*device("w"), &*to_centre)];
    Wan::between(ends, ways, delay, loss, seed.wrapping_add(index as u64))
}

fn sim_config(seed: u64) -> SimConfig {
    SimConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        exchanges: EXCHANGES.map(str::to_owned).to_vec(),
        symbols: SYMBOLS.map(|symbol| format!("{SHARED_EXCHANGE}:{symbol}")).to_vec(),
        seed,
        rate: RATE,
        start_paused: true,
        ..SimConfig::default()
    }
}

/// Feeds of the region's example, and of the venue that all regions collect.
fn feeds(index: usize, port: u16) -> Vec<Feed> {
    let venue = format!("{}:{port}", venue_addresses(index)[0]);
    let example = example(REGIONS[index].name);
    let tables = example["feed"].as_array().unwrap().iter();
    let mut feeds: Vec<Feed> = tables.map(|feed| feed_of(feed.as_table().unwrap(), &venue)).collect();
    if feeds.iter().all(|feed| feed.exchange != SHARED_EXCHANGE) {
        let feed = Feed::simulated(SHARED_EXCHANGE, &venue, &SHARED_SYMBOLS);
        feeds.push(Feed { backfill: true, ..feed });
    }
    feeds
}

fn feed_of(feed: &toml::Table, venue: &str) -> Feed {
    let texts = |key: &str| -> Vec<String> {
        feed[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let line = |key: &&str| Some(format!("{key} = {}\n", feed.get(*key)?));
    let extra = ["market_types", "exclude"].iter().filter_map(line).collect();
    let simulated = Feed::simulated(feed["exchange"].as_str().unwrap(), venue, &[]);
    Feed { symbols: texts("symbols"), data_types: texts("data_types"), backfill: true, extra, ..simulated }
}

fn exchanges(feeds: &[Feed]) -> Vec<String> {
    feeds.iter().map(|feed| feed.exchange.clone()).collect()
}

fn example(region: &str) -> toml::Table {
    let path = parts::root().join(format!("deploy/examples/edge-{region}.toml"));
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

async fn start_edge(
    folder: &Path,
    tls: &Path,
    plan: RegionPlan,
    leaf: &NatsFromFiles,
    feeds: &[Feed],
    key: &str,
) -> Edge {
    let user = plan.edge.to_uppercase().replace('-', "_");
    let login = nats_table(tls, &[leaf.url()], plan.edge, leaf.password(&user));
    let wire = example(plan.name)
        .get("wire")
        .and_then(|wire| wire.as_table())
        .map(|wire| format!("[wire]\n{wire}"))
        .unwrap_or_default();
    let domain = brokers::DOMAIN;
    let nats = format!("{login}jetstream_domain = {domain:?}\n{EDGE}trusted_keys = [{key:?}]\n{wire}\n");
    let mut edge = Edge::named(plan.edge, folder, &nats, feeds);
    let path = edge.folder().join("edge.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("region = \"test\"", &format!("region = {:?}", plan.name), 1))
        .unwrap();
    edge.restart().await;
    edge
}
