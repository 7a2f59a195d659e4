//! Snapshots and diff streams fit together by the venue's own procedure.

use std::collections::BTreeMap;

use marketprism_venue_sim::{BookView, Sim};
use serde_json::Value;

use super::client::{Ws, get, number, start};

/// A book built only from what came over the wire. Prices are compared as numbers of 10^-8.
#[derive(Default)]
struct Replica {
    bids: BTreeMap<u64, [String; 2]>,
    asks: BTreeMap<u64, [String; 2]>,
}

fn units(text: &str) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<8}").parse().expect(text)
}

impl Replica {
    fn apply(&mut self, message: &Value, bids: &str, asks: &str) {
        for (key, side) in [(bids, &mut self.bids), (asks, &mut self.asks)] {
            for level in message[key].as_array().expect("levels") {
                let (price, quantity) = (level[0].as_str().expect("text"), level[1].as_str().expect("text"));
                if units(quantity) == 0 {
                    side.remove(&units(price));
                } else {
                    side.insert(units(price), [price.to_owned(), quantity.to_owned()]);
                }
            }
        }
    }

    fn assert_is(&self, book: &BookView) {
        assert!(book.bids.len() >= 600 && book.asks.len() >= 600);
        assert_eq!(
            self.bids.values().rev().cloned().collect::<Vec<_>>(),
            book.bids,
            "bids at {}",
            book.update_id
        );
        assert_eq!(self.asks.values().cloned().collect::<Vec<_>>(), book.asks, "asks at {}", book.update_id);
    }
}

fn at(sim: &Sim, exchange: &str, id: u64) -> BookView {
    sim.book_at(exchange, "BTCUSDT", id).expect("known").unwrap_or_else(|| panic!("no book at {id}"))
}

#[tokio::test]
async fn spot_procedure_rebuilds_the_book() {
    let sim = start(|config| config.rate = 1500).await;
    for stream in ["btcusdt@depth@100ms", "btcusdt@depth"] {
        let mut ws = Ws::open(&format!("{}/ws", sim.ws_base("binance_spot"))).await;
        ws.subscribe(&[stream]).await;
        let mut buffered = vec![ws.json().await];
        let snapshot = get(&sim, "/binance_spot/api/v3/depth?symbol=BTCUSDT&limit=5000").await.json();
        let last_update_id = number(&snapshot["lastUpdateId"]);
        assert!(last_update_id >= number(&buffered[0]["U"]), "the snapshot is newer than the first event");
        let mut replica = Replica::default();
        replica.apply(&snapshot, "bids", "asks");
        replica.assert_is(&at(&sim, "binance_spot", last_update_id));
        let (mut local, mut applied, rounds) =
            (last_update_id, 0, if stream.ends_with("ms") { 300 } else { 2 });
        while applied < rounds {
            let event = if buffered.is_empty() { ws.json().await } else { buffered.remove(0) };
            if number(&event["u"]) <= last_update_id {
                continue;
            }
            if applied == 0 {
                assert!(number(&event["U"]) <= last_update_id + 1 && last_update_id < number(&event["u"]));
            } else {
                assert_eq!(number(&event["U"]), local + 1);
            }
            replica.apply(&event, "b", "a");
            local = number(&event["u"]);
            replica.assert_is(&at(&sim, "binance_spot", local));
            applied += 1;
        }
        sim.pause();
        for event in ws.drain().await {
            assert_eq!(number(&event["U"]), local + 1);
            replica.apply(&event, "b", "a");
            local = number(&event["u"]);
        }
        let still = sim.book_now("binance_spot", "BTCUSDT").expect("known").expect("generated");
        assert_eq!(still.update_id, local, "a pause publishes everything");
        replica.assert_is(&still);
        sim.resume();
    }
    sim.stop().await;
}

#[tokio::test]
async fn usd_m_procedure_rebuilds_the_book() {
    let sim = start(|config| config.rate = 1500).await;
    let mut ws =
        Ws::open(&format!("{}/public/ws/btcusdt@depth@100ms", sim.ws_base("binance_derivatives"))).await;
    let first = ws.json().await;
    let snapshot = get(&sim, "/binance_derivatives/fapi/v1/depth?symbol=BTCUSDT&limit=1000").await.json();
    assert!(number(&snapshot["E"]) >= number(&snapshot["T"]));
    let last_update_id = number(&snapshot["lastUpdateId"]);
    assert!(last_update_id >= number(&first["u"]));
    let mut replica = Replica::default();
    replica.apply(&snapshot, "bids", "asks");
    let (mut previous, mut leaps) = (None, 0);
    for _ in 0..400 {
        let event = ws.json().await;
        let (from, to, before) = (number(&event["U"]), number(&event["u"]), number(&event["pu"]));
        assert!(before < from && from <= to);
        leaps += u64::from(from > before + 1);
        if to < last_update_id {
            continue;
        }
        match previous {
            None => assert!((from <= last_update_id && last_update_id <= to) || before == last_update_id),
            Some(previous) => assert_eq!(before, previous),
        }
        replica.apply(&event, "b", "a");
        previous = Some(to);
        replica.assert_is(&at(&sim, "binance_derivatives", to));
    }
    assert!(leaps > 100, "ids are not consecutive across events");
    sim.stop().await;
}

#[tokio::test]
async fn trades_are_what_the_ledger_says() {
    let sim = start(|_| {}).await;
    let mut ws = Ws::open(&format!("{}/ws/ethusdt@trade", sim.ws_base("binance_spot"))).await;
    let mut frames: Vec<Value> = Vec::new();
    while frames.len() < 50 {
        frames.push(ws.json().await);
    }
    sim.pause();
    frames.extend(ws.drain().await);
    let trades = sim.all_trades("binance_spot", "ETHUSDT").expect("known");
    let unsent = trades.iter().take_while(|t| t.sent == 0).count();
    let sent: Vec<_> = trades.iter().skip(unsent).collect();
    assert_eq!(sent.len(), frames.len());
    for (trade, frame) in sent.iter().zip(&frames) {
        assert_eq!(number(&frame["t"]), trade.id);
        assert_eq!((frame["p"].as_str(), frame["q"].as_str()), (Some(&*trade.price), Some(&*trade.quantity)));
        assert_eq!(frame["m"].as_bool(), Some(trade.side == "sell"));
        assert_eq!(frame["T"].as_i64(), Some(trade.trade_time_ms));
        assert_eq!(frame["E"].as_i64(), Some(trade.event_time_ms));
        assert!(trade.trade_time_ms < trade.event_time_ms, "two times that differ");
        assert_eq!((trade.sent, trade.accepted, trade.withheld), (1, 1, 0));
    }
    assert!(trades.windows(2).all(|w| w[1].id == w[0].id + 1));
    let path = "/binance_spot/api/v3/aggTrades?symbol=ETHUSDT&limit=5";
    let aggregates = get(&sim, path).await.json();
    assert_eq!(number(&aggregates[4]["l"]), trades.last().expect("trades").id);
    assert_eq!(number(&aggregates[4]["f"]), number(&aggregates[3]["l"]) + 1);
    let path = "/binance_spot/api/v3/trades?symbol=ETHUSDT&limit=2";
    assert_eq!(number(&get(&sim, path).await.json()[1]["id"]), trades.last().expect("trades").id);
    sim.stop().await;
}
