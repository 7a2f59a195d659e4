//! Promise: an edge's audit of each window equals the broker's content, and reports every missing trade of the venue with its cause.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use async_nats::jetstream::{self, consumer::AckPolicy, consumer::pull};
use futures_util::StreamExt;
use marketprism_schema::{
    Audit, AuditPayload, Body, DataType, Event, EventId, Fingerprint, Gap, GapCause, GapKind, STREAMS,
    StreamId, WireForm, decode_audit_payload,
};
use marketprism_tests::broker::Broker;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::parts;
use marketprism_tests::process::run;
use marketprism_tests::wait::{PATIENCE, eventually};
use marketprism_venue_sim::{FaultAction, FaultSpec, Sim};
use serde_json::Value;
use tempfile::TempDir;

use crate::{SYMBOLS, VENUE_SYMBOLS, two_symbols, venue_with_60_symbols};

const EXCHANGE: &str = "binance_spot";
const SECOND: i64 = 1_000_000_000;

/// Short windows; trades packed, books as JSON.
const SETTINGS: &str = "[audit]\nwindow_seconds = 1\nsettle_ms = 300\n[wire]\norderbook = \"json\"";

/// A broker with the system's streams, and its folder.
pub(crate) async fn broker_with_streams() -> (TempDir, Broker) {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    create_streams(&async_nats::connect(broker.url()).await.unwrap()).await;
    (folder, broker)
}

pub(crate) async fn create_streams(client: &async_nats::Client) {
    let context = jetstream::new(client.clone());
    for stream in STREAMS {
        let config = jetstream::stream::Config {
            name: stream.name.to_owned(),
            subjects: stream.subjects.iter().map(|&subject| subject.to_owned()).collect(),
            duplicate_window: stream.duplicate_window,
            ..Default::default()
        };
        context.create_stream(config).await.unwrap();
    }
}

/// Events of a message, whatever their form.
pub(crate) fn events_of(message: &async_nats::Message) -> Vec<Event<'_>> {
    form_of(message).decode_all(&message.payload).unwrap()
}

fn form_of(message: &async_nats::Message) -> WireForm {
    let header = message.headers.as_ref().and_then(|headers| headers.get("Content-Type"));
    WireForm::of_message(header.map(|value| value.as_str()).unwrap_or_default(), &message.payload).unwrap()
}

pub(crate) async fn messages(broker: &Broker, stream: &str) -> Vec<jetstream::Message> {
    let context = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    let mut stream = context.get_stream(stream).await.unwrap();
    let count = stream.info().await.unwrap().state.messages;
    let config = pull::Config { ack_policy: AckPolicy::None, ..Default::default() };
    let mut incoming = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let mut all = Vec::new();
    while (all.len() as u64) < count {
        all.push(incoming.next().await.unwrap().unwrap());
    }
    all
}

pub(crate) async fn audits(broker: &Broker) -> Vec<Audit> {
    let read = |message: &jetstream::Message| match decode_audit_payload(&message.payload).unwrap() {
        AuditPayload::Audit(audit) => Some(audit),
        AuditPayload::Downtime(_)
        | AuditPayload::Instruments(_)
        | AuditPayload::Changes(_)
        | AuditPayload::Correction(_) => None,
    };
    messages(broker, "AUDIT").await.iter().filter_map(read).collect()
}

#[derive(Default)]
struct BrokerContent {
    /// Event ids by subject and second of receive time.
    windows: BTreeMap<(String, i64), BTreeSet<EventId>>,
    trades: BTreeMap<String, BTreeSet<u64>>,
}

async fn content(broker: &Broker) -> BrokerContent {
    let mut held = BrokerContent::default();
    for stream in ["MARKET_DATA", "ORDERBOOK_SNAP"] {
        for message in messages(broker, stream).await {
            let form = form_of(&message);
            for event in events_of(&message) {
                let is_trade = event.body.data_type() == DataType::Trade;
                assert_eq!(form, if is_trade { WireForm::Protobuf } else { WireForm::Json });
                let second = event.header.received_at_ns / SECOND * SECOND;
                let key = (message.subject.to_string(), second);
                assert!(
                    held.windows.entry(key).or_default().insert(event.header.event_id),
                    "twice in the stream"
                );
                if let Body::Trade(trade) = &event.body {
                    let ids = held.trades.entry(event.header.symbol.to_string()).or_default();
                    ids.insert(trade.trade_id.parse().unwrap());
                }
            }
        }
    }
    held
}

