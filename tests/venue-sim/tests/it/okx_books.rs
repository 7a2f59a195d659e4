//! OKX's books: a snapshot in the stream, then updates that name their predecessor.

use std::collections::BTreeMap;

use marketprism_venue_sim::{BookView, FaultAction, FaultSpec, Sim};
use serde_json::{Value, json};

use super::okx::{DERIVATIVES, SPOT, ask, data, open, play, subscribe};

/// A book built from frames alone, by price in units of 10^-9.
#[derive(Default)]
struct Replica {
    bids: BTreeMap<u64, [String; 2]>,
    asks: BTreeMap<u64, [String; 2]>,
    last: i64,
}

fn units(text: &str) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<9}").parse().expect(text)
}

impl Replica {
    /// Applies a frame; panics where the chain is broken.
    fn apply(&mut self, frame: &Value) {
        let data = &frame["data"][0];
        assert_eq!(data["checksum"], 0);
        if frame["action"] == "snapshot" {
            *self = Replica { last: -1, ..Replica::default() };
        }
        assert_eq!(data["prevSeqId"].as_i64(), Some(self.last), "{frame}");
        self.last = data["seqId"].as_i64().expect("seqId");
        for (key, side) in [("bids", &mut self.bids), ("asks", &mut self.asks)] {
            for row in data[key].as_array().expect("rows") {
                let (price, size) = (row[0].as_str().expect("text"), row[1].as_str().expect("text"));
                assert_eq!((&row[2], row[3].is_string()), (&json!("0"), true));
                if size == "0" {
                    assert!(side.remove(&units(price)).is_some(), "only known levels are removed");
                } else {
                    side.insert(units(price), [price.to_owned(), size.to_owned()]);
                }
            }
        }
    }

    fn assert_is(&self, book: &BookView) {
        assert!(book.bids.len() <= 400 && book.asks.len() <= 400, "the channel shows 400 levels");
        assert_eq!(self.bids.values().rev().cloned().collect::<Vec<_>>(), book.bids);
        assert_eq!(self.asks.values().cloned().collect::<Vec<_>>(), book.asks);
    }
}

fn book_at(sim: &Sim, exchange: &str, symbol: &str, id: i64) -> BookView {
    let id = u64::try_from(id).expect("positive");
    sim.book_at(exchange, symbol, id).expect("known").unwrap_or_else(|| panic!("no book at {id}"))
}

#[tokio::test]
async fn books_follow_from_their_snapshot() {
    let sim = play(DERIVATIVES, |config| config.rate = 2000).await;
    let symbol = "BTC-USD-SWAP";
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let mut ws = open(&sim, DERIVATIVES).await;
        subscribe(&mut ws, "books", symbol).await;
        let mut replica = Replica::default();
        for n in 0..60 {
            let frame = data(&mut ws, "books").await;
            assert_eq!(frame["action"], if n == 0 { "snapshot" } else { "update" });
            replica.apply(&frame);
            replica.assert_is(&book_at(&sim, DERIVATIVES, symbol, replica.last));
        }
        replicas.push((ws, replica));
    }
    sim.pause();
    let (mut ws, mut replica) = replicas.pop().expect("two");
    for frame in ws.drain().await {
        replica.apply(&frame);
    }
    sim.push_still_book(DERIVATIVES, symbol).expect("played");
    let still = ws.json().await;
    assert_eq!((&still["data"][0]["asks"], &still["data"][0]["bids"]), (&json!([]), &json!([])));
    assert_eq!(still["data"][0]["seqId"].as_i64(), Some(replica.last));
    replica.apply(&still);
    for _ in 0..2 {
        let spec = FaultSpec::new(FaultAction::RestartSequence).exchange(DERIVATIVES).symbol(symbol);
        let id = sim.fault(spec).expect("allowed");
        assert_eq!(sim.fired(id), 1);
        // Changes not yet published come first, with the old numbers.
        let mut restarts = 0;
        for frame in ws.drain().await {
            let before = replica.last;
            replica.apply(&frame);
            restarts += usize::from(replica.last < before);
        }
        assert_eq!(restarts, 1);
        replica.assert_is(&book_at(&sim, DERIVATIVES, symbol, replica.last));
        sim.burst(DERIVATIVES, 200);
        for frame in ws.drain().await {
            replica.apply(&frame);
        }
        replica.assert_is(&book_at(&sim, DERIVATIVES, symbol, replica.last));
    }
    sim.fault(FaultSpec::new(FaultAction::Gap).exchange(DERIVATIVES).symbol(symbol)).expect("set");
    sim.burst(DERIVATIVES, 400);
    assert_ne!(ws.drain().await[0]["data"][0]["prevSeqId"].as_i64(), Some(replica.last));
    ask(&mut ws, "unsubscribe", &json!([{"channel": "books", "instId": symbol}])).await;
    subscribe(&mut ws, "books", symbol).await;
    replica.apply(&data(&mut ws, "books").await);
    replica.assert_is(&sim.book_now(DERIVATIVES, symbol).expect("known").expect("generated"));
    sim.stop().await;
}

#[tokio::test]
async fn still_books_are_told_by_the_clock() {
    let sim = play(SPOT, |config| (config.rate, config.still_book_ms) = (0, Some(200))).await;
    let mut ws = open(&sim, SPOT).await;
    subscribe(&mut ws, "books", "BTC-USDT").await;
    let mut replica = Replica::default();
    for _ in 0..4 {
        replica.apply(&data(&mut ws, "books").await);
    }
    sim.stop().await;
}
