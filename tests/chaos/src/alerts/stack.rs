//! The parts that Prometheus scrapes, and the faults done to them.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream;
use marketprism_tests::broker::Broker;
use marketprism_tests::central::{Central, Settings};
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::parts;
use marketprism_tests::stack::two_sides;
use marketprism_tests::wait::{eventually, until};
use marketprism_venue_sim::{FaultAction, FaultSpec, Sim, SimConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

use super::drills::DrillFault;
use crate::system::{PATIENCE, SmallDisk};
use crate::versions::{SignedVersions, TOKEN, load};

const EXCHANGE: &str = "binance_spot";
const SYMBOLS: [&str; 2] = ["BTC-USDT", "ETH-USDT"];
const RATE: u64 = 100;
/// For a journal of 16 MiB to be half full in less than a minute.
const FLOOD: u64 = 2_000;
/// For more than 2,500 messages to wait soon.
const BACKLOG_RATE: u64 = 400;
const CENTRAL: &str = "[consumers]\nack_wait_ms = 4000\n[batch]\nmax_age_others_ms = 1000\n\
    [ledger]\nwindow_seconds = 2\ngrace_seconds = 4\ninterval_ms = 500\nrecheck_seconds = 2\n\
    [replication]\nwindow_seconds = 2\nsafety_lag_seconds = 1\ninterval_ms = 500\nrecheck_seconds = 3\n";
const EDGE: &str = "[audit]\nwindow_seconds = 2\nsettle_ms = 500\n";
/// The smallest allowed; what is beyond a small queue waits in it.
const SMALL_JOURNAL: &str =
    "[journal]\nmax_bytes = 16777216\n[publisher]\nqueue_max_messages = 5000\nmax_in_flight_messages = 500\n";
const NO_JOURNAL: &str =
    "[journal]\nenabled = false\n[publisher]\nqueue_max_messages = 1000\nmax_in_flight_messages = 500\n";
const STREAM: &str = "MARKET_DATA";

/// Dropped in the order of the fields.
pub struct DrillStack {
    edge: Edge,
    /// Without a journal.
    fleeting: Edge,
    pub central: Central,
    sim: Sim,
    hot: ClickHouse,
    cold: ClickHouse,
    broker: Broker,
    disk: Option<SmallDisk>,
    feeds: Vec<Feed>,
    authority: PathBuf,
    /// Of the venue, which lasts.
    fault: Option<u64>,
    /// Query of the rows from which some were deleted, and their number before.
    span: String,
    rows: u64,
}

impl DrillStack {
    pub async fn start(folder: &Path) -> Self {
        let settings = Settings { more: CENTRAL, ..Settings::impatient("", "") };
        let (broker, hot, cold, central) = two_sides(folder, settings).await;
        let nats = broker.nats();
        let symbols = SYMBOLS.map(|symbol| format!("{EXCHANGE}:{}", symbol.replace('-', "")));
        let exchanges = vec![EXCHANGE.to_owned(), "binance_derivatives".to_owned()];
        let config = SimConfig { exchanges, symbols: symbols.to_vec(), rate: RATE, ..SimConfig::default() };
        let sim = Sim::start(config).await.unwrap();
        let address = sim.addr().to_string();
        let funding = Feed {
            data_types: vec!["funding_rate".to_owned()],
            extra: "market_types = [\"perpetual\"]".to_owned(),
            ..Feed::simulated("binance_derivatives", &address, &SYMBOLS)
        };
        let extra = "reconnect_wait_max_ms = 1000".to_owned();
        let spot = Feed { extra, backfill: true, ..Feed::simulated(EXCHANGE, &address, &SYMBOLS) };
        let feeds = vec![spot, funding];
        let versions = SignedVersions::of("binance", folder);
        let authority = folder.join("authority.pem");
        certify(&authority, 30);
        let key = &versions.public_key;
        let adapters = format!(
            "[adapters]\ntrusted_keys = [{key:?}]\nshadow_frames = 20\nshadow_ms = 0\nprobation_ms = 500\n"
        );
        let login = format!("{nats}\nca_file = {authority:?}\n{EDGE}{SMALL_JOURNAL}{adapters}");
        let mut edge =
            Edge::named("edge-1", folder, &login, &feeds).with_variable("MARKETPRISM_HTTP__TOKEN", TOKEN);
        let disk = SmallDisk::mount(&edge.folder().join("data/journal"));
        edge.restart().await;
        let fleeting =
            Edge::start_as("edge-2", folder, &format!("{nats}\n{EDGE}{NO_JOURNAL}"), &feeds[..1]).await;
        Self {
            edge,
            fleeting,
            central,
            sim,
            hot,
            cold,
            broker,
            disk,
            feeds,
            authority,
            fault: None,
            span: String::new(),
            rows: 0,
        }
    }

    pub fn edge_ports(&self) -> [(&'static str, u16); 2] {
        [("edge-1", self.edge.port()), ("edge-2", self.fleeting.port())]
    }

    pub async fn stop(self) {
        let Self { edge, fleeting, central, sim, broker, disk, .. } = self;
        drop((edge, fleeting, central, broker));
        sim.stop().await;
        drop(disk);
    }

    pub async fn begin(&mut self, fault: DrillFault) {
        match fault {
            DrillFault::SilentVenue => self.sim.pause(),
            DrillFault::UnsignedVersion => load(&parts::adapter("binance"), &self.edge).await,
            DrillFault::RefusedConfiguration => {
                let path = self.edge.folder().join("edge.toml");
                let text = std::fs::read_to_string(&path).unwrap();
                std::fs::write(path, text.replace("backfill = false", "backfill = 3")).unwrap();
                self.reload(false).await;
            }
            DrillFault::KilledEdge => self.edge.kill(),
            DrillFault::StoppedEdge => {
                self.edge.process().terminate(PATIENCE).await;
            }
            DrillFault::UnreachableVenue => {
                let refuse = FaultSpec::new(FaultAction::Refuse).exchange(EXCHANGE);
                // Longer than any drill; its end removes it.
                let refuse = FaultSpec { duration_ms: Some(3_600_000), ..refuse };
                self.fault = Some(self.sim.fault(refuse).unwrap());
                self.edge.restart().await;
            }
            DrillFault::SmallLimitAndShortCertificate => {
                self.edge.set_variable("COLLECTOR_MEMORY_MB", "10");
                self.edge.set_variable("COLLECTOR_MON_INTERVAL", "1");
                certify(&self.authority, 1);
                self.edge.restart().await;
            }
            DrillFault::FullJournalDisk => self.disk.iter().for_each(SmallDisk::fill),
            DrillFault::KilledBroker => {
                self.broker.kill();
                self.set_rate(FLOOD);
            }
            DrillFault::SuspendedBroker => self.broker.process().suspend(),
            DrillFault::KilledCentral => self.central.kill(),
            DrillFault::CentralWithoutHot => {
                self.hot.kill();
                self.central.start_without_waiting();
            }
            DrillFault::KilledHot => {
                self.hot.kill();
                self.set_rate(BACKLOG_RATE);
            }
            DrillFault::PurgedStream => self.purge_behind_central().await,
            DrillFault::KilledCold => self.cold.kill(),
            DrillFault::StrangeMessage => {
                let client = async_nats::connect(self.broker.url()).await.unwrap();
                client.publish("trade.binance_spot.spot.BTC-USDT", "no event".into()).await.unwrap();
                client.flush().await.unwrap();
            }
            DrillFault::DeletedRows => self.delete_rows().await,
            DrillFault::HotPutBack => self.put_hot_back().await,
            DrillFault::UnlistedSymbol => {
                let mut feeds = self.feeds.clone();
                feeds[0].symbols.push("NOPE-USDT".to_owned());
                self.edge.set_feeds(&feeds);
                self.reload(true).await;
            }
            DrillFault::GapsInTrades => {}
        }
    }

    /// Repeated until the alerts fire.
    pub async fn go_on(&mut self, fault: DrillFault) {
        match fault {
            DrillFault::GapsInTrades => {
                let one = FaultSpec::new(FaultAction::Drop)
                    .exchange(EXCHANGE)
                    .symbol("BTCUSDT")
                    .stream("rade")
                    .count(1);
                self.sim.fault(one).unwrap();
            }
            // The journal gives up what hot has, to get room.
            DrillFault::FullJournalDisk => self.disk.iter().for_each(SmallDisk::fill),
            _ => {}
        }
    }

    pub async fn end(&mut self, fault: DrillFault) {
        match fault {
            DrillFault::SilentVenue => self.sim.resume(),
            DrillFault::RefusedConfiguration | DrillFault::UnlistedSymbol => {
                self.edge.set_feeds(&self.feeds);
                self.reload(true).await;
            }
            DrillFault::KilledEdge | DrillFault::StoppedEdge => self.edge.restart().await,
            DrillFault::UnreachableVenue => {
                if let Some(fault) = self.fault.take() {
                    self.sim.remove_fault(fault);
                }
            }
            DrillFault::SmallLimitAndShortCertificate => {
                self.edge.set_variable("COLLECTOR_MEMORY_MB", "800");
                certify(&self.authority, 30);
                self.edge.restart().await;
            }
            DrillFault::FullJournalDisk => self.disk.iter().for_each(SmallDisk::empty),
            DrillFault::KilledBroker => {
                self.set_rate(RATE);
                self.broker.restart().await;
            }
            DrillFault::SuspendedBroker => self.broker.process().resume(),
            DrillFault::KilledCentral => self.central.restart().await,
            DrillFault::CentralWithoutHot | DrillFault::KilledHot => {
                self.set_rate(RATE);
                self.hot.restart().await;
            }
            DrillFault::KilledCold => self.cold.restart().await,
            DrillFault::DeletedRows => {
                // What earlier drills lost stays lost, so the exit status says nothing of these rows.
                until("the rows are restored", PATIENCE, || async {
                    let (_, text, errors) = self.central.ask(&["repair", "--table", "trades"]).await;
                    let rows = self.hot.number(&self.span).await?;
                    if rows >= self.rows {
                        Ok(())
                    } else {
                        Err(format!("{rows} of {}: {text}{errors}", self.rows))
                    }
                })
                .await;
            }
            DrillFault::UnsignedVersion
            | DrillFault::PurgedStream
            | DrillFault::StrangeMessage
            | DrillFault::HotPutBack
            | DrillFault::GapsInTrades => {}
        }
    }

    fn set_rate(&self, rate: u64) {
        self.sim.change_settings(|settings| settings.rate = rate);
    }

    async fn reload(&self, is_valid: bool) {
        let (status, answer) = self.edge.post("/reload", TOKEN).await;
        assert_eq!(status == 200, is_valid, "reload: {status} {answer}");
    }

    /// Central is down while messages arrive and expire.
    async fn purge_behind_central(&mut self) {
        self.central.kill();
        let stream = {
            let client = async_nats::connect(self.broker.url()).await.unwrap();
            jetstream::new(client).get_stream(STREAM).await.unwrap()
        };
        let before = stream.cached_info().state.last_sequence;
        eventually("messages come that central has not seen", || async {
            let last = stream.get_info().await.map_err(|error| error.to_string())?.state.last_sequence;
            if last > before + 100 { Ok(()) } else { Err(format!("{last}")) }
        })
        .await;
        stream.purge().await.unwrap();
        self.central.restart().await;
    }

    /// Of windows that are verified and copied.
    async fn delete_rows(&mut self) {
        let now = "SELECT toUInt64(toUnixTimestamp(now()))";
        let now = self.hot.number(now).await.unwrap();
        let span = format!(
            "FROM marketprism_hot.trades WHERE toUnixTimestamp(received_at) BETWEEN {} AND {}",
            now - 60,
            now - 30
        );
        self.span = format!("SELECT count() {span}");
        self.rows = self.hot.number(&self.span).await.unwrap();
        assert!(self.rows > 20, "{} rows", self.rows);
        let delete = format!(
            "ALTER TABLE marketprism_hot.trades DELETE WHERE event_id IN (SELECT event_id {span} LIMIT 20) SETTINGS mutations_sync = 2"
        );
        self.hot.text(&delete).await.unwrap();
    }

    async fn put_hot_back(&mut self) {
        self.hot.stop().await;
        self.hot.copy_data();
        self.hot.restart().await;
        let hot = &self.hot;
        let newest = "SELECT toUInt64(max(stream_seq)) FROM marketprism_hot.trades";
        let before = hot.number(newest).await.unwrap();
        hot.reaches(newest, before + 101).await;
        self.hot.stop().await;
        self.hot.put_back();
        self.hot.restart().await;
    }
}

/// Puts an authority that began long ago and ends in so many days into the place of another.
fn certify(authority: &Path, days: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(days * 86_400);
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    std::fs::write(authority, certificate.pem()).unwrap();
}
