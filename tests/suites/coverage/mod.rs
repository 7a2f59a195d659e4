//! Promise: every data type that a venue offers is in hot ClickHouse as sent, and `/coverage` of edge and central shows it.

mod expected;

use std::collections::BTreeMap;

use self::expected::ExpectedRows;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::stack::Stack;
use marketprism_tests::wait::eventually;
use marketprism_venue_sim::{Sim, SimConfig};
use serde_json::Value;

const DERIVATIVES: &[&str] = &[
    "trade",
    "orderbook",
    "funding_rate",
    "open_interest",
    "liquidation",
    "lsr_top_position",
    "lsr_all_account",
];

/// Data types and market types by exchange.
const OFFERED: [(&str, &[&str], &[&str]); 8] = [
    ("binance_spot", &["trade", "orderbook"], &["spot"]),
    ("binance_derivatives", DERIVATIVES, &["perpetual", "futures"]),
    ("bybit_spot", &["trade", "orderbook"], &["spot"]),
    (
        "bybit_derivatives",
        &["trade", "orderbook", "funding_rate", "open_interest", "liquidation", "lsr_all_account"],
        &["perpetual", "futures"],
    ),
    ("kraken_spot", &["trade", "orderbook"], &["spot"]),
    ("okx_spot", &["trade", "orderbook"], &["spot"]),
    ("okx_derivatives", DERIVATIVES, &["perpetual", "futures", "options"]),
    (
        "deribit_derivatives",
        &["trade", "orderbook", "funding_rate", "open_interest", "liquidation", "volatility_index"],
        &["perpetual", "futures", "options"],
    ),
];

/// Levels a side that an edge publishes by default.
fn depth_of(exchange: &str) -> usize {
    if exchange.starts_with("bybit") { 200 } else { 400 }
}

const TABLES: [(&str, &str); 8] = [
    ("trade", "trades"),
    ("orderbook", "orderbooks"),
    ("funding_rate", "funding_rates"),
    ("open_interest", "open_interests"),
    ("liquidation", "liquidations"),
    ("lsr_top_position", "lsr_top_positions"),
    ("lsr_all_account", "lsr_all_accounts"),
    ("volatility_index", "volatility_indices"),
];

fn table(data_type: &str) -> &'static str {
    TABLES.iter().find(|(name, _)| *name == data_type).unwrap().1
}

async fn rows_of(stack: &Stack, exchange: &str, data_type: &str) -> Result<u64, String> {
    let query =
        format!("SELECT count() FROM marketprism_hot.{} WHERE exchange = '{exchange}'", table(data_type));
    stack.clickhouse.number(&query).await
}

/// Status by exchange and data type of a `/coverage` page.
fn cells(page: &str) -> BTreeMap<(String, String), String> {
    let page: Value = serde_json::from_str(page).unwrap();
    let rows = page["coverage"].as_array().unwrap().iter();
    rows.map(|row| {
        let [exchange, data_type, status] =
            ["exchange", "data_type", "status"].map(|name| row[name].as_str().unwrap().to_owned());
        ((exchange, data_type), status)
    })
    .collect()
}

async fn start() -> (Stack, Sim, Edge) {
    let stack = Stack::start().await;
    let config = SimConfig {
        exchanges: OFFERED.iter().map(|(exchange, _, _)| (*exchange).to_owned()).collect(),
        rate: 400,
        trade_percent: 30,
        event_ms: Some(500),
        ..SimConfig::default()
    };
    let sim = Sim::start(config).await.unwrap();
    let whole = |(exchange, data_types, market_types): &(&str, &[&str], &[&str])| {
        crate::whole_venue(&sim, exchange, data_types, market_types)
    };
    let feeds: Vec<Feed> = OFFERED.iter().map(whole).collect();
    let edge = stack.edge(&feeds).await;
    (stack, sim, edge)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_data_type_is_stored_as_the_venue_sent_it() {
    let (stack, sim, edge) = start().await;
    for (exchange, data_types, _) in OFFERED {
        for data_type in data_types {
            eventually(&format!("rows of {data_type} from {exchange}"), || async {
                match rows_of(&stack, exchange, data_type).await? {
                    0 => Err("none".to_owned()),
                    _ => Ok(()),
                }
            })
            .await;
        }
    }
    // A row is in hot before central has counted it.
    eventually("both coverage pages show it", || async {
        for page in [edge.get("/coverage").await?, stack.central.get("/coverage").await?] {
            let cells = cells(&page);
            for (exchange, data_types, _) in OFFERED {
                for data_type in data_types {
                    let key = (exchange.to_owned(), (*data_type).to_owned());
                    if cells.get(&key).is_none_or(|status| status != "ok") {
                        return Err(format!("{key:?}: {page}"));
                    }
                }
            }
        }
        Ok(())
    })
    .await;
    sim.pause();
    for (exchange, data_types, _) in OFFERED {
        let expected = ExpectedRows::new(&sim, exchange);
        for data_type in data_types {
            match *data_type {
                "trade" => expected.trades(&stack).await,
                "orderbook" => expected.books(&stack, depth_of(exchange)).await,
                other => expected.events(&stack, other, table(other)).await,
            }
        }
    }
    for (_, table) in TABLES {
        let query = format!("SELECT count() - uniqExact(event_id) FROM marketprism_hot.{table}");
        assert_eq!(stack.clickhouse.number(&query).await.unwrap(), 0, "{table} shows an event twice");
    }
    let dead = stack.clickhouse.number("SELECT count() FROM marketprism_hot.dead_letters").await.unwrap();
    assert_eq!(dead, 0);
    let malformed = edge.metric("marketprism_collector_errors_total", "malformed").await;
    assert_eq!(malformed, 0, "{}", edge.get("/metrics").await.unwrap());
}

#[test]
fn a_data_type_that_a_venue_does_not_offer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (exchange, offered, _) in OFFERED {
        for (data_type, _) in TABLES.iter().filter(|(name, _)| !offered.contains(name)) {
            let mut feed = Feed::simulated(exchange, "127.0.0.1:1", &["BTC-USDT"]);
            feed.data_types = vec![(*data_type).to_owned()];
            let edge = Edge::prepared(folder.path(), "urls = [\"nats://127.0.0.1:1\"]", &[feed]);
            let (passes, said) = edge.check();
            assert!(!passes, "{exchange} {data_type}");
            assert!([exchange, *data_type, offered[0]].iter().all(|name| said.contains(name)), "{said}");
        }
    }
}
