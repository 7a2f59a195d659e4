//! Promise: a changed configuration is applied while frames flow; what it does not change keeps its sockets, books and epochs, and an invalid
//! one changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use marketprism_schema::{AuditPayload, Body, DowntimeReason, Gap, GapCause, GapKind, decode_audit_payload};
use marketprism_tests::broker::Broker;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::wait::{PATIENCE, eventually};
use marketprism_venue_sim::{Sim, SimConfig};
use serde_json::Value;

use crate::edge_audits::{audits, broker_with_streams, events_of, messages};

const STAYS: &str = "okx_spot";
const CHANGES: &str = "binance_spot";
const RESTARTS: &str = "bybit_derivatives";
const SIZED: &str = "okx_derivatives";
const TOKEN: &str = "a token for tests only";
const POOL: [&str; 5] = ["AAA", "BBB", "CCC", "DDD", "EEE"];

/// Repeatable: a failure names its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn is_even(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// Symbols of an exchange that are collected, with state and epoch of their books.
fn collected(page: &Value, exchange: &str) -> BTreeMap<String, (String, u64)> {
    let feeds = page["feeds"].as_array().unwrap().iter().filter(|feed| feed["exchange"] == exchange);
    let instruments = feeds.flat_map(|feed| feed["instruments"].as_array().unwrap());
    let listed = instruments.filter(|one| one["ended"].is_null());
    listed
        .map(|one| {
            let book = &one["orderbook"];
            let state = book["state"].as_str().unwrap_or_default().to_owned();
            (one["symbol"].as_str().unwrap().to_owned(), (state, book["epoch"].as_u64().unwrap_or_default()))
        })
        .collect()
}

/// Waits until exactly these symbols of an exchange are collected, with live books.
async fn wait_for(edge: &Edge, exchange: &str, symbols: &[String]) -> BTreeMap<String, (String, u64)> {
    eventually("the symbols are collected", || async {
        let found = collected(&edge.coverage().await, exchange);
        let is_right = found.keys().eq(&symbols.iter().cloned().collect::<BTreeSet<_>>());
        let is_live = found.values().all(|(state, _)| state == "LIVE");
        if is_right && is_live { Ok(found) } else { Err(format!("{exchange} {symbols:?}: {found:?}")) }
    })
    .await
}

fn sockets(sim: &Sim, exchange: &str) -> BTreeSet<u64> {
    let all = sim.connections().into_iter().filter(|connection| connection.exchange == exchange);
    all.map(|connection| connection.id).collect()
}

fn symbols(bases: &[&str]) -> Vec<String> {
    bases.iter().map(|base| format!("{base}-USDT")).collect()
}

fn feed(sim: &Sim, exchange: &str, bases: &[&str], extra: &str) -> Feed {
    let names = symbols(bases);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let feed = Feed::simulated(exchange, &sim.addr().to_string(), &names);
    Feed { extra: extra.to_owned(), ..feed }
}