/// Compares every audited window with the broker's content and removes it from there.
fn compare(held: &mut BrokerContent, audits: &[Audit]) -> (u64, usize) {
    let (mut sure, mut unsure) = (0, 0);
    for audit in audits {
        for stream in &audit.streams {
            let key = (stream.id.to_string(), audit.window_start);
            let mut ids = held.windows.remove(&key).unwrap_or_default();
            for id in &stream.unsure {
                assert!(ids.remove(id), "an unsure event is not in the stream");
            }
            assert_eq!(stream.stored, ids.into_iter().collect::<Fingerprint>(), "{key:?}");
            (sure, unsure) = (sure + stream.stored.count, unsure + stream.unsure.len());
        }
    }
    (sure, unsure)
}

async fn start(broker: &Broker, folder: &std::path::Path, sim: &Sim) -> Edge {
    let mut feed = Feed::simulated(EXCHANGE, &sim.addr().to_string(), &SYMBOLS);
    feed.extra = "reconnect_wait_max_ms = 500\nraw = { enabled = true }".to_owned();
    let edge = Edge::start(folder, &format!("urls = [{:?}]\n{SETTINGS}", broker.url()), &[feed]).await;
    eventually("the edge is ready", || edge.get("/ready")).await;
    edge
}

/// Trade ids by symbol that a replay of the edge's raw frames gives.
fn replayed(edge: &Edge) -> BTreeMap<String, BTreeSet<u64>> {
    let mut replay = Command::new(parts::binary("marketprism-edge"));
    replay.args(["replay", "--exchange", EXCHANGE, "--data-type", "trade", "--adapter"]);
    replay.arg(parts::adapter_of(EXCHANGE)).arg(edge.folder().join("data/raw").join(EXCHANGE));
    let mut trades: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for line in run(&mut replay).lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let id = event["trade_id"].as_str().unwrap().parse().unwrap();
        trades.entry(event["symbol"].as_str().unwrap().to_owned()).or_default().insert(id);
    }
    trades
}

pub(crate) async fn flows(edge: &Edge, more: u64) {
    let name = "marketprism_edge_acknowledged_total";
    let before = edge.metric(name, "").await;
    edge.reaches(name, "", before + more).await;
}

/// A book that is not live yet has no gap.
async fn books_are_live(edge: &Edge) {
    eventually("the books are live", || async {
        let page: Value = serde_json::from_str(&edge.get("/coverage").await?).unwrap();
        let instruments = page["feeds"][0]["instruments"].as_array().unwrap();
        let are_live = instruments.iter().all(|instrument| instrument["orderbook"]["state"] == "LIVE");
        if are_live { Ok(()) } else { Err(page.to_string()) }
    })
    .await;
}

