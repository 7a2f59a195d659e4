//! A second edge on the same venue: one row an event, holes of one edge filled by the other, and the report names the one that was alone, and when.

use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::link::Link;
use marketprism_tests::wait::eventually;
use serde_json::Value;

use super::system::{AUDIT, System, WINDOW_SECONDS, items, reaches, seconds};
use super::{EXCHANGE, SYMBOLS};

/// Name of the edge that every system here has, and of the second one.
const NAMES: [&str; 2] = ["edge-test", "edge-two"];

/// A time in seconds since 1970, both ends included.
type Seconds = (u64, u64);

/// Books are live, and further trades arrive.
async fn collects(edge: &Edge) {
    eventually("the edge is ready", || edge.get("/ready")).await;
    let trades = || edge.metric("marketprism_edge_events_total", "data_type=\"trade\"");
    let before = trades().await;
    eventually("books are live and trades arrive", || async {
        let page: Value = serde_json::from_str(&edge.get("/coverage").await?).unwrap();
        let instruments = page["feeds"][0]["instruments"].as_array().unwrap();
        let live = instruments.iter().filter(|one| one["orderbook"]["state"] == "LIVE").count();
        let more = trades().await.saturating_sub(before);
        if live == SYMBOLS.len() && more > 20 { Ok(()) } else { Err(format!("{live} live, {more} trades")) }
    })
    .await;
}

impl System {
    async fn begin_and_end(&self, list: &Value) -> Vec<(String, Option<String>, Seconds)> {
        let mut found = Vec::new();
        for time in list["items"].as_array().unwrap() {
            let mut ends = [0, 0];
            for (end, name) in ends.iter_mut().zip(["from", "to"]) {
                let text = time[name].as_str().unwrap();
                let query = format!("SELECT toUInt64(toUnixTimestamp(parseDateTime64BestEffort('{text}')))");
                *end = self.hot.number(&query).await.unwrap();
            }
            let by = time["by"].as_str().map(str::to_owned);
            found.push((time["edge"].as_str().unwrap().to_owned(), by, (ends[0], ends[1])));
        }
        found
    }

    /// The first edge is cut from the venue. Meanwhile the newest books in hot are those of the other one.
    async fn cut_from_the_venue(&self) -> Seconds {
        let begin = seconds(&self.hot).await;
        self.venue.shut();
        let symbol = "BTCUSDT";
        let book = self.sim.book_now(EXCHANGE, symbol).unwrap().unwrap().update_id;
        let newest = format!(
            "SELECT edge FROM (SELECT edge, last_update_id FROM marketprism_hot.orderbooks WHERE venue_symbol = '{symbol}' \
             ORDER BY timestamp DESC, last_update_id DESC LIMIT 1) WHERE last_update_id > {book}"
        );
        eventually("a newer book is stored", || async {
            let text = self.hot.text(&newest).await?;
            if text.is_empty() {
                Err("none".to_owned())
            } else {
                assert!(text.starts_with(NAMES[1]), "{text}");
                Ok(())
            }
        })
        .await;
        self.passes(2).await;
        self.venue.cut();
        collects(&self.edge).await;
        (begin, seconds(&self.hot).await)
    }
}

/// Newest time up to which a checkpoint in the journal of an edge is complete, in seconds since 1970.
fn checkpointed(edge: &Edge) -> u64 {
    const FIELD: &str = "\"known_to_ns\":";
    let segments = std::fs::read_dir(edge.folder().join("data/journal").join(NAMES[1])).unwrap();
    let texts = segments.map(|entry| std::fs::read(entry.unwrap().path()).unwrap_or_default());
    let newest = |bytes: Vec<u8>| {
        let text = String::from_utf8_lossy(&bytes);
        let digits = text.split(FIELD).skip(1).filter_map(|rest| rest.split(',').next()?.parse::<u64>().ok());
        digits.max()
    };
    texts.filter_map(newest).max().unwrap_or_default() / 1_000_000_000
}

