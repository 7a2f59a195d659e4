//! Promise: books without sequence numbers equal the venue's at every depth, and no trade is missing, through false checksums, lost and
//! unreadable updates and cut connections; two states of a book with one time are two events.

use std::collections::{BTreeMap, BTreeSet};

use marketprism_schema::{Body, Event, EventId, OrderBook};
use marketprism_tests::broker::Broker;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::number::{key, plain};
use marketprism_tests::wait::eventually;
use marketprism_venue_sim::{BookView, FaultAction, FaultSpec, Sim, SimConfig};

use crate::edge_audits::{broker_with_streams, events_of, flows, messages};

const KRAKEN: &str = "kraken_spot";

/// The venue's symbol, MarketPrism's, and levels a side.
const PAIRS: [(&str, &str, u32); 6] = [
    ("BTC/USD", "BTC-USD", 10),
    // On one connection with the one before: what happens to that must not touch this.
    ("LTC/USD", "LTC-USD", 10),
    ("ETH/USD", "ETH-USD", 25),
    ("DOGE/USD", "DOGE-USD", 100),
    ("SOL/USD", "SOL-USD", 500),
    ("XRP/USD", "XRP-USD", 1000),
];

type Levels = Vec<[String; 2]>;

struct StoredBook {
    id: u64,
    event: EventId,
    sides: [Levels; 2],
}

/// Price, quantity, side, venue time in microseconds.
type StoredTrade = [String; 4];

/// The broker's content by the venue's symbol, in order.
#[derive(Default)]
struct Stored {
    books: BTreeMap<String, Vec<StoredBook>>,
    trades: BTreeMap<String, BTreeMap<String, StoredTrade>>,
}

fn sides(book: &OrderBook<'_>) -> [Levels; 2] {
    let number = |mantissa: i64, scale: u8| plain(i128::from(mantissa) * 10_i128.pow(18 - u32::from(scale)));
    [&book.levels.bids, &book.levels.asks].map(|levels| {
        let level = |[price, quantity]: &[i64; 2]| {
            [number(*price, book.levels.price_scale), number(*quantity, book.levels.quantity_scale)]
        };
        levels.iter().map(level).collect()
    })
}

async fn stored(broker: &Broker) -> Stored {
    let (mut all, mut ids) = (Stored::default(), BTreeSet::new());
    for stream in ["MARKET_DATA", "ORDERBOOK_SNAP"] {
        for message in messages(broker, stream).await {
            for event in events_of(&message) {
                assert!(ids.insert(event.header.event_id), "an event is stored twice: {event:?}");
                all.add(&event);
            }
        }
    }
    all
}

