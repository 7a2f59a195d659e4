//! Promise: trades that the sockets missed come from the venue's history, each once: over lost messages, lost connections, a stop and a kill
//! of the edge. The audits name them.

use std::collections::{BTreeMap, BTreeSet};

use marketprism_schema::{Body, DataSource, EventId, GapKind};
use marketprism_tests::broker::Broker;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::wait::{PATIENCE, eventually};
use marketprism_venue_sim::{FaultAction, FaultSpec, Sim, SimConfig};

use crate::edge_audits::{audits, broker_with_streams, events_of, flows, messages};
use crate::two_symbols;

/// Exchange, symbol of the venue, symbol, and a part of the name of its stream of trades.
const STREAMS: [(&str, &str, &str, &str); 3] = [
    ("binance_spot", "BTCUSDT", "BTC-USDT", "trade"),
    ("binance_derivatives", "BTCUSDT", "BTC-USDT", "aggTrade"),
    ("deribit_derivatives", "BTC-PERPETUAL", "BTC-USD", "trades."),
];
const DROPPED: u64 = 4;
/// Trades of each stream while the edge is down.
const PASSED: usize = 10;

#[derive(Default)]
struct StoredTrades {
    ids: BTreeSet<u64>,
    from_history: BTreeSet<u64>,
}

/// Trades in the broker by exchange; none is there twice.
async fn stored(broker: &Broker) -> BTreeMap<String, StoredTrades> {
    let (mut found, mut events) = (BTreeMap::<String, StoredTrades>::new(), BTreeSet::<EventId>::new());
    for message in messages(broker, "MARKET_DATA").await {
        for event in events_of(&message) {
            let Body::Trade(trade) = &event.body else { continue };
            assert!(events.insert(event.header.event_id), "twice in the stream: {event:?}");
            let stream = found.entry(event.header.exchange.to_string()).or_default();
            let id = trade.trade_id.parse().unwrap();
            stream.ids.insert(id);
            if event.header.data_source == DataSource::Backfill {
                stream.from_history.insert(id);
            }
        }
    }
    found
}

/// Every trade of the venue between the first and the last one that is stored.
async fn whole(broker: &Broker, sim: &Sim) -> Result<BTreeMap<String, StoredTrades>, String> {
    let found = stored(broker).await;
    for (exchange, venue_symbol, ..) in STREAMS {
        let ids = &found.get(exchange).ok_or("nothing yet")?.ids;
        let (first, last) = (*ids.first().ok_or("nothing yet")?, *ids.last().ok_or("nothing yet")?);
        let sent = sim.all_trades(exchange, venue_symbol).unwrap();
        let missing = sent.iter().map(|trade| trade.id).filter(|id| (first..=last).contains(id));
        let missing: Vec<u64> = missing.filter(|id| !ids.contains(id)).collect();
        if !missing.is_empty() {
            return Err(format!("{exchange}: {} missing, first {:?}", missing.len(), missing.first()));
        }
    }
    Ok(found)
}

/// Each stream has this many more trades.
async fn trades_pass(sim: &Sim) {
    let counts =
        || STREAMS.map(|(exchange, venue_symbol, ..)| sim.all_trades(exchange, venue_symbol).unwrap().len());
    let before = counts();
    eventually("the venues trade on", || async {
        let now = counts();
        let passed = now.iter().zip(before).all(|(now, before)| *now >= before + PASSED);
        if passed { Ok(()) } else { Err(format!("{before:?}, then {now:?}")) }
    })
    .await;
}

async fn ready(edge: &Edge) {
    eventually("the edge is ready", || edge.get("/ready")).await;
    flows(edge, 200).await;
}

