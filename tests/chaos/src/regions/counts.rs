//! Counts of what was sent, waits and is stored.

use std::collections::BTreeMap;

use super::brokers;
use super::plan::REGIONS;
use super::world::{EXCHANGES, SHARED_EXCHANGE, World};

const WAITING: [&str; 2] = ["marketprism_edge_queue_messages", "marketprism_edge_journal_waiting_events"];
/// Events that wait in an edge in a normal second.
pub const WAITING_MAX: u64 = 500;

/// An exchange and the venue's symbol.
pub type VenueStream = (String, String);

/// Events in an edge that the broker has not confirmed.
pub fn waiting(world: &World, region: usize) -> u64 {
    WAITING.iter().map(|name| world.regions[region].metric(name)).sum()
}

pub fn last_sequence(world: &World, stream: &str) -> Result<u64, String> {
    world.centre.run(async || {
        let client = brokers::connect(&world.tls, &world.servers).await?;
        Ok(brokers::stream(&client, stream).await?.state.last_sequence)
    })
}

/// Tables of hot with events.
pub fn event_tables(world: &World) -> Vec<String> {
    let query = "SELECT table FROM system.columns WHERE database = 'marketprism_hot' AND name = 'data_source' \
        AND table IN (SELECT name FROM system.tables WHERE database = 'marketprism_hot' AND engine LIKE '%MergeTree') ORDER BY table";
    let text = world.centre.run(async || world.hot.text(query).await).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Trades of every stream that an edge subscribed: venue time by id.
pub fn sent(world: &World) -> BTreeMap<VenueStream, BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for exchange in EXCHANGES {
        for instrument in world.sim.instruments(exchange).unwrap() {
            let trades = world.sim.all_trades(exchange, &instrument.venue_symbol).unwrap();
            if trades.iter().any(|trade| trade.sent > 0) {
                let trades = trades
                    .into_iter()
                    .map(|trade| (trade.trade_id, u64::try_from(trade.trade_time_ms).unwrap()));
                all.insert((exchange.to_owned(), instrument.venue_symbol), trades.collect());
            }
        }
    }
    all
}

/// Exchanges of a region alone.
fn own_exchanges(region: usize) -> &'static [&'static str] {
    match REGIONS[region].name {
        "tokyo" => &["binance_derivatives", "okx_spot"],
        "frankfurt" => &["deribit_derivatives"],
        _ => &["kraken_spot"],
    }
}

/// Trades that the venues of a region alone sent up to a time.
pub fn sent_until(world: &World, region: usize, until_ms: u64) -> u64 {
    debug_assert!(!own_exchanges(region).contains(&SHARED_EXCHANGE));
    let of_region = |(exchange, _): &VenueStream| own_exchanges(region).contains(&exchange.as_str());
    let streams = sent(world).into_iter().filter(|(stream, _)| of_region(stream));
    streams.map(|(_, trades)| trades.values().filter(|at| **at <= until_ms).count() as u64).sum()
}

/// As [`sent_until`], in hot.
pub fn rows_of(world: &World, region: usize, until_ms: u64) -> Result<u64, String> {
    let exchanges: Vec<String> = own_exchanges(region).iter().map(|one| format!("'{one}'")).collect();
    world.number(&format!(
        "SELECT count() FROM marketprism_hot.trades WHERE exchange IN ({}) AND timestamp < fromUnixTimestamp64Milli(toInt64({}), 'UTC')",
        exchanges.join(", "),
        until_ms + 1
    ))
}

pub fn stored(world: &World, (exchange, symbol): &VenueStream) -> Vec<String> {
    let query = format!(
        "SELECT trade_id FROM marketprism_hot.trades WHERE exchange = '{exchange}' AND venue_symbol = '{symbol}'"
    );
    let text = world.centre.run(async || world.hot.text(&query).await).unwrap();
    text.lines().map(str::to_owned).collect()
}
