//! OKX's books: a snapshot in the stream, then updates that name their predecessor.

use marketprism_venue_sim::{BookView, FaultAction, FaultSpec, Sim};
use serde_json::{Value, json};

use super::client::{self, Replica};
use super::okx::{DERIVATIVES, SPOT, ask, data, open, play, subscribe};

/// A replica that checks the chain of updates.
#[derive(Default)]
struct Chain {
    book: Replica,
    last: i64,
}

impl Chain {
    fn apply(&mut self, frame: &Value) {
        let data = &frame["data"][0];
        assert_eq!(data["checksum"], 0);
        if frame["action"] == "snapshot" {
            *self = Chain { last: -1, ..Chain::default() };
        }
        assert_eq!(data["prevSeqId"].as_i64(), Some(self.last), "{frame}");
        self.last = data["seqId"].as_i64().expect("seqId");
        for side in ["bids", "asks"] {
            for row in data[side].as_array().expect("rows") {
                let (price, size) = (row[0].as_str().expect("text"), row[1].as_str().expect("text"));
                assert_eq!((&row[2], row[3].is_string()), (&json!("0"), true));
                let before = self.book.set(side, price, size);
                assert!(size != "0" || before.is_some(), "only known levels are removed");
            }
        }
    }

    fn assert_is(&self, book: &BookView) {
        assert!(book.bids.len() <= 400 && book.asks.len() <= 400, "the channel shows 400 levels");
        self.book.assert_is(book);
    }
}

fn book_at(sim: &Sim, exchange: &str, symbol: &str, id: i64) -> BookView {
    client::book_at(sim, exchange, symbol, id.unsigned_abs())
}

#[tokio::test]
async fn books_follow_from_their_snapshot() {
    let sim = play(DERIVATIVES, |config| config.rate = 2000).await;
    let symbol = "BTC-USD-SWAP";
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let mut ws = open(&sim, DERIVATIVES).await;
        subscribe(&mut ws, "books", symbol).await;
        let mut replica = Chain::default();
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
    let mut replica = Chain::default();
    for _ in 0..4 {
        replica.apply(&data(&mut ws, "books").await);
    }
    sim.stop().await;
}
