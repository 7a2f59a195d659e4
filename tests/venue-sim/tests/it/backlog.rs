//! Every trade the simulator numbered reaches a client that comes back, however often its socket is cut.

use std::collections::BTreeSet;

use super::client::{Got, SILENCE, Ws, eventually, number, start};

#[tokio::test]
async fn ten_cuts_lose_no_trade_with_the_backlog() {
    for backlog in [true, false] {
        let sim = start(|config| {
            config.exchanges = vec!["binance_spot".into()];
            config.symbols = vec!["BTCUSDT".into()];
            config.backlog = backlog;
            config.rate = 1000;
        })
        .await;
        let mut ids = BTreeSet::new();
        for round in 0..11 {
            let mut ws = Ws::open(&format!("{}/ws/btcusdt@trade", sim.ws_base("binance_spot"))).await;
            let enough = ids.len() + 100;
            while ids.len() < enough {
                ids.insert(number(&ws.json().await["t"]));
            }
            if round < 10 {
                assert_eq!(sim.cut_all(), 1);
                // What the kernel had already is read by nobody.
                drop(ws);
                eventually("gone", || sim.connections().is_empty()).await;
                sim.burst("binance_spot", 20);
                continue;
            }
            sim.pause();
            loop {
                match ws.got(SILENCE).await {
                    Got::Text(text) => {
                        let frame: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                        ids.insert(number(&frame["t"]));
                    }
                    Got::Ping(_) => {}
                    _ => break,
                }
            }
        }
        let trades = sim.all_trades("binance_spot", "BTCUSDT").expect("known");
        let missing = trades.iter().filter(|t| !ids.contains(&t.id)).count();
        let stats = sim.state().exchanges["binance_spot"].ledger;
        if backlog {
            assert_eq!((missing, stats.backlog_lost), (0, 0));
            assert!(stats.resent > 0);
        } else {
            let unsent: Vec<_> = trades.iter().filter(|t| t.sent == 0).collect();
            assert!(missing >= 50 && !unsent.is_empty() && unsent.iter().all(|t| !ids.contains(&t.id)));
        }
        sim.stop().await;
    }
}
