//! End-to-end promises of the whole system, one module per promise, on real processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod alerts;
mod backfill;
mod books;
mod broker_refusals;
mod broker_users;
mod certificates;
mod checksums;
mod clickhouse_tls;
mod clients;
mod clocks;
mod configuration;
mod conformance;
mod coverage;
mod delivery;
mod deployments;
mod dist;
mod edge_audits;
mod example_keys;
mod figures;
mod floods;
mod host_limits;
mod instruments;
mod integrity;
mod journal;
mod kills;
mod listings;
mod local;
mod promotions;
mod proxies;
mod recordings;
mod regions;
mod reload;
mod renormalize;
mod sandbox;
mod scale;
mod secrets;
mod security;
mod selfcare;
mod services;
mod stranger;
mod swaps;
mod traces;
mod twins;

use std::collections::BTreeSet;

use marketprism_tests::edge::Feed;
use marketprism_venue_sim::{Sim, SimConfig};

const VENUE_SYMBOLS: [&str; 2] = ["BTCUSDT", "ETHUSDT"];
const SYMBOLS: [&str; 2] = ["BTC-USDT", "ETH-USDT"];

/// Paused venues with two symbols.
fn two_symbols(rate: u64) -> SimConfig {
    let slashed = ["kraken_spot:BTC/USDT", "kraken_spot:ETH/USDT"];
    let symbols = [VENUE_SYMBOLS, slashed].concat().into_iter().map(str::to_owned).collect();
    SimConfig { symbols, rate, start_paused: true, ..SimConfig::default() }
}

/// A venue that runs, and the bases of its symbols: too many for one message to subscribe them.
async fn venue_with_60_symbols(exchange: &str) -> (Sim, Vec<String>) {
    let bases: Vec<String> = (0..60).map(|number| format!("A{number}")).collect();
    let config = SimConfig {
        exchanges: vec![exchange.to_owned()],
        symbols: bases.iter().map(|base| format!("{base}USDT")).collect(),
        rate: 500,
        ..SimConfig::default()
    };
    (Sim::start(config).await.unwrap(), bases)
}

/// Some data types of all instruments that a simulated venue lists.
fn whole_venue(
    sim: &marketprism_venue_sim::Simulation,
    exchange: &str,
    data_types: &[&str],
    market_types: &[&str],
) -> Feed {
    let mut feed = Feed::simulated(exchange, &sim.addr().to_string(), &[]);
    let listed: BTreeSet<String> =
        sim.instruments(exchange).unwrap().into_iter().map(|instrument| instrument.symbol).collect();
    feed.symbols = listed.into_iter().collect();
    feed.data_types = data_types.iter().map(|&name| name.to_owned()).collect();
    feed.extra = format!("market_types = {market_types:?}");
    feed
}
