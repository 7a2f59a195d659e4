//! Snapshots and diff streams fit together by the venue's own procedure.

use marketprism_venue_sim::BookView;
use serde_json::Value;

use super::client::{Replica, Ws, book_at, get, number, start};

fn apply(replica: &mut Replica, message: &Value, sides: [&str; 2]) {
    for side in sides {
        for level in message[side].as_array().expect("levels") {
            replica.set(side, level[0].as_str().expect("text"), level[1].as_str().expect("text"));
        }
    }
}

fn assert_is(replica: &Replica, book: &BookView) {
    assert!(book.bids.len() >= 600 && book.asks.len() >= 600);
    replica.assert_is(book);
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
        apply(&mut replica, &snapshot, ["bids", "asks"]);
        assert_is(&replica, &book_at(&sim, "binance_spot", "BTCUSDT", last_update_id));
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
            apply(&mut replica, &event, ["b", "a"]);
            local = number(&event["u"]);
            assert_is(&replica, &book_at(&sim, "binance_spot", "BTCUSDT", local));
            applied += 1;
        }
        sim.pause();
        for event in ws.drain().await {
            assert_eq!(number(&event["U"]), local + 1);
            apply(&mut replica, &event, ["b", "a"]);
            local = number(&event["u"]);
        }
        let still = sim.book_now("binance_spot", "BTCUSDT").expect("known").expect("generated");
        assert_eq!(still.update_id, local, "a pause publishes everything");
        assert_is(&replica, &still);
        sim.resume();
    }
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
    apply(&mut replica, &snapshot, ["bids", "asks"]);
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
        apply(&mut replica, &event, ["b", "a"]);
        previous = Some(to);
        assert_is(&replica, &book_at(&sim, "binance_derivatives", "BTCUSDT", to));
    }
    assert!(leaps > 100, "ids are not consecutive across events");
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
}