/// The audits of every exchange have so many gaps that the venue's history filled.
async fn fills_are_told(broker: &Broker, count: usize) {
    eventually("the fills are reported", || async {
        let audits = audits(broker).await;
        for (exchange, ..) in STREAMS {
            let of_exchange = audits.iter().flat_map(|audit| &audit.streams);
            let gaps =
                of_exchange.filter(|stream| stream.id.exchange == exchange).flat_map(|stream| &stream.gaps);
            let filled: Vec<_> = gaps.filter(|gap| gap.kind == GapKind::Backfilled).collect();
            let is_told = |gap: &&&marketprism_schema::Gap| {
                gap.missing == Some(0) && gap.evidence.contains("filled from the venue's history")
            };
            if filled.iter().filter(is_told).count() < count {
                return Err(format!("{exchange}: {filled:?}"));
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_trades_come_from_the_venues_history_each_once_over_losses_cuts_a_stop_and_a_kill() {
    let (folder, broker) = broker_with_streams().await;
    let exchanges = STREAMS.map(|(exchange, ..)| exchange.to_owned()).to_vec();
    let sim = Sim::start(SimConfig { exchanges, trade_percent: 80, ..two_symbols(300) }).await.unwrap();
    let feeds = STREAMS.map(|(exchange, _, symbol, _)| {
        let mut feed = Feed::simulated(exchange, &sim.addr().to_string(), &[symbol]);
        feed.data_types = vec!["trade".to_owned()];
        feed.backfill = true;
        feed.extra = "market_types = []\nreconnect_wait_max_ms = 500".to_owned();
        feed
    });
    // One event a message: after the kill the journal groups events into other messages, which only central recognizes.
    let wire = "[wire]\ntrade = \"json\"";
    let nats = format!("urls = [{:?}]\n[audit]\nwindow_seconds = 1\nsettle_ms = 300\n{wire}", broker.url());
    let mut edge = Edge::start(folder.path(), &nats, &feeds).await;
    eventually("the edge is ready", || edge.get("/ready")).await;
    sim.resume();
    flows(&edge, 200).await;
    for (exchange, symbol, _, stream) in STREAMS {
        let lost = FaultSpec::new(FaultAction::Drop).exchange(exchange).symbol(symbol).stream(stream);
        let id = sim.fault(lost.count(DROPPED)).unwrap();
        eventually("messages are lost", || async {
            if sim.fired(id) >= DROPPED { Ok(()) } else { Err(sim.fired(id).to_string()) }
        })
        .await;
    }
    for (exchange, ..) in STREAMS {
        let label = format!("exchange=\"{exchange}\",outcome=\"filled\"");
        edge.reaches("marketprism_edge_backfill_trades_total", &label, DROPPED).await;
    }
    sim.cut_all();
    ready(&edge).await;

    assert!(edge.process().terminate(PATIENCE).await.success());
    trades_pass(&sim).await;
    edge.restart().await;
    ready(&edge).await;

    // A kill before that leaves both holes to the next run, as one.
    fills_are_told(&broker, 2).await;
    edge.kill();
    trades_pass(&sim).await;
    edge.restart().await;
    ready(&edge).await;
    sim.pause();
    let found = eventually("every trade is stored", || whole(&broker, &sim)).await;
    for (exchange, trades) in &found {
        let (filled, all) = (trades.from_history.len(), trades.ids.len());
        let least = usize::try_from(DROPPED).unwrap() + 2 * PASSED;
        assert!(filled >= least && filled < all, "{exchange}: {filled} of {all} from the history");
    }
    assert!(edge.process().terminate(PATIENCE).await.success());
    fills_are_told(&broker, 3).await;
    sim.stop().await;
}

/// USD-M refuses ids from before the last two days.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_stop_that_began_before_the_venues_history_everything_that_it_keeps_is_filled() {
    const MISSED: usize = 200;
    const KEPT: usize = 90;
    let (exchange, venue_symbol, symbol, _) = STREAMS[1];
    let (folder, broker) = broker_with_streams().await;
    let config = SimConfig { exchanges: vec![exchange.to_owned()], trade_percent: 80, ..two_symbols(300) };
    let sim = Sim::start(config).await.unwrap();
    let mut feed = Feed::simulated(exchange, &sim.addr().to_string(), &[symbol]);
    feed.data_types = vec!["trade".to_owned()];
    feed.backfill = true;
    feed.extra = "market_types = []".to_owned();
    let mut edge = Edge::start(folder.path(), &broker.nats(), &[feed]).await;
    eventually("the edge is ready", || edge.get("/ready")).await;
    sim.resume();
    flows(&edge, 200).await;
    assert!(edge.process().terminate(PATIENCE).await.success());
    let ids = || -> Vec<u64> {
        sim.all_trades(exchange, venue_symbol).unwrap().iter().map(|trade| trade.id).collect()
    };
    let before = ids().len();
    eventually("the venue trades on", || async {
        if ids().len() >= before + MISSED { Ok(()) } else { Err(ids().len().to_string()) }
    })
    .await;
    let known = ids();
    let horizon = known[known.len() - KEPT];
    sim.set_history(exchange, venue_symbol, horizon).unwrap();
    edge.restart().await;
    ready(&edge).await;
    sim.pause();
    let trades = eventually("what the history keeps is stored", || async {
        let trades = stored(&broker).await.remove(exchange).ok_or("nothing yet")?;
        let last = *trades.ids.last().ok_or("nothing yet")?;
        let lacking =
            ids().into_iter().filter(|id| (horizon..=last).contains(id) && !trades.ids.contains(id));
        match lacking.count() {
            0 if last >= horizon => Ok(trades),
            lacking => Err(format!("{lacking} missing, last {last}")),
        }
    })
    .await;
    assert!(trades.from_history.len() >= KEPT, "{}", trades.from_history.len());
    assert!(trades.from_history.iter().all(|id| *id >= horizon));
    let label = format!("exchange=\"{exchange}\",outcome=\"not_served\"");
    let missing = ids().iter().filter(|id| **id < horizon && !trades.ids.contains(id)).count() as u64;
    assert!(missing > 0);
    eventually("the rest is reported", || async {
        let told = edge.metric("marketprism_edge_backfill_trades_total", &label).await;
        if told == missing { Ok(()) } else { Err(format!("{told} of {missing}")) }
    })
    .await;
    sim.stop().await;
}
