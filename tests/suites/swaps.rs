//! Promise: adapters change while frames flow. No event is lost or doubled, books go on, and a version that is worse never stays.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use marketprism_adapter_host::fixtures::{FixtureKind, component};
use marketprism_adapter_host::{component_digest, with_custom_section};
use marketprism_broken_adapters::SwapFault;
use marketprism_schema::Body;
use marketprism_tests::broker::Broker;
use marketprism_tests::edge::{Edge, Feed, keygen, sign};
use marketprism_tests::parts;
use marketprism_tests::trace_collector::TraceCollector;
use marketprism_tests::wait::eventually;
use marketprism_venue_sim::{Sim, SimConfig};
use serde_json::Value;

use self::told::{are_told, are_traced, told_changes};
use self::venue::LATE;
pub use self::venue::SoundVenue;
use crate::edge_audits::{broker_with_streams, events_of, messages};

mod told;
mod venue;

const EXCHANGE: &str = "binance_spot";
const TOKEN: (&str, &str) = ("MARKETPRISM_HTTP__TOKEN", "a token for tests only");

/// An edge with a broker, and the keys of its operator.
struct SwappedEdge {
    edge: Edge,
    broker: Broker,
    collector: TraceCollector,
    folder: tempfile::TempDir,
}

impl SwappedEdge {
    async fn start(feed: Feed, probation_ms: u64) -> Self {
        let (folder, broker) = broker_with_streams().await;
        let key = keygen(&folder.path().join("key"));
        keygen(&folder.path().join("stranger"));
        let watched = folder.path().join("watched");
        std::fs::create_dir(&watched).unwrap();
        let tables = format!(
            "[adapters]\ntrusted_keys = [{key:?}]\nwatch_dir = {watched:?}\nshadow_frames = 40\nshadow_ms = 0\nprobation_ms = {probation_ms}\n[sandbox]\ncall_deadline_ms = 5000"
        );
        let collector = TraceCollector::start().await;
        let traces = format!("[traces]\nendpoint = {:?}\none_message_in = 0\n", collector.endpoint());
        let nats = format!("urls = [{:?}]\n{traces}{tables}", broker.url());
        let mut edge = Edge::prepared(folder.path(), &nats, &[feed]).with_variable(TOKEN.0, TOKEN.1);
        edge.restart().await;
        eventually("the edge is ready", || edge.get("/ready")).await;
        Self { edge, broker, collector, folder }
    }

    /// Runs `adapter` with these arguments for the edge: exit status and output.
    async fn adapter(&self, arguments: &[&str]) -> (Option<i32>, String) {
        self.adapter_with(arguments, TOKEN.1).await
    }

    async fn adapter_with(&self, arguments: &[&str], token: &str) -> (Option<i32>, String) {
        self.command(&[&["adapter"], arguments].concat(), token).await
    }