async fn fires(sim: &Sim, edge: &Edge, fault: FaultSpec) {
    let id = sim.fault(fault).unwrap();
    eventually("the fault happens", || async {
        if sim.fired(id) > 0 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    flows(edge, 200).await;
}

fn fault(action: FaultAction, symbol: &str, stream: &str) -> FaultSpec {
    FaultSpec::new(action).exchange(EXCHANGE).symbol(symbol).stream(stream).count(1)
}

fn gaps<'a>(audits: &'a [Audit], symbol: &str, kind: GapKind) -> Vec<&'a Gap> {
    let streams = audits.iter().flat_map(|audit| &audit.streams).filter(|stream| stream.id.symbol == symbol);
    streams.flat_map(|stream| &stream.gaps).filter(|gap| gap.kind == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn audits_are_exact_and_report_every_missing_trade_with_its_cause() {
    let (folder, mut broker) = broker_with_streams().await;
    let sim = Sim::start(two_symbols(400)).await.unwrap();
    let mut edge = start(&broker, folder.path(), &sim).await;
    sim.resume();
    flows(&edge, 300).await;
    fires(&sim, &edge, fault(FaultAction::Drop, "BTCUSDT", "trade")).await;
    let corrupted = FaultSpec { replace: Some(true), ..fault(FaultAction::Garbage, "ETHUSDT", "trade") };
    fires(&sim, &edge, corrupted).await;
    books_are_live(&edge).await;
    fires(&sim, &edge, fault(FaultAction::Gap, "BTCUSDT", "@depth")).await;
    broker.kill();
    broker.restart().await;
    flows(&edge, 500).await;
    // Long enough for both symbols to miss trades.
    let away = FaultSpec::new(FaultAction::Refuse).exchange(EXCHANGE).duration_ms(1_000);
    sim.fault(away).unwrap();
    sim.cut_all();
    eventually("the edge is back", || edge.get("/ready")).await;
    flows(&edge, 500).await;
    sim.pause();
    assert!(edge.process().terminate(PATIENCE).await.success());

    let (mut held, audits) = (content(&broker).await, audits(&broker).await);
    let (sure, unsure) = compare(&mut held, &audits);
    println!("{sure} sure, {unsure} unsure, {} audits", audits.len());
    assert!(held.windows.is_empty(), "events without an audit: {:?}", held.windows.keys());
    for pair in audits.windows(2) {
        assert_eq!(pair[0].to, pair[1].from, "a run has no gap between its audits");
    }
    for (venue_symbol, symbol) in VENUE_SYMBOLS.iter().zip(SYMBOLS) {
        let mut stored = held.trades.remove(symbol).unwrap();
        let (first, last) = (*stored.first().unwrap(), *stored.last().unwrap());
        for gap in gaps(&audits, symbol, GapKind::TradeIds) {
            let (from, to) = (gap.from_sequence.unwrap() as u64, gap.to_sequence.unwrap() as u64);
            assert_eq!(gap.missing, Some(to - from + 1));
            assert!(
                (from..=to).all(|id| stored.insert(id)),
                "a stored trade is reported as missing: {gap:?}"
            );
        }
        let sent = sim.all_trades(EXCHANGE, venue_symbol).unwrap();
        let sent: BTreeSet<u64> =
            sent.iter().map(|trade| trade.id).filter(|id| (first..=last).contains(id)).collect();
        assert_eq!(stored, sent, "every trade of {symbol} is stored or reported");
    }
    let causes = |symbol| -> BTreeSet<GapCause> {
        gaps(&audits, symbol, GapKind::TradeIds).iter().map(|gap| gap.cause).collect()
    };
    assert_eq!(causes("BTC-USDT"), [GapCause::Venue, GapCause::Network].into(), "withheld, cut");
    assert_eq!(causes("ETH-USDT"), [GapCause::Network, GapCause::Ours].into(), "corrupted, cut");
    let books = gaps(&audits, "BTC-USDT", GapKind::BookSequence);
    assert!(
        books.iter().any(|gap| gap.cause == GapCause::Venue),
        "{books:?} {:?}",
        gaps(&audits, "BTC-USDT", GapKind::TradeIds)
    );
    assert!(audits.iter().flat_map(|audit| &audit.feeds).map(|feed| feed.malformed).sum::<u64>() >= 1);
    for (kind, cause) in [(GapKind::Start, GapCause::Ours), (GapKind::Stop, GapCause::Operator)] {
        let found = gaps(&audits, "ETH-USDT", kind);
        assert!(!found.is_empty() && found.iter().all(|gap| gap.cause == cause), "{found:?}");
    }
    let lost = gaps(&audits, "ETH-USDT", GapKind::Connection);
    assert!(lost.iter().any(|gap| gap.cause == GapCause::Network), "{lost:?}");
    let has_venue_times = |gap: &&Gap| gap.venue_from.is_some() && gap.venue_from <= gap.venue_to;
    let holes = gaps(&audits, "BTC-USDT", GapKind::TradeIds);
    assert!(holes.iter().all(has_venue_times), "{holes:?}");
    let (begins, ends) =
        (lost.iter().any(|gap| gap.venue_from.is_some()), lost.iter().any(|gap| gap.venue_to.is_some()));
    assert!(begins && ends, "{lost:?}");
    sim.stop().await;
}

/// The answer to the first of twelve paced subscriptions ended the gap of all streams. No id of such a trade shows what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn the_gap_of_a_lost_connection_covers_what_comes_before_the_last_paced_subscription() {
    const PACED: &str = "bybit_derivatives";
    /// A frame under way, and a machine busy with other things.
    const SLACK: i64 = SECOND / 5;
    let (folder, broker) = broker_with_streams().await;
    let (sim, bases) = venue_with_60_symbols(PACED).await;
    let symbols: Vec<String> = bases.iter().map(|base| format!("{base}-USDT")).collect();
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let feed = Feed::simulated(PACED, &sim.addr().to_string(), &symbols);
    let nats = format!("urls = [{:?}]\n{SETTINGS}", broker.url());
    let mut edge = Edge::start(folder.path(), &nats, &[feed]).await;
    let is_subscribed = async |but: Option<u64>| {
        eventually("trades and books of each symbol are subscribed", || async {
            let open = sim.connections().into_iter().filter(|connection| Some(connection.id) != but);
            let open: Vec<(u64, usize)> = open.map(|one| (one.id, one.subscriptions.len())).collect();
            match open[..] {
                [(id, count)] if count == 2 * symbols.len() => Ok(id),
                _ => Err(format!("{open:?}")),
            }
        })
        .await
    };
    let lost = is_subscribed(None).await;
    flows(&edge, 500).await;
    sim.cut_all();
    is_subscribed(Some(lost)).await;
    flows(&edge, 500).await;
    sim.pause();
    assert!(edge.process().terminate(PATIENCE).await.success());

    let mut stored = BTreeSet::new();
    for message in messages(&broker, "MARKET_DATA").await {
        for event in events_of(&message) {
            if let Body::Trade(trade) = &event.body {
                stored.insert((event.header.symbol.to_string(), trade.trade_id.to_string()));
            }
        }
    }
    let (audits, mut missing) = (audits(&broker).await, 0);
    for (base, symbol) in bases.iter().zip(symbols) {
        let lost = gaps(&audits, symbol, GapKind::Connection);
        let sent = sim.all_trades(PACED, &format!("{base}USDT")).unwrap();
        let is_stored: Vec<bool> =
            sent.iter().map(|trade| stored.contains(&(symbol.to_owned(), trade.trade_id.clone()))).collect();
        let first = is_stored.iter().position(|stored| *stored).unwrap();
        let last = is_stored.iter().rposition(|stored| *stored).unwrap();
        for (trade, _) in sent.iter().zip(&is_stored).take(last).skip(first).filter(|(_, stored)| !**stored) {
            missing += 1;
            let at_ns = trade.trade_time_ms * 1_000_000;
            let covers = |gap: &&Gap| (gap.from - SLACK..=gap.to.saturating_add(SLACK)).contains(&at_ns);
            assert!(lost.iter().any(covers), "{symbol} misses {}, {at_ns}: {lost:?}", trade.trade_id);
        }
    }
    assert!(missing > 0, "the connection was lost");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_audited_to_its_end_after_a_clean_stop_and_to_its_last_audit_after_a_kill() {
    let (folder, broker) = broker_with_streams().await;
    let sim = Sim::start(two_symbols(400)).await.unwrap();
    let mut edge = start(&broker, folder.path(), &sim).await;
    let silence = FaultSpec { count: Some(u64::MAX), ..fault(FaultAction::Drop, "ETHUSDT", "trade") };
    sim.fault(silence).unwrap();
    sim.resume();
    let three_audits = async |edge: &Edge| {
        edge.reaches("marketprism_edge_audits_sent_total", "", 3).await;
    };
    three_audits(&edge).await;
    assert!(edge.process().terminate(PATIENCE).await.success());
    let (mut after_stop, first) = (content(&broker).await, audits(&broker).await);
    compare(&mut after_stop, &first);
    assert!(after_stop.windows.is_empty(), "a clean stop audits everything");
    assert_eq!(replayed(&edge), after_stop.trades, "the raw frames have every trade");
    let silent = StreamId::parse("trade.binance_spot.spot.ETH-USDT").unwrap();
    assert!(
        first.iter().any(|audit| audit.silent_streams().any(|(stream, _)| *stream == silent)),
        "{first:?}"
    );

    edge.restart().await;
    three_audits(&edge).await;
    flows(&edge, 100).await;
    edge.kill();
    edge.restart().await;
    three_audits(&edge).await;
    assert!(edge.process().terminate(PATIENCE).await.success());
    let (mut in_the_end, all) = (content(&broker).await, audits(&broker).await);
    for (symbol, ids) in replayed(&edge) {
        let stored = &in_the_end.trades[&symbol];
        assert!(after_stop.trades[&symbol].is_subset(&ids), "raw frames from before the kill");
        assert_eq!(ids.last(), stored.last(), "raw frames from after the kill");
    }
    let runs: BTreeSet<i64> = all.iter().map(|audit| audit.run).collect();
    let [_, killed, last] = runs.into_iter().collect::<Vec<_>>()[..] else { panic!("three runs") };
    let audited_to = all.iter().filter(|audit| audit.run == killed).map(|audit| audit.to).max().unwrap();
    assert_eq!(all.iter().filter(|audit| audit.run == last).map(|audit| audit.from).min(), Some(last));
    let is_whole = |audit: &Audit| audit.from <= audit.window_start && audit.to >= audit.window_end();
    let known: Vec<Audit> = all.into_iter().filter(is_whole).collect();
    in_the_end.windows.retain(|(_, second), _| known.iter().any(|audit| audit.window_start == *second));
    compare(&mut in_the_end, &known);
    assert!(audited_to < last, "no run audits what the killed run did not report");
    assert!(in_the_end.windows.is_empty(), "{:?}", in_the_end.windows.keys());
    sim.stop().await;
}
