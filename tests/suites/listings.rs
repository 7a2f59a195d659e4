//! Promise: a symbol that the venue does not list costs only itself, and instruments come and go without touching any other stream.

use std::collections::BTreeSet;

use marketprism_schema::{
    AuditPayload, DowntimeReason, EdgeChange, Gap, GapCause, GapKind, decode_audit_payload,
};
use marketprism_tests::broker::Broker;
use marketprism_tests::edge::{Edge, Feed, check_online};
use marketprism_tests::wait::{PATIENCE, becomes, eventually};
use marketprism_venue_sim::{FaultAction, FaultSpec, Sim, SimConfig};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::edge_audits::{audits, broker_with_streams, messages};

const EXCHANGE: &str = "binance_spot";
const AUDIT: &str = "[audit]\nwindow_seconds = 1\nsettle_ms = 300";

async fn sim(symbols: &[&str]) -> Sim {
    let symbols = symbols.iter().map(|&symbol| symbol.to_owned()).collect();
    let exchanges = vec![EXCHANGE.to_owned()];
    Sim::start(SimConfig { exchanges, symbols, rate: 200, ..SimConfig::default() }).await.unwrap()
}

fn feed(sim: &Sim, symbols: &[&str], extra: &str) -> Feed {
    let feed = Feed::simulated(EXCHANGE, &sim.addr().to_string(), symbols);
    Feed { extra: extra.to_owned(), ..feed }
}

/// Part, state of the book and its epoch, where the instrument is collected.
fn collected(page: &Value, symbol: &str) -> Option<(u64, String, u64)> {
    page["feeds"].as_array().unwrap().iter().find_map(|feed| {
        let instruments = feed["instruments"].as_array().unwrap().iter();
        let mut listed = instruments.filter(|one| one["symbol"] == symbol && one["ended"].is_null());
        let book = &listed.next()?["orderbook"];
        Some((feed["part"].as_u64()?, book["state"].as_str()?.to_owned(), book["epoch"].as_u64()?))
    })
}

/// Waits until the instrument's book is live, and returns part and epoch.
async fn live(edge: &Edge, symbol: &str) -> (u64, u64) {
    eventually("the book is live", || async {
        match collected(&edge.coverage().await, symbol) {
            Some((part, state, epoch)) if state == "LIVE" => Ok((part, epoch)),
            other => Err(format!("{symbol}: {other:?}")),
        }
    })
    .await
}

/// Part and epoch of these symbols, once all their books are live.
async fn epochs(edge: &Edge, symbols: &[String]) -> Vec<(u64, u64)> {
    eventually("the books are live", || async {
        let page = edge.coverage().await;
        let of = |symbol: &String| match collected(&page, symbol) {
            Some((part, state, epoch)) if state == "LIVE" => Ok((part, epoch)),
            other => Err(format!("{symbol}: {other:?}")),
        };
        symbols.iter().map(of).collect::<Result<Vec<_>, String>>()
    })
    .await
}

async fn not_listed(edge: &Edge, expected: &[&str]) {
    eventually("the symbols that are not listed are named", || async {
        let page = edge.coverage().await;
        let named = &page["feeds"][0]["not_listed"];
        if *named == json!(expected) { Ok(()) } else { Err(named.to_string()) }
    })
    .await;
}

/// They are counted after they show.
async fn changes_are(edge: &Edge, expected: [(&str, u64); 2]) {
    for (change, expected) in expected {
        eventually("the change is counted", || async {
            let label = format!("\"{change}\"");
            let count = edge.metric("marketprism_edge_listing_changes_total", &label).await;
            assert!(count <= expected, "{change}: {count}");
            if count == expected { Ok(()) } else { Err(format!("{change}: {count}")) }
        })
        .await;
    }
}