/// The second one loses its broker, and is killed with what only its journal has.
async fn cut_from_the_broker_and_killed(system: &System, edge: &mut Edge, broker: &Link) -> Seconds {
    broker.shut();
    let begin = seconds(&system.hot).await;
    // What it is audited for ends in a later window than the hole of the first one.
    eventually("a later window is in a checkpoint", || async {
        let known = checkpointed(edge);
        if known > begin + 2 * WINDOW_SECONDS { Ok(()) } else { Err(format!("{known}, cut at {begin}")) }
    })
    .await;
    edge.kill();
    broker.cut();
    system.passes(1).await;
    edge.restart().await;
    collects(edge).await;
    (begin, seconds(&system.hot).await)
}

/// No window of the list but those that the time touches, and all of it.
fn is_within(
    list: &[(String, Option<String>, Seconds)],
    who: (&str, Option<&str>),
    time: Seconds,
) -> Result<(), String> {
    let mut of_edge = list.iter().filter(|(edge, by, _)| (edge.as_str(), by.as_deref()) == who).peekable();
    // A trade and the start or end that it shows may lie in windows that adjoin, and a checkpoint is older than the kill.
    let (first, last) = (time.0 - 2 * WINDOW_SECONDS, time.1 + 2 * WINDOW_SECONDS);
    let is_there = of_edge.peek().is_some();
    let is_within = of_edge.all(|(.., (from, to))| first <= *from && *to <= last);
    if is_there && is_within { Ok(()) } else { Err(format!("{who:?} {time:?}: {list:?}")) }
}

/// Of the findings of a report.
fn codes(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().filter_map(|one| one["code"].as_str()).collect()
}

pub(super) async fn fill_each_others_holes(system: &mut System) {
    let lost_before = system.lost().await;
    let link = Link::to(system.broker.port()).await;
    let nats = format!("urls = [\"nats://127.0.0.1:{}\"]\n{AUDIT}", link.near());
    let feed = Feed::simulated(EXCHANGE, &system.sim.addr().to_string(), &SYMBOLS);
    let mut edge = Edge::start_as(NAMES[1], system.folder.path(), &nats, &[feed]).await;
    system.sim.resume();
    collects(&edge).await;
    // The windows of its start are not judged here.
    system.passes(2).await;
    let (mut away, mut killed) = ((0, 0), (0, 0));
    let span = system
        .collect(200, async |system| {
            away = system.cut_from_the_venue().await;
            killed = cut_from_the_broker_and_killed(system, &mut edge, &link).await;
        })
        .await;
    // Every trade is there, by one edge or the other. An edge that stored no state of a book in a window covers for nobody there, and on a
    // busy machine that happens: such windows of the killed edge stay unverifiable, with its kill as their reason.
    let settled = |code: i32, report: &Value| {
        let codes = codes(report);
        let is_complete = code == 0 || code == 2 && codes.contains(&"edge.killed");
        is_complete && report["windows"]["open"] == 0 && !codes.contains(&"ledger.missing_events")
    };
    let system = &*system;
    let report = eventually("each edge fills the holes of the other", || async {
        let report = system.report("the windows are settled", &span, settled).await;
        let alone = system.begin_and_end(&report["alone"]).await;
        let filled = system.begin_and_end(&report["filled"]).await;
        for (index, time) in [(0, away), (1, killed)] {
            let (holey, other) = (NAMES[index], NAMES[1 - index]);
            is_within(&alone, (other, None), time)?;
            is_within(&filled, (holey, Some(other)), time)?;
        }
        Ok(report)
    })
    .await;
    let codes = codes(&report);
    assert!(codes.contains(&"edge.alone") && codes.contains(&"edge.holes_filled"), "{codes:?}");
    assert_eq!(report["windows"]["mismatch"], 0, "{report}");
    assert_eq!(system.lost().await, lost_before, "a trade that one of the edges had is not in hot");
    for (table, key) in [("trades", "trade_id"), ("orderbooks", "last_update_id")] {
        let query = format!("SELECT count() - uniqExact(venue_symbol, {key}) FROM marketprism_hot.{table}");
        reaches(&system.hot, &query, 0).await;
    }
    let named = items(&report, "gaps").iter().filter(|gap| gap["cause"] == "venue").count();
    assert_eq!(named, 0, "{report}");
}