    async fn command(&self, arguments: &[&str], token: &str) -> (Option<i32>, String) {
        let config = self.edge.folder().join("edge.toml");
        let mut command = tokio::process::Command::new(parts::binary("marketprism-edge"));
        command.args(arguments).arg("--config").arg(config).env(TOKEN.0, token);
        let output = command.output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    async fn load(&self, file: &Path) -> (Option<i32>, String) {
        self.adapter(&["load", file.to_str().unwrap()]).await
    }

    fn sign(&self, component: &[u8], name: &str, key: &str, golden: Option<&Path>) -> PathBuf {
        sign(self.folder.path(), component, name, key, golden)
    }

    async fn page(&self) -> Value {
        serde_json::from_str(&self.edge.get("/adapters").await.unwrap()).unwrap()
    }

    async fn running_digest(&self) -> String {
        self.page().await["feeds"][0]["digest"].as_str().unwrap().to_owned()
    }

    /// The newest change.
    async fn last(&self) -> Value {
        self.page().await["swaps"].as_array().unwrap().last().unwrap().clone()
    }

    /// Ids and sides of the trades in the broker, but those of [`LATE`], and the adapters that they name.
    async fn trades(&self) -> (Vec<(u64, String)>, BTreeSet<String>) {
        let (mut trades, mut adapters) = (Vec::new(), BTreeSet::new());
        for message in messages(&self.broker, "MARKET_DATA").await {
            for event in events_of(&message) {
                if let Body::Trade(trade) = &event.body
                    && event.header.symbol != LATE
                {
                    trades.push((trade.trade_id.parse().unwrap(), format!("{:?}", trade.side)));
                    adapters.insert(event.header.adapter.to_string());
                }
            }
        }
        trades.sort();
        (trades, adapters)
    }
}

fn digest(file: &Path) -> String {
    component_digest(&std::fs::read(file).unwrap())
}

async fn epochs(edge: &Edge) -> Vec<(String, u64)> {
    eventually("the books are live", || async {
        let page: Value = serde_json::from_str(&edge.get("/coverage").await?).unwrap();
        let instruments = page["feeds"][0]["instruments"].as_array().unwrap().clone();
        let book = |one: Value| {
            let epoch =
                (one["orderbook"]["state"] == "LIVE").then(|| one["orderbook"]["epoch"].as_u64())??;
            Some((one["symbol"].as_str()?.to_owned(), epoch))
        };
        let live: Option<Vec<_>> = instruments.into_iter().map(book).collect();
        live.ok_or_else(|| page.to_string())
    })
    .await
}

async fn strangers_are_refused(swapped: &SwappedEdge, component: &[u8]) {
    for command in [["load", parts::adapter("binance").to_str().unwrap()], ["rollback", "binance"]] {
        let (status, text) = swapped.adapter_with(&command, "a token of a stranger").await;
        assert!(status == Some(2) && text.contains("wrong token"), "{text}");
    }
    let (status, text) = swapped.load(&parts::adapter("binance")).await;
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("step signature: component has no signature"), "{text}");
    let strange = swapped.sign(component, "strange", "stranger", None);
    let (status, text) = swapped.load(&strange).await;
    assert!(status == Some(1) && text.contains("fits none of the 1 keys"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_change_while_frames_flow_and_a_restart_has_the_last_good_one() {
    let symbols = ["BTCUSDT", "ETHUSDT"].map(str::to_owned).to_vec();
    let exchanges = vec![EXCHANGE.to_owned()];
    let sim = SimConfig {
        exchanges,
        symbols: symbols.clone(),
        rate: 200,
        start_paused: true,
        ..SimConfig::default()
    };
    let sim = Sim::start(sim).await.unwrap();
    let feed = Feed::simulated(EXCHANGE, &sim.addr().to_string(), &["BTC-USDT", "ETH-USDT"]);
    let built = std::fs::read(&feed.adapter).unwrap();
    let mut swapped = SwappedEdge::start(feed, 100).await;
    sim.resume();
    let untouched = epochs(&swapped.edge).await;
    let version = |number: u8| with_custom_section(&built, "version", &[number]);

    strangers_are_refused(&swapped, &version(0)).await;

    let golden = parts::root().join("adapters/binance");
    let mut digests = Vec::new();
    for number in 1..=3 {
        let file = swapped.sign(&version(number), "new", "key", (number == 1).then_some(golden.as_path()));
        let (status, text) = swapped.load(&file).await;
        assert_eq!(status, Some(0), "{text}");
        digests.push(digest(&file));
        assert_eq!(swapped.running_digest().await, digests[digests.len() - 1]);
        println!("version {number}: pauses {} us", swapped.last().await["pauses_us"]);
    }
    // Moved there whole: written there, it could be looked at before it is signed.
    let signed = swapped.sign(&version(4), "four", "key", None);
    digests.push(digest(&signed));
    std::fs::rename(&signed, swapped.folder.path().join("watched/four.wasm")).unwrap();
    eventually("the version in the watched folder runs", || async {
        let last = swapped.last().await;
        let is_promoted = last["digest"] == digests[3].as_str() && last["outcome"] == "promoted";
        if is_promoted { Ok(()) } else { Err(last.to_string()) }
    })
    .await;
    assert_eq!(epochs(&swapped.edge).await, untouched, "books went on");
    sim.pause();
    let mut sent: Vec<u64> = Vec::new();
    for symbol in &symbols {
        sent.extend(
            sim.all_trades(EXCHANGE, symbol)
                .unwrap()
                .iter()
                .map(|trade| trade.trade_id.parse::<u64>().unwrap()),
        );
    }
    sent.sort_unstable();
    eventually("every trade is in the broker", || async {
        let (trades, adapters) = swapped.trades().await;
        let ids: Vec<u64> = trades.into_iter().map(|(id, _)| id).collect();
        let is_named = digests.iter().all(|digest| adapters.iter().any(|id| id.ends_with(&digest[..12])));
        let state = format!("{} of {} trades, adapters {adapters:?}", ids.len(), sent.len());
        if ids == sent && is_named { Ok(()) } else { Err(state) }
    })
    .await;
    assert_eq!(swapped.edge.metric("marketprism_edge_adapter_swaps_total", "promoted").await, 4);
    are_traced(&swapped.collector).await;

    are_told(&swapped.broker, &digests).await;

    swapped.edge.restart().await;
    assert_eq!(swapped.running_digest().await, digests[3], "the last good one");
    assert_eq!(swapped.last().await["outcome"], "promoted", "the history is kept");
    eventually("the edge is ready", || swapped.edge.get("/ready")).await;
    let (status, text) = swapped.adapter(&["rollback", "binance"]).await;
    assert!(status == Some(0) && swapped.running_digest().await == digests[2], "{text}");
    eventually("the rollback is reported, and no earlier change has a second entry", || async {
        let told = told_changes(&swapped.broker).await;
        let outcomes: Vec<&str> = told.values().map(|change| change.outcome.as_str()).collect();
        let promoted = ["promoted"; 4];
        let expected = [&["refused"; 2][..], &promoted, &["rolled_back"]].concat();
        if outcomes == expected { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

/// The venue names the intervals of funding in the first message of a subscription alone, and the instance of a new version begins behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_has_not_seen_the_first_messages_gives_the_same_rates_and_open_interest() {
    const TICKERS: &str = "bybit_derivatives";
    let sim = SimConfig {
        exchanges: vec![TICKERS.to_owned()],
        symbols: ["BTCUSDT", "ETHUSDT"].map(str::to_owned).to_vec(),
        event_ms: Some(200),
        ..SimConfig::default()
    };
    let sim = Sim::start(sim).await.unwrap();
    let collected = ["funding_rate", "open_interest"];
    let feed = Feed::simulated(TICKERS, &sim.addr().to_string(), &["BTC-USDT", "ETH-USDT"]);
    let feed = Feed { data_types: collected.map(str::to_owned).to_vec(), ..feed };
    let built = std::fs::read(&feed.adapter).unwrap();
    let swapped = SwappedEdge::start(feed, 100).await;
    for data_type in collected {
        swapped.edge.reaches("marketprism_edge_events_total", data_type, 4).await;
    }
    let file = swapped.sign(&with_custom_section(&built, "version", &[1]), "new", "key", None);
    let (status, text) = swapped.load(&file).await;
    assert_eq!((status, swapped.last().await["outcome"].as_str()), (Some(0), Some("promoted")), "{text}");
    assert_eq!(swapped.running_digest().await, digest(&file));
}

/// Versions with a fault from their start, with the step that refuses them and a text of the cause.
const REFUSED: [(SwapFault, &str, &str); 4] = [
    (SwapFault::OtherVenue, "feeds", "describes sound otherwise: capabilities[1] is "),
    (SwapFault::OtherInstruments, "instruments", "BTC-USD: "),
    (SwapFault::OtherPlan, "plan", "connections[0] is "),
    (SwapFault::WrongSide, "shadow", "differences that are not accepted: trade in "),
];

#[tokio::test(flavor = "multi_thread")]
async fn broken_versions_are_refused_or_rolled_back_and_cost_no_event() {
    let venue = SoundVenue::start().await;
    let built = std::fs::read(parts::adapter("broken-adapters")).unwrap();
    // Longer than any wait of this test: a version that is not rolled back does not pass.
    let mut swapped = SwappedEdge::start(venue.feed(), 600_000).await;
    let broken = |fault: SwapFault| fault.put(&built).unwrap();

    for (kind, step) in [(FixtureKind::Contract("2.0.0"), "contract"), (FixtureKind::CoreModule, "compile")] {
        let file = swapped.sign(&component(kind), "fixture", "key", None);
        let (status, text) = swapped.load(&file).await;
        assert!(status == Some(1) && text.contains(&format!("step {step}: ")), "{kind:?}: {text}");
    }
    venue.is_marked.store(true, Ordering::SeqCst);
    for (fault, step, cause) in REFUSED {
        let (status, text) = swapped.load(&swapped.sign(&broken(fault), "broken", "key", None)).await;
        assert_eq!((status, swapped.last().await["outcome"].as_str()), (Some(1), Some("refused")), "{text}");
        assert!(text.contains(&format!("step {step}: ")) && text.contains(cause), "{fault:?}: {text}");
    }
    for fault in [SwapFault::Trap, SwapFault::Silent] {
        unmark(&swapped, &venue).await;
        let file = swapped.sign(&broken(fault), "later", "key", None);
        let (loaded, ()) = tokio::join!(swapped.load(&file), async {
            eventually("the new version runs", || async {
                let last = swapped.last().await;
                last["step"] == "probation" && last["outcome"] == "running"
            })
            .await;
            venue.is_marked.store(true, Ordering::SeqCst);
        });
        let last = swapped.last().await;
        assert_eq!((loaded.0, last["outcome"].as_str()), (Some(1), Some("rolled_back")), "{fault:?}: {last}");
        assert!(loaded.1.contains("step probation: sound: "), "{fault:?}: {}", loaded.1);
    }
    a_part_that_begins_on_probation_rolls_back(&swapped, &venue, &broken(SwapFault::Trap)).await;
    assert_eq!(swapped.running_digest().await, component_digest(&built));
    venue.pause();
    eventually("every trade is in the broker once, with its side", || async {
        let (trades, _) = swapped.trades().await;
        let sent: Vec<_> =
            (1..=venue.next_id.load(Ordering::SeqCst)).map(|id| (id, "Buy".to_owned())).collect();
        if trades == sent { Ok(()) } else { Err(format!("{} of {} trades", trades.len(), sent.len())) }
    })
    .await;
    let (status, text) = swapped.adapter(&["list"]).await;
    assert!(status == Some(0) && text.contains("rolled_back at step probation"), "{text}");
    assert!(swapped.edge.process().is_running());
    venue.stop();
}

/// Returns when no marked frame is left: one may be on its way, and one being written, and unmarked ones follow them.
async fn unmark(swapped: &SwappedEdge, venue: &SoundVenue) {
    venue.is_marked.store(false, Ordering::SeqCst);
    let id = venue.next_id.load(Ordering::SeqCst);
    eventually("the marked frames are processed", || async {
        let (trades, _) = swapped.trades().await;
        trades.last().is_some_and(|(newest, _)| *newest > id + 1)
    })
    .await;
}

/// Its frames alone make the new version fault. The reload is that of the command line.
async fn a_part_that_begins_on_probation_rolls_back(swapped: &SwappedEdge, venue: &SoundVenue, new: &[u8]) {
    unmark(swapped, venue).await;
    let file = swapped.sign(new, "late", "key", None);
    let trial = async |parts: u64| {
        let last = swapped.last().await;
        let is_on_trial =
            last["step"] == "probation" && last["outcome"] == "running" && last["parts"] == parts;
        is_on_trial.then_some(()).ok_or_else(|| last.to_string())
    };
    let (loaded, ()) = tokio::join!(swapped.load(&file), async {
        eventually("the new version runs", || trial(1)).await;
        let feed = venue.feed();
        swapped.edge.set_feeds(&[Feed { symbols: vec!["BTC-USD".to_owned(), LATE.to_owned()], ..feed }]);
        let (status, text) = swapped.command(&["reload"], "a token of a stranger").await;
        assert!(status == Some(2) && text.contains("wrong token"), "{text}");
        let (status, text) = swapped.command(&["reload"], TOKEN.1).await;
        assert!(status == Some(0) && text.contains("symbols added: ETH-USD"), "{text}");
        eventually("the new part is on trial", || trial(2)).await;
        venue.is_late_marked.store(true, Ordering::SeqCst);
    });
    let last = swapped.last().await;
    assert_eq!((loaded.0, last["outcome"].as_str()), (Some(1), Some("rolled_back")), "{last}");
    assert!(loaded.1.contains("step probation: sound: adapter fault trap"), "{}", loaded.1);
    let page = swapped.page().await;
    let ids: BTreeSet<&str> =
        page["feeds"].as_array().unwrap().iter().map(|feed| feed["id"].as_str().unwrap()).collect();
    assert_eq!((page["feeds"].as_array().unwrap().len(), ids.len()), (2, 1), "{page}");
    let lost = swapped.edge.metric("marketprism_edge_lost_events_total", "").await;
    assert_eq!((lost, swapped.edge.metric("marketprism_edge_adapter_faults_total", "").await > 0), (0, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_adapter_faults_on_says_nothing_about_the_venues_history() {
    let (venue, folder) = (SoundVenue::start().await, tempfile::tempdir().unwrap());
    let adapter = folder.path().join("trap.wasm");
    let sound = std::fs::read(parts::adapter("broken-adapters")).unwrap();
    std::fs::write(&adapter, SwapFault::Trap.put(&sound).unwrap()).unwrap();
    let broker = Broker::start(folder.path()).await;
    let feed = Feed { adapter, backfill: true, ..venue.feed() };
    let edge = Edge::start(folder.path(), &broker.nats(), &[feed]).await;
    let trades = async |outcome| edge.metric("marketprism_edge_backfill_trades_total", outcome).await;
    edge.reaches("marketprism_edge_frames_total", "sound", 1).await;
    venue.next_id.fetch_add(2, Ordering::SeqCst);
    // One request more than the answers without a trade after which the history is known not to have it.
    edge.reaches("marketprism_edge_backfill_requests_total", "sound", 4).await;
    assert!(trades("requested").await > 0);
    assert_eq!(trades("not_served").await, 0);
}