/// Waits until only the first part is left.
async fn alone(edge: &Edge) {
    eventually("the part of the delisted instrument has ended", || async {
        let parts = edge.coverage().await["feeds"].as_array().unwrap().len();
        if parts == 1 { Ok(()) } else { Err(format!("{parts} parts")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instruments_come_and_go_and_touch_no_other_stream() {
    let (folder, broker) = broker_with_streams().await;
    let others: Vec<String> = (0..300).map(|number| format!("A{number}USDT")).collect();
    let listed = ["BTCUSDT", "SOLUSDT", "STXUSDT"].into_iter().chain(others.iter().map(String::as_str));
    let sim = sim(&listed.collect::<Vec<_>>()).await;
    sim.set_rate(1_000);
    sim.set_listed(EXCHANGE, "SOLUSDT", false).unwrap();
    // Snapshots of 100 levels have the smallest weight.
    let extra = "listing_interval_ms = 1000\ndepth = 50\nexclude = [\"STX-*\"]";
    let feed = feed(&sim, &["BTC-USDT", "A*-USDT", "GONE-USDT", "S*-USDT"], extra);
    let nats = format!("urls = [{:?}]\n{AUDIT}", broker.url());
    let mut edge = Edge::start(folder.path(), &nats, &[feed]).await;
    let others = others.iter().map(|symbol| symbol.replace("USDT", "-USDT"));
    let others: Vec<String> = ["BTC-USDT".to_owned()].into_iter().chain(others).collect();
    let untouched = epochs(&edge, &others).await;
    let sockets = || -> BTreeSet<u64> { sim.connections().iter().map(|connection| connection.id).collect() };
    let before = sockets();
    not_listed(&edge, &["GONE-USDT", "S*-USDT"]).await;
    let health: Value = serde_json::from_str(&edge.get("/health").await.unwrap()).unwrap();
    assert_eq!(health["status"], "degraded", "{health}");
    assert!(health["degraded"].to_string().contains("GONE-USDT, S*-USDT"), "{health}");
    assert_eq!(edge.metric("marketprism_edge_symbols_not_listed", EXCHANGE).await, 2);

    for part in [1, 2] {
        sim.set_listed(EXCHANGE, "SOLUSDT", true).unwrap();
        assert_eq!(live(&edge, "SOL-USDT").await.0, part);
        not_listed(&edge, &["GONE-USDT"]).await;
        sim.set_listed(EXCHANGE, "SOLUSDT", false).unwrap();
        alone(&edge).await;
    }
    assert_eq!(epochs(&edge, &others).await, untouched, "parts and epochs");
    eventually("the same sockets are left", || async {
        let now = sockets();
        assert!(now.is_superset(&before), "{before:?} before, now {now:?}");
        if now == before { Ok(()) } else { Err(format!("{before:?} before, now {now:?}")) }
    })
    .await;
    assert!(collected(&edge.coverage().await, "STX-USDT").is_none(), "excluded");
    changes_are(&edge, [("listed", 2), ("delisted", 2)]).await;

    // Other terms: the instrument moves to a part of its own, the others stay.
    sim.set_listed_ticks(EXCHANGE, "A3USDT", 5).unwrap();
    becomes("the instrument has moved", || async { live(&edge, "A3-USDT").await.0 }, |part| *part == 3).await;
    let but_moved = |all: Vec<(u64, u64)>| -> Vec<_> {
        all.into_iter().enumerate().filter(|(index, _)| *index != 4).map(|(_, one)| one).collect()
    };
    assert_eq!(but_moved(epochs(&edge, &others).await), but_moved(untouched), "parts and epochs");
    assert!(sockets().is_superset(&before), "the same sockets beside a new one");
    assert!(edge.process().terminate(PATIENCE).await.success());
    check_audits(&broker).await;
}

/// While the ranking cannot be read.
async fn names_the_ranking(edge: &Edge) {
    assert_eq!(live(edge, "BTC-USDC").await.0, 0, "the named one is collected without the ranking");
    eventually("the ranking is named", || async {
        let page = edge.coverage().await;
        let health = edge.get("/health").await?;
        let unreadable = edge.metric("marketprism_edge_ranking_unreadable", EXCHANGE).await;
        let is_told = page["feeds"][0]["ranking_problem"].as_str().is_some_and(|text| text.contains("500"))
            && health.contains("the venue's ranking cannot be read")
            && unreadable == 1;
        if is_told {
            Ok(())
        } else {
            Err(format!("{unreadable} {health} {}", page["feeds"][0]["ranking_problem"]))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_markets_of_the_ranking_are_collected_and_others_take_their_places() {
    let (folder, broker) = broker_with_streams().await;
    let names: Vec<String> = (10..22).map(|number| format!("R{number}USDT")).collect();
    let sim = sim(&names.iter().map(String::as_str).chain(["BTCUSDC"]).collect::<Vec<_>>()).await;
    let extra = "listing_interval_ms = 1000\ntop = { by = \"volume_24h\", count = 10 }";
    let feed = feed(&sim, &["*-USDT", "BTC-USDC"], extra);
    let nats = format!("urls = [{:?}]\n{AUDIT}", broker.url());
    let busy = FaultSpec::new(FaultAction::RestStatus).path("ticker/24hr");
    let busy = sim.fault(FaultSpec { status: Some(500), count: Some(1_000), ..busy }).unwrap();
    let mut edge = Edge::start(folder.path(), &nats, &[feed]).await;
    names_the_ranking(&edge).await;
    assert!(sim.remove_fault(busy));
    // Those of the greatest turnover are listed first.
    let first: Vec<String> = (10..20).map(|number| format!("R{number}-USDT")).collect();
    let untouched = epochs(&edge, &first[..9]).await;
    assert_eq!(live(&edge, "R19-USDT").await.0, 1, "they come once it can be read");
    assert!(collected(&edge.coverage().await, "R20-USDT").is_none());

    // Neighbours change places: the list is read again, and nothing changes until a third one rises to the top.
    sim.set_turnover(EXCHANGE, "R20USDT", 999_991).unwrap();
    sim.set_turnover(EXCHANGE, "R19USDT", 999_990).unwrap();
    let ranks = async || -> Vec<String> {
        let page = edge.coverage().await;
        let ranked = page["feeds"][0]["ranked"].as_array().unwrap().clone();
        ranked.iter().map(|one| format!("{} {}", one["rank"], one["symbol"].as_str().unwrap())).collect()
    };
    eventually("the ranks are those of the new list", || async {
        let ranks = ranks().await;
        if ranks.last().is_some_and(|last| last == "11 R19-USDT") {
            Ok(())
        } else {
            Err(format!("{ranks:?}"))
        }
    })
    .await;
    assert!(collected(&edge.coverage().await, "R20-USDT").is_none(), "no place is free");
    sim.set_turnover(EXCHANGE, "R21USDT", 2_000_000).unwrap();
    assert_eq!(live(&edge, "R21-USDT").await.0, 2);
    assert_eq!(ranks().await.first().map(String::as_str), Some("1 R21-USDT"));
    assert!(collected(&edge.coverage().await, "R19-USDT").is_none(), "the last one has left");
    assert_eq!(epochs(&edge, &first[..9]).await, untouched, "parts and epochs");
    changes_are(&edge, [("ranked", 11), ("outranked", 1)]).await;
    assert!(edge.process().terminate(PATIENCE).await.success());
    let (mut outranked, mut told) = (BTreeSet::new(), Vec::new());
    for message in messages(&broker, "AUDIT").await {
        match decode_audit_payload(&message.payload).unwrap() {
            AuditPayload::Downtime(downtime) => {
                assert_ne!(downtime.reason, DowntimeReason::Delisted, "{downtime:?}");
                let is_outranked = downtime.reason == DowntimeReason::Outranked;
                let ended = downtime.streams.into_iter().filter(|_| is_outranked);
                outranked.extend(ended.map(|stream| stream.symbol));
            }
            AuditPayload::Changes(changes) => {
                let change = |one: EdgeChange| [one.why, one.from, one.to].join("|");
                told.extend(changes.changed.into_iter().map(change));
            }
            AuditPayload::Audit(_) | AuditPayload::Instruments(_) | AuditPayload::Correction(_) => {}
        }
    }
    assert_eq!(outranked, ["R19-USDT".to_owned()].into());
    let begun = format!("ranked||{}", first.join(", "));
    assert_eq!(told, [&begun, "ranked||R21-USDT", "fell out of the ranking|R19-USDT|"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_part_takes_what_comes_when_there_are_as_many_as_may_be() {
    let (folder, broker) = broker_with_streams().await;
    let new = ["NAUSDT", "NBUSDT", "NCUSDT", "NDUSDT", "NEUSDT"];
    let sim = sim(&[&["BTCUSDT"], &new[..]].concat()).await;
    new.iter().for_each(|symbol| sim.set_listed(EXCHANGE, symbol, false).unwrap());
    let feed = feed(&sim, &["*"], "listing_interval_ms = 1000");
    let mut edge =
        Edge::start(folder.path(), &format!("urls = [{:?}]\n{AUDIT}", broker.url()), &[feed]).await;
    live(&edge, "BTC-USDT").await;
    let mut parts = Vec::new();
    for symbol in new {
        sim.set_listed(EXCHANGE, symbol, true).unwrap();
        parts.push(live(&edge, &symbol.replace("USDT", "-USDT")).await.0);
    }
    assert_eq!(parts, [1, 2, 3, 4, 5]);
    assert_eq!(live(&edge, "ND-USDT").await.0, 5, "with the newest");
    assert_eq!(live(&edge, "NC-USDT").await.0, 3, "untouched");
    assert_eq!(edge.coverage().await["feeds"].as_array().unwrap().len(), 5);
    assert!(edge.process().terminate(PATIENCE).await.success());
    let mut restarted = BTreeSet::new();
    for stream in audits(&broker).await.into_iter().flat_map(|audit| audit.streams) {
        let of_edge = |gap: &&Gap| gap.kind == GapKind::Stop && gap.cause == GapCause::Ours;
        restarted.extend(stream.gaps.iter().find(of_edge).map(|_| stream.id.symbol.clone()));
    }
    assert_eq!(restarted, ["ND-USDT".to_owned()].into());
}

/// The delisted streams end, twice, and have no gap but their starts; the others have none but start and stop.
async fn check_audits(broker: &Broker) {
    let (mut ends, mut resumed, mut named, mut moved) = (0, 0, false, BTreeSet::new());
    for message in messages(broker, "AUDIT").await {
        match decode_audit_payload(&message.payload).unwrap() {
            AuditPayload::Downtime(downtime) if downtime.reason == DowntimeReason::Delisted => {
                assert_eq!(downtime.streams.len(), 2, "trades and books: {downtime:?}");
                assert!(downtime.streams.iter().all(|stream| stream.symbol == "SOL-USDT"));
                if downtime.to.is_some() { resumed += 1 } else { ends += 1 }
            }
            AuditPayload::Downtime(_)
            | AuditPayload::Instruments(_)
            | AuditPayload::Changes(_)
            | AuditPayload::Correction(_) => {}
            AuditPayload::Audit(audit) => {
                for stream in &audit.streams {
                    let is_known = |kind| match stream.id.symbol.as_str() {
                        "SOL-USDT" => kind == GapKind::Start,
                        _ => matches!(kind, GapKind::Start | GapKind::Stop),
                    };
                    assert!(stream.gaps.iter().all(|gap| is_known(gap.kind)), "{stream:?}");
                    let of_venue = stream.gaps.iter().find(|gap| gap.cause == GapCause::Venue);
                    moved.extend(of_venue.map(|_| stream.id.symbol.clone()));
                }
                let [feed] = audit.feeds.as_slice() else { panic!("one exchange: {:?}", audit.feeds) };
                named |= feed.not_listed.iter().any(|symbol| symbol == "GONE-USDT");
            }
        }
    }
    assert_eq!((ends, resumed, named), (2, 1, true));
    assert_eq!(moved, ["A3-USDT".to_owned()].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_online_names_what_a_venue_does_not_list() {
    let folder = tempfile::tempdir().unwrap();
    let sim = sim(&["BTCUSDT", "ETHUSDT"]).await;
    for (symbols, passes, expected) in [
        (&["BTC-*", "ETH-USDT"][..], true, "2 instruments listed"),
        (&["*-USDT"], true, "top: 1 of 2 markets by volume_24h in USDT: 1. BTC-USDT 1000000"),
        (
            &["ETH-USDT", "BTCUSDT"],
            false,
            "does not list BTCUSDT (allowed: an instrument that binance_spot lists, such as BTC-USDT",
        ),
        (&["BTC-USD*", "LUNA-*"], false, "does not list LUNA-*"),
        (&["BTC-EUR*"], false, "none of [\"BTC-EUR*\"]"),
    ] {
        let top = if symbols == ["*-USDT"] { "top = { by = \"volume_24h\", count = 1 }" } else { "" };
        let edge = Edge::prepared(folder.path(), "", &[feed(&sim, symbols, top)]);
        let (passed, text) = block_in_place(|| check_online(&edge.folder().join("edge.toml")));
        assert!(passed == passes && text.contains(expected), "{symbols:?}: {text}");
    }

    let exchange = "deribit_derivatives";
    let config = SimConfig { exchanges: vec![exchange.to_owned()], ..SimConfig::default() };
    let sim = Sim::start(config).await.unwrap();
    let listed = sim.instruments(exchange).unwrap();
    let is_option = |symbol: &str| symbol.starts_with("BTC-USD-") && symbol.matches('-').count() == 4;
    let options = listed.iter().filter(|one| is_option(&one.symbol)).count();
    let mut chain = Feed::simulated(exchange, &sim.addr().to_string(), &["BTC-USD-*"]);
    chain.extra = "market_types = [\"options\"]".to_owned();
    let edge = Edge::prepared(folder.path(), "", &[chain]);
    let (passed, text) = block_in_place(|| check_online(&edge.folder().join("edge.toml")));
    assert!(
        options > 0 && passed && text.contains(&format!("{options} instruments listed")),
        "{options}: {text}"
    );
}

/// Each request while the venue blocks an address makes the block longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_online_asks_no_venue_that_blocks_the_address_of_its_edge() {
    let folder = tempfile::tempdir().unwrap();
    let sim = sim(&["BTCUSDT"]).await;
    let edge = Edge::prepared(folder.path(), "", &[feed(&sim, &["BTC-USDT"], "")]);
    let runs = edge.folder().join("data/runs");
    std::fs::create_dir_all(&runs).unwrap();
    // In the year 2286; no block is longer than three days.
    std::fs::write(runs.join("edge-test.budgets"), r#"{"binance_spot.weight":9999999999999}"#).unwrap();
    let (passed, text) = block_in_place(|| check_online(&edge.folder().join("edge.toml")));
    assert!(!passed && text.contains("is blocked by the venue"), "{text}");
    assert!(text.contains("edge-test.budgets") && text.contains("delete the file"), "{text}");
}

/// Bybit refuses a whole request to subscribe for one topic that no longer exists, and the list is not read again for long. Before, it refuses the
/// list itself twice, with status 200.
#[tokio::test(flavor = "multi_thread")]
async fn a_contract_that_expired_before_a_reconnect_costs_only_its_own_streams() {
    const BYBIT: &str = "bybit_derivatives";
    let (folder, broker) = broker_with_streams().await;
    let config = SimConfig { exchanges: vec![BYBIT.to_owned()], ..crate::two_symbols(200) };
    let sim = Sim::start(SimConfig { start_paused: false, ..config }).await.unwrap();
    let refusals = [(10006, 0_u64), (10016, 1)].map(|(code, after)| {
        let list = FaultSpec::new(FaultAction::RestStatus).path("instruments-info");
        sim.fault(list.code(code).after(after)).unwrap()
    });
    let feed = Feed::simulated(BYBIT, &sim.addr().to_string(), &crate::SYMBOLS);
    let edge = Edge::start(folder.path(), &broker.nats(), &[feed]).await;
    live(&edge, "BTC-USDT").await;
    assert!(refusals.iter().all(|id| sim.fired(*id) == 1), "the list was refused at first");
    let subscribed = || {
        let all = sim.connections().into_iter().flat_map(|connection| connection.subscriptions);
        all.collect::<BTreeSet<String>>()
    };
    let before = subscribed();
    sim.set_listed(BYBIT, "ETHUSDT", false).unwrap();
    sim.cut_all();
    let rest: BTreeSet<String> = before.iter().filter(|topic| topic.contains("BTCUSDT")).cloned().collect();
    assert_eq!((before.len(), rest.len()), (4, 2), "{before:?}");
    becomes("the other contract is subscribed again", || async { subscribed() }, |now| *now == rest).await;
    live(&edge, "BTC-USDT").await;
    eventually("each topic that has gone is told", || async {
        let refused = edge.metric("marketprism_collector_errors_total", "venue_error").await;
        assert!(refused <= 2, "{refused}");
        if refused == 2 { Ok(()) } else { Err(refused.to_string()) }
    })
    .await;
}