impl Stored {
    fn add(&mut self, event: &Event<'_>) {
        let (symbol, id) = (event.header.venue_symbol.to_string(), event.header.event_id);
        match &event.body {
            Body::OrderBook(book) => self.books.entry(symbol).or_default().push(StoredBook {
                id: book.last_update_id.unsigned_abs(),
                event: id,
                sides: sides(book),
            }),
            Body::Trade(trade) => {
                let numbers = [trade.price, trade.quantity].map(|number| plain(key(&number.to_string())));
                let [price, quantity] = numbers;
                let time = event.header.timestamp_us.to_string();
                let row = [price, quantity, trade.side.as_str().to_owned(), time];
                self.trades.entry(symbol).or_default().insert(trade.trade_id.to_string(), row);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn best(book: &BookView, depth: u32) -> [Levels; 2] {
    [&book.bids, &book.asks].map(|levels| {
        let levels = levels.iter().take(depth as usize);
        levels.map(|level| level.each_ref().map(|number| plain(key(number)))).collect()
    })
}

/// Waits until the newest stored book of each pair is the venue's.
async fn settled(broker: &Broker, sim: &Sim) -> Stored {
    eventually("the newest books are stored", || async {
        let stored = stored(broker).await;
        for (symbol, _, depth) in PAIRS {
            let now = sim.book_now(KRAKEN, symbol).unwrap().unwrap();
            let newest = stored.books.get(symbol).and_then(|books| books.last());
            if newest.is_none_or(|book| book.sides != best(&now, depth)) {
                return Err(format!("{symbol}: {:?}", newest.map(|book| book.id)));
            }
        }
        Ok(stored)
    })
    .await
}

async fn resyncs(edge: &Edge, reason: &str) -> u64 {
    edge.metric("marketprism_edge_orderbook_resyncs_total", &format!("reason=\"{reason}\"")).await
}

/// A fault of a pair's book must show as a resync with this reason.
async fn is_noticed(sim: &Sim, edge: &Edge, (action, symbol, reason): (FaultAction, &str, &str)) {
    let before = resyncs(edge, reason).await;
    let id = sim.fault(FaultSpec::new(action).symbol(symbol).stream("book:")).unwrap();
    eventually(&format!("{action:?} of {symbol} is noticed"), || async {
        let (fired, after) = (sim.fired(id), resyncs(edge, reason).await);
        if fired > 0 && after > before { Ok(()) } else { Err(format!("fired {fired}, {before} to {after}")) }
    })
    .await;
}

/// The connection of two books lags by one update, and is replaced because of one of them.
async fn overlapping_connections_do_not_mix(sim: &Sim, edge: &Edge) {
    let is_of_both = |subscriptions: &BTreeSet<String>| subscriptions.contains("book:LTC/USD:10");
    let old = sim.connections().into_iter().find(|one| is_of_both(&one.subscriptions)).unwrap().id;
    let lag = FaultSpec::new(FaultAction::Reorder).connection(old).stream("book:LTC").count(u64::MAX);
    sim.fault(lag.delay_ms(60_000)).unwrap();
    is_noticed(sim, edge, (FaultAction::Checksum, "BTC/USD", "checksum")).await;
    eventually("the connection is replaced", || async {
        let both = sim.connections().into_iter().filter(|one| is_of_both(&one.subscriptions)).count();
        if both == 2 { Ok(()) } else { Err(format!("{both} connections")) }
    })
    .await;
    flows(edge, 100).await;
    assert_eq!(resyncs(edge, "checksum").await, 1, "updates of the older connection were mixed in");
}

/// Nothing is sent while the connections are closed: what was under way comes again with the first trades of the new ones.
async fn cut(sim: &Sim) {
    sim.pause();
    let before: BTreeSet<_> = sim.connections().iter().map(|one| one.id).collect();
    sim.cut_all();
    eventually("the sockets are back", || async {
        let connections = sim.connections();
        if connections.iter().any(|one| before.contains(&one.id)) {
            return Err("old connections".to_owned());
        }
        let back: BTreeSet<&String> = connections.iter().flat_map(|one| &one.subscriptions).collect();
        let all = 2 * PAIRS.len();
        if back.len() == all { Ok(()) } else { Err(format!("{} of {all} subscriptions", back.len())) }
    })
    .await;
    sim.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn books_of_every_depth_and_all_trades_are_the_venues_and_equal_times_are_two_events() {
    let (folder, broker) = broker_with_streams().await;
    let config = SimConfig {
        exchanges: vec![KRAKEN.to_owned()],
        symbols: PAIRS.map(|(symbol, _, _)| symbol.to_owned()).to_vec(),
        rate: 150,
        trade_percent: 30,
        start_paused: true,
        // The second request of a resync is one too many: the connection is replaced, and the old one overlaps the new one.
        requests_max: Some(2),
        ..SimConfig::default()
    };
    let sim = Sim::start(config).await.unwrap();
    let feeds = PAIRS.chunk_by(|one, next| one.2 == next.2).map(|pairs| {
        let symbols: Vec<&str> = pairs.iter().map(|(_, symbol, _)| *symbol).collect();
        Feed {
            extra: format!("depth = {}\nreconnect_wait_max_ms = 500", pairs[0].2),
            ..Feed::simulated(KRAKEN, &sim.addr().to_string(), &symbols)
        }
    });
    let feeds: Vec<Feed> = feeds.collect();
    let edge = Edge::start(folder.path(), &broker.nats(), &feeds).await;
    eventually("the edge is ready", || edge.get("/ready")).await;
    sim.resume();
    flows(&edge, 200).await;
    overlapping_connections_do_not_mix(&sim, &edge).await;
    is_noticed(&sim, &edge, (FaultAction::Gap, "ETH/USD", "checksum")).await;
    // Not even its symbol can be read.
    is_noticed(&sim, &edge, (FaultAction::Half, "DOGE/USD", "restart")).await;
    is_noticed(&sim, &edge, (FaultAction::WrongTypes, "SOL/USD", "restart")).await;
    cut(&sim).await;
    flows(&edge, 200).await;
    sim.pause();

    let all = settled(&broker, &sim).await;
    for (symbol, _, depth) in PAIRS {
        for book in &all.books[symbol] {
            let own = sim.book_at(KRAKEN, symbol, book.id).unwrap();
            let own = own.unwrap_or_else(|| panic!("{symbol}: the venue never had a book of {}", book.id));
            assert_eq!(book.sides, best(&own, depth), "{symbol} at {}", book.id);
        }
        let expected: BTreeMap<String, StoredTrade> = sim
            .all_trades(KRAKEN, symbol)
            .unwrap()
            .into_iter()
            .map(|trade| {
                let numbers = [&trade.price, &trade.quantity].map(|number| plain(key(number)));
                let [price, quantity] = numbers;
                let time = (trade.trade_time_ms * 1000).to_string();
                (trade.trade_id, [price, quantity, trade.side.to_owned(), time])
            })
            .collect();
        assert_eq!(all.trades[symbol], expected, "{symbol}");
    }

    // With the first one comes what trades had changed since the last update: the edge may publish both as one state.
    for _ in 0..3 {
        assert_eq!(sim.push_book_of_same_time(KRAKEN, "BTC/USD"), Ok(true));
        settled(&broker, &sim).await;
    }
    let all = settled(&broker, &sim).await;
    let last: Vec<&StoredBook> = all.books["BTC/USD"].iter().rev().take(3).collect();
    assert!(last.windows(2).all(|pair| pair[0].id == pair[1].id && pair[0].sides != pair[1].sides));
    assert_eq!(last.iter().map(|book| book.event).collect::<BTreeSet<_>>().len(), 3);
}