/// Random bases of the pool after those that are always there.
fn draw(dice: &mut Dice, always: &[&'static str]) -> Vec<&'static str> {
    always.iter().copied().chain(POOL.into_iter().filter(|_| dice.is_even())).collect()
}

async fn start(folder: &std::path::Path, nats: &str, sim: &Sim) -> Edge {
    let tables = "[audit]\nwindow_seconds = 1\nsettle_ms = 300";
    let feeds = [feed(sim, STAYS, &["BTC", "ETH"], ""), feed(sim, CHANGES, &["BTC"], "")];
    let edge = Edge::prepared(folder, &format!("urls = [{nats:?}]\n{tables}"), &feeds);
    let mut edge = edge.with_variable("MARKETPRISM_HTTP__TOKEN", TOKEN);
    edge.restart().await;
    edge
}

/// Valid changes, and as many invalid ones; `RELOAD_ROUNDS=50` is the long form.
fn rounds() -> u64 {
    std::env::var("RELOAD_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10)
}

async fn sim() -> Sim {
    let bases = || ["BTC", "ETH"].into_iter().chain(POOL);
    let config = SimConfig {
        exchanges: [STAYS, CHANGES, RESTARTS].map(str::to_owned).to_vec(),
        symbols: bases().map(|base| format!("{base}USDT")).collect(),
        rate: 200,
        ..SimConfig::default()
    };
    Sim::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn random_changes_under_load_touch_nothing_else_and_invalid_ones_change_nothing() {
    let (folder, broker) = broker_with_streams().await;
    let sim = sim().await;
    let mut edge = start(folder.path(), &broker.url(), &sim).await;
    let untouched = wait_for(&edge, STAYS, &symbols(&["BTC", "ETH"])).await;
    let kept = wait_for(&edge, CHANGES, &symbols(&["BTC"])).await;
    let before = (sockets(&sim, STAYS), sockets(&sim, CHANGES));
    let mut dice = Dice(1);
    let (mut restarting, mut ended) = (Vec::new(), BTreeSet::new());
    let mut now = vec!["BTC"];
    let rounds = rounds();
    for round in 0..rounds {
        let next = draw(&mut dice, &["BTC"]);
        ended.extend(symbols(&now).into_iter().filter(|symbol| !symbols(&next).contains(symbol)));
        now = next;
        restarting = if dice.below(3) == 0 { Vec::new() } else { draw(&mut dice, &["ETH"]) };
        let depth = format!("depth = {}", 20 + dice.below(3) * 10);
        let feeds = [
            feed(&sim, RESTARTS, &restarting, &depth),
            feed(&sim, CHANGES, &now, ""),
            feed(&sim, STAYS, &["BTC", "ETH"], ""),
        ];
        edge.set_feeds(&feeds[usize::from(restarting.is_empty())..]);
        let (status, answer) = edge.post("/reload", TOKEN).await;
        assert_eq!(status, 200, "round {round}: {answer}");
        wait_for(&edge, CHANGES, &symbols(&now)).await;
        wait_for(&edge, RESTARTS, &symbols(&restarting)).await;

        let invalid = format!("depth = {}\nno_such_key = {round}", dice.below(9) * 100_000 + 100_000);
        edge.set_feeds(&[feed(&sim, CHANGES, &["BTC"], &invalid)]);
        let (status, answer) = edge.post("/reload", TOKEN).await;
        assert_eq!((status, answer["errors"].as_array().unwrap().len()), (422, 2), "round {round}: {answer}");
    }
    let health: Value = serde_json::from_str(&edge.get("/health").await.unwrap()).unwrap();
    assert!(health["degraded"].to_string().contains("the configuration file is invalid"), "{health}");
    assert_eq!(edge.metric("marketprism_edge_reloads_total", "refused").await, rounds);
    assert_eq!(wait_for(&edge, STAYS, &symbols(&["BTC", "ETH"])).await, untouched, "states and epochs");
    assert_eq!(wait_for(&edge, CHANGES, &symbols(&now)).await["BTC-USDT"], kept["BTC-USDT"]);
    wait_for(&edge, RESTARTS, &symbols(&restarting)).await;
    assert_eq!(sockets(&sim, STAYS), before.0, "the same sockets");
    assert!(sockets(&sim, CHANGES).is_superset(&before.1), "the same socket beside others");
    assert!(edge.process().terminate(PATIENCE).await.success());
    check_audits(&broker, &ended).await;
}

/// Streams have no gaps but their starts and stops; removed ones end.
async fn check_audits(broker: &Broker, ended: &BTreeSet<String>) {
    let mut removed = BTreeSet::new();
    for message in messages(broker, "AUDIT").await {
        match decode_audit_payload(&message.payload).unwrap() {
            AuditPayload::Downtime(downtime) if downtime.reason == DowntimeReason::Removed => {
                let of_feed = downtime.streams.iter().filter(|stream| stream.exchange == CHANGES);
                removed.extend(of_feed.map(|stream| stream.symbol.clone()));
                assert!(downtime.streams.iter().all(|stream| stream.exchange != STAYS), "{downtime:?}");
            }
            AuditPayload::Downtime(_)
            | AuditPayload::Instruments(_)
            | AuditPayload::Changes(_)
            | AuditPayload::Correction(_) => {}
            AuditPayload::Audit(audit) => {
                // Restarts too: no connection is lost, no id is missing, no book is torn.
                for stream in &audit.streams {
                    let is_known = |kind| matches!(kind, GapKind::Start | GapKind::Stop);
                    assert!(stream.gaps.iter().all(|gap| is_known(gap.kind)), "{stream:?}");
                }
            }
        }
    }
    assert_eq!(removed, *ended);
}

/// Symbols and ids of the trades in the broker.
async fn stored_trades(broker: &Broker) -> Vec<(String, String)> {
    let mut ids = Vec::new();
    for message in messages(broker, "MARKET_DATA").await {
        for event in events_of(&message) {
            if let Body::Trade(trade) = event.body {
                ids.push((event.header.symbol.to_string(), trade.trade_id.to_string()));
            }
        }
    }
    ids
}

/// A feed that starts again opens its new connections before it closes the old ones: no trade is lost, and none is stored twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_starts_again_loses_and_doubles_no_trade() {
    let (folder, broker) = broker_with_streams().await;
    let config = SimConfig {
        exchanges: vec![CHANGES.to_owned()],
        symbols: vec!["BTCUSDT".to_owned()],
        rate: 1_000,
        start_paused: true,
        ..SimConfig::default()
    };
    let sim = Sim::start(config).await.unwrap();
    let deep = |depth: u32| [feed(&sim, CHANGES, &["BTC"], &format!("depth = {depth}"))];
    let edge = Edge::prepared(folder.path(), &broker.nats(), &deep(10));
    let mut edge = edge.with_variable("MARKETPRISM_HTTP__TOKEN", TOKEN);
    edge.restart().await;
    eventually("all connections are open", || async { edge.get("/ready").await }).await;
    sim.resume();
    wait_for(&edge, CHANGES, &symbols(&["BTC"])).await;
    let newest = || sim.all_trades(CHANGES, "BTCUSDT").unwrap().last().map_or(0, |trade| trade.id);
    let (mut overlapped, mut not_overlapped) = (0, Vec::new());
    for depth in [20, 30, 40].into_iter().cycle().take(9) {
        let (before, from) = (sockets(&sim, CHANGES), newest());
        edge.set_feeds(&deep(depth));
        let (status, answer) = edge.post("/reload", TOKEN).await;
        assert_eq!((status, &answer["feeds"][0]["change"]), (200, &"restarted".into()), "{answer}");
        eventually("the old connections are closed", || async {
            let now = sockets(&sim, CHANGES);
            if now.is_disjoint(&before) { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
        })
        .await;
        wait_for(&edge, CHANGES, &symbols(&["BTC"])).await;
        if answer["feeds"][0]["closed_first"].is_null() {
            overlapped += 1;
        } else {
            // A machine too busy to open a connection in time.
            eventually("all connections are open", || async { edge.get("/ready").await }).await;
            not_overlapped.push(from..=newest());
        }
        if overlapped == 3 {
            break;
        }
    }
    assert_eq!(overlapped, 3, "without overlap: {not_overlapped:?}");
    sim.pause();
    let sent = sim.all_trades(CHANGES, "BTCUSDT").unwrap();
    let sent: BTreeSet<u64> = sent.iter().map(|trade| trade.trade_id.parse().unwrap()).collect();
    eventually("every trade is in the broker, once", || async {
        let stored = stored_trades(&broker).await;
        let state = format!("{} stored, {} sent", stored.len(), sent.len());
        let found: BTreeSet<u64> = stored.iter().map(|(_, id)| id.parse().unwrap()).collect();
        let is_stored = |id: &u64| found.contains(id) || not_overlapped.iter().any(|ids| ids.contains(id));
        let is_once = found.len() == stored.len() && found.is_subset(&sent);
        if is_once && sent.iter().all(is_stored) { Ok(()) } else { Err(state) }
    })
    .await;
    assert!(edge.process().terminate(PATIENCE).await.success());
}

/// The new feed reads its list before the old one ends, which calculates by the earlier size until then. No list of the old one follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_finds_another_contract_size_leaves_a_gap_of_the_quantities_since_the_list_before() {
    let (folder, broker) = broker_with_streams().await;
    let config = SimConfig {
        exchanges: vec![SIZED.to_owned()],
        symbols: vec!["BTC-USDT-SWAP".to_owned()],
        rate: 200,
        ..SimConfig::default()
    };
    let sim = Sim::start(config).await.unwrap();
    let deep = |depth: u32| [feed(&sim, SIZED, &["BTC"], &format!("depth = {depth}"))];
    let nats = format!("urls = [{:?}]\n[audit]\nwindow_seconds = 1\nsettle_ms = 300", broker.url());
    let edge = Edge::prepared(folder.path(), &nats, &deep(10));
    let mut edge = edge.with_variable("MARKETPRISM_HTTP__TOKEN", TOKEN);
    edge.restart().await;
    wait_for(&edge, SIZED, &symbols(&["BTC"])).await;
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let changed_ns = i64::try_from(since_1970.as_nanos()).unwrap();
    sim.set_listed_size(SIZED, "BTC-USDT-SWAP", 10).unwrap();
    edge.set_feeds(&deep(20));
    let (status, answer) = edge.post("/reload", TOKEN).await;
    assert_eq!((status, &answer["feeds"][0]["change"]), (200, &"restarted".into()), "{answer}");
    wait_for(&edge, SIZED, &symbols(&["BTC"])).await;
    assert!(edge.process().terminate(PATIENCE).await.success());
    let mut doubtful = BTreeSet::new();
    for stream in audits(&broker).await.into_iter().flat_map(|audit| audit.streams) {
        let is_doubt = |gap: &Gap| gap.kind == GapKind::AdapterFault && gap.cause == GapCause::Venue;
        for gap in stream.gaps.iter().filter(|gap| is_doubt(gap)) {
            assert!(gap.from < changed_ns && changed_ns < gap.to, "{changed_ns}: {gap:?}");
            doubtful.insert(stream.id.data_type.as_str());
        }
    }
    assert_eq!(doubtful, ["orderbook", "trade"].into());
}

/// The answer to the first of twelve paced subscriptions closed the old connections. No id of such a trade shows what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_with_paced_subscriptions_that_starts_again_loses_and_doubles_no_trade() {
    let (folder, broker) = broker_with_streams().await;
    let (sim, bases) = crate::venue_with_60_symbols(RESTARTS).await;
    let bases: Vec<&str> = bases.iter().map(String::as_str).collect();
    let deep = |depth: u32| [feed(&sim, RESTARTS, &bases, &format!("depth = {depth}"))];
    let edge = Edge::prepared(folder.path(), &format!("urls = [{:?}]", broker.url()), &deep(20));
    let mut edge = edge.with_variable("MARKETPRISM_HTTP__TOKEN", TOKEN);
    edge.restart().await;
    wait_for(&edge, RESTARTS, &symbols(&bases)).await;
    eventually("each symbol has trades", || async {
        let stored: BTreeSet<String> = stored_trades(&broker).await.into_iter().map(|one| one.0).collect();
        if stored.len() == bases.len() { Ok(()) } else { Err(format!("{} symbols", stored.len())) }
    })
    .await;
    let before = sockets(&sim, RESTARTS);
    edge.set_feeds(&deep(30));
    let (status, answer) = edge.post("/reload", TOKEN).await;
    assert_eq!((status, &answer["feeds"][0]["change"]), (200, &"restarted".into()), "{answer}");
    assert!(answer["feeds"][0]["closed_first"].is_null(), "{answer}");
    eventually("the old connections are closed", || async {
        let now = sockets(&sim, RESTARTS);
        if now.is_disjoint(&before) { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
    })
    .await;
    wait_for(&edge, RESTARTS, &symbols(&bases)).await;
    sim.pause();
    eventually("every trade since the first one of its symbol is in the broker, once", || async {
        let stored = stored_trades(&broker).await;
        let found: BTreeSet<(String, String)> = stored.iter().cloned().collect();
        let missing = bases.iter().map(|base| {
            let sent = sim.all_trades(RESTARTS, &format!("{base}USDT")).unwrap();
            let sent = sent.into_iter().map(|trade| (format!("{base}-USDT"), trade.trade_id));
            let sent = sent.skip_while(|trade| !found.contains(trade));
            sent.filter(|trade| !found.contains(trade)).count()
        });
        let (missing, doubled) = (missing.sum::<usize>(), stored.len() - found.len());
        let state = format!("{missing} missing, {doubled} doubled");
        if (missing, doubled) == (0, 0) { Ok(()) } else { Err(state) }
    })
    .await;
    assert!(edge.process().terminate(PATIENCE).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_and_a_changed_file_reload_and_what_needs_a_restart_is_named() {
    let (folder, broker) = broker_with_streams().await;
    let sim = sim().await;
    let mut edge = start(folder.path(), &broker.url(), &sim).await;
    wait_for(&edge, CHANGES, &symbols(&["BTC"])).await;
    let path = edge.folder().join("edge.toml");
    let change = |from: &str, to: &str| {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
    };
    assert_eq!(edge.post("/reload", "a wrong token of this test").await.0, 401);
    let (status, answer) = edge.post("/reload", TOKEN).await;
    assert_eq!((status, &answer["result"], answer["kept"].as_u64()), (200, &"unchanged".into(), Some(2)));

    change("region = \"test\"", "region = \"other\"");
    let (status, answer) = edge.post("/reload", TOKEN).await;
    assert_eq!((status, &answer["result"]), (200, &"unchanged".into()), "{answer}");
    let key = &answer["needs_restart"][0];
    assert_eq!((&key["key"], &key["to"]), (&"edge.region".into(), &"\"other\"".into()), "{answer}");

    edge.set_feeds(&[feed(&sim, CHANGES, &["BTC", "AAA"], "")]);
    edge.process().signal("HUP");
    wait_for(&edge, CHANGES, &symbols(&["AAA", "BTC"])).await;
    wait_for(&edge, STAYS, &[]).await;
    let applied = async |edge: &Edge| edge.metric("marketprism_edge_reloads_total", "\"applied\"").await;
    eventually("the reload is counted", || async { applied(&edge).await == 1 }).await;

    change("watch_config = false", "watch_config = true");
    assert_eq!(edge.post("/reload", TOKEN).await.1["result"], "applied");
    edge.set_feeds(&[feed(&sim, CHANGES, &["AAA"], "")]);
    wait_for(&edge, CHANGES, &symbols(&["AAA"])).await;
    eventually("the connection without a stream is closed", || async {
        let open = sockets(&sim, CHANGES).len();
        if open == 1 { Ok(()) } else { Err(format!("{open} connections")) }
    })
    .await;

    // The venue refuses: nothing is changed.
    edge.set_feeds(&[feed(&sim, CHANGES, &["AAA"], "depth = 5"), feed(&sim, STAYS, &["BTC"], "")]);
    eventually("the added feed is collected", || async { applied(&edge).await == 4 }).await;
    wait_for(&edge, STAYS, &symbols(&["BTC"])).await;
    let before = sockets(&sim, STAYS);
    edge.set_feeds(&[feed(&sim, CHANGES, &["ETH"], "depth = 5"), feed(&sim, STAYS, &["NONE"], "")]);
    let (status, answer) = edge.post("/reload", TOKEN).await;
    assert_eq!((status, &answer["result"]), (409, &"failed".into()), "{answer}");
    assert!(answer["errors"][0].as_str().unwrap().contains("lists none of [\"NONE-USDT\"]"), "{answer}");
    wait_for(&edge, CHANGES, &symbols(&["AAA"])).await;
    assert_eq!(sockets(&sim, STAYS), before);
    assert!(edge.process().terminate(PATIENCE).await.success());
}
