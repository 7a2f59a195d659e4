//! Histories in hot: read, continued by the reports of a batch, and the changed versions written.

use std::collections::{BTreeMap, BTreeSet};

use marketprism_schema::{Decimal, Downtime, DowntimeReason, InstrumentListing, InstrumentTerms, MarketType};
use serde::Deserialize;

use super::versions::{InstrumentHistory, InstrumentVersion, ReportedState};
use crate::ledger::insert::insert;
use crate::limits;
use crate::row::{Column, RowWriter, TEXT, TableRows};
use crate::sql::quote;
use crate::storage::{Storage, StorageError, bounded};

const TABLE: &str = "instruments";
const DELISTED: &str = "delisted";
const TRADING: &str = "trading";
const NOT_TRADING: &str = "not_trading";

/// Symbol and market type.
type InstrumentKey = (String, MarketType);

/// Words of one message about instruments of one exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstrumentReports {
    exchange: String,
    at_us: i64,
    reported_ns: i64,
    reports: Vec<(InstrumentKey, ReportedState)>,
}

impl InstrumentReports {
    /// `reported_ns`: time at which the broker received the message.
    pub fn of_listing(listing: InstrumentListing, reported_ns: i64) -> Self {
        let report = |terms: InstrumentTerms| {
            ((terms.symbol.clone(), terms.market_type), ReportedState::Listed(Box::new(terms)))
        };
        let reports = listing.listed.into_iter().map(report).collect();
        Self { exchange: listing.exchange, at_us: listing.at / 1_000, reported_ns, reports }
    }

    /// The instruments that a downtime ends because the venue lists them no more, by exchange.
    pub fn of_downtime(downtime: &Downtime, reported_ns: i64) -> Vec<Self> {
        if downtime.reason != DowntimeReason::Delisted || downtime.to.is_some() {
            return Vec::new();
        }
        let mut ended: BTreeMap<&String, BTreeSet<InstrumentKey>> = BTreeMap::new();
        for stream in &downtime.streams {
            ended.entry(&stream.exchange).or_default().insert((stream.symbol.clone(), stream.market_type));
        }
        let reports = |(exchange, keys): (&String, BTreeSet<InstrumentKey>)| Self {
            exchange: exchange.clone(),
            at_us: downtime.from / 1_000,
            reported_ns,
            reports: keys.into_iter().map(|key| (key, ReportedState::Delisted)).collect(),
        };
        ended.into_iter().map(reports).collect()
    }
}

/// Stores the versions that these reports begin, end or confirm, and nothing if they are known. In the order of the stream.
pub async fn store_reports(storage: &Storage, reports: &[&InstrumentReports]) -> Result<(), StorageError> {
    let mut symbols: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for of_exchange in reports {
        let named = of_exchange.reports.iter().map(|((symbol, _), _)| symbol.as_str());
        symbols.entry(&of_exchange.exchange).or_default().extend(named);
    }
    let mut histories: BTreeMap<(&str, InstrumentKey), InstrumentHistory> = BTreeMap::new();
    for (exchange, symbols) in symbols {
        for (key, version) in read_versions(storage, exchange, &symbols).await? {
            histories.entry((exchange, key)).or_default().0.push(version);
        }
    }
    for InstrumentReports { exchange, at_us, reported_ns, reports } in reports {
        for (key, state) in reports {
            histories.entry((exchange, key.clone())).or_default().apply(state, *at_us, *reported_ns);
        }
    }
    let changed = histories.iter().map(|((exchange, _), history)| (*exchange, history));
    insert_changed(storage, changed).await
}

/// Mends the histories whose versions do not follow each other: hot lost rows and got them back from cold after reports had begun others.
pub async fn mend_histories(storage: &Storage) -> Result<(), StorageError> {
    let query = format!(
        "SELECT toString(exchange) AS name, toString(symbol) AS at_exchange FROM {}.{TABLE} FINAL \
         GROUP BY exchange, market_type, symbol \
         HAVING arrayPopFront(arraySort(groupArray(toUnixTimestamp64Micro(valid_from)))) \
         != arraySort(groupArray(toUnixTimestamp64Micro(valid_to)))",
        storage.database
    );
    let broken =
        bounded(limits::QUERY_TIMEOUT, storage.client.query_raw(&query).fetch_all::<(String, String)>());
    let mut symbols: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (exchange, symbol) in broken.await? {
        symbols.entry(exchange).or_default().insert(symbol);
    }
    for (exchange, symbols) in &symbols {
        let symbols = symbols.iter().map(String::as_str).collect();
        let mut histories: BTreeMap<InstrumentKey, InstrumentHistory> = BTreeMap::new();
        for (key, version) in read_versions(storage, exchange, &symbols).await? {
            histories.entry(key).or_default().0.push(version);
        }
        histories.values_mut().for_each(InstrumentHistory::mend);
        insert_changed(storage, histories.values().map(|history| (exchange.as_str(), history))).await?;
    }
    Ok(())
}

async fn insert_changed<'a>(
    storage: &Storage,
    histories: impl Iterator<Item = (&'a str, &'a InstrumentHistory)>,
) -> Result<(), StorageError> {
    let mut rows = TableRows::new(INSTRUMENTS);
    for (exchange, history) in histories {
        for version in history.0.iter().filter(|version| version.is_changed) {
            encode_version(exchange, version, &mut rows);
        }
    }
    if rows.is_empty() { Ok(()) } else { insert(storage, TABLE, &rows).await }
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct VersionRow {
    market: String,
    name: String,
    version_us: i64,
    at_venue: String,
    base_asset: String,
    quote_asset: String,
    state: String,
    /// Contract size, contract value, tick size, step size; empty if absent.
    sizes: Vec<String>,
    scales: (u8, u8),
    from_us: i64,
    /// 0: it lasts.
    to_us: i64,
    seen_us: i64,
    updated_ns: i64,
}

/// Oldest first. Rows of a market type that this version does not know are left out.
async fn read_versions(
    storage: &Storage,
    exchange: &str,
    symbols: &BTreeSet<&str>,
) -> Result<Vec<(InstrumentKey, InstrumentVersion)>, StorageError> {
    let symbols: Vec<String> = symbols.iter().map(|symbol| quote(symbol)).collect();
    let mut versions = Vec::new();
    for chunk in symbols.chunks(limits::INSTRUMENTS_A_QUERY) {
        let query = format!(
            "SELECT toString(market_type) AS market, toString(symbol) AS name, toUnixTimestamp64Micro(version) AS version_us, \
             venue_symbol AS at_venue, toString(base) AS base_asset, toString(quote) AS quote_asset, toString(status) AS state, \
             arrayMap(size -> ifNull(toString(size), ''), [contract_size, contract_value, tick_size, step_size]) AS sizes, \
             (price_scale, quantity_scale) AS scales, toUnixTimestamp64Micro(valid_from) AS from_us, \
             ifNull(toUnixTimestamp64Micro(valid_to), 0) AS to_us, toUnixTimestamp64Micro(seen_at) AS seen_us, \
             toUnixTimestamp64Nano(updated_at) AS updated_ns FROM {}.{TABLE} FINAL WHERE exchange = {} AND symbol IN ({}) \
             ORDER BY valid_from",
            storage.database,
            quote(exchange),
            chunk.join(",")
        );
        let rows = storage.client.query_raw(&query).fetch_all::<VersionRow>();
        let rows = bounded(limits::QUERY_TIMEOUT, rows).await?;
        versions.extend(rows.into_iter().filter_map(version_of));
    }
    Ok(versions)
}

fn version_of(row: VersionRow) -> Option<(InstrumentKey, InstrumentVersion)> {
    let market_type = row.market.parse().ok()?;
    let mut sizes = row.sizes.iter().map(|text| Decimal::parse(text).ok());
    let mut size = || sizes.next().flatten();
    let (contract_size, contract_value, tick_size, step_size) = (size(), size(), size(), size());
    let terms = InstrumentTerms {
        symbol: row.name.clone(),
        venue_symbol: row.at_venue,
        market_type,
        base: row.base_asset,
        quote: row.quote_asset,
        contract_size,
        contract_value,
        price_scale: row.scales.0,
        quantity_scale: row.scales.1,
        tick_size,
        step_size,
        trading: row.state == TRADING,
    };
    let version = InstrumentVersion {
        version: row.version_us,
        terms,
        is_delisted: row.state == DELISTED,
        from: row.from_us,
        to: (row.to_us != 0).then_some(row.to_us),
        seen: row.seen_us,
        updated_ns: row.updated_ns,
        is_changed: false,
    };
    Some(((row.name, market_type), version))
}

/// In the order in which rows are written.
const INSTRUMENTS: &[Column] = &[
    ("exchange", TEXT),
    ("market_type", TEXT),
    ("symbol", TEXT),
    ("version", TIME),
    ("venue_symbol", "String"),
    ("base", TEXT),
    ("quote", TEXT),
    ("status", TEXT),
    ("contract", TEXT),
    ("contract_size", SIZE),
    ("contract_value", SIZE),
    ("price_scale", "UInt8"),
    ("quantity_scale", "UInt8"),
    ("tick_size", SIZE),
    ("step_size", SIZE),
    ("valid_from", TIME),
    ("valid_to", "Nullable(DateTime64(6, 'UTC'))"),
    ("seen_at", TIME),
    ("updated_at", "DateTime64(9, 'UTC')"),
];
const TIME: &str = "DateTime64(6, 'UTC')";
const SIZE: &str = "Nullable(Decimal(38, 18))";

/// Kind of a perpetual or future. An option has none: its contracts have a size in base units, while its price is in its quote or in its base coin.
const fn contract_kind(terms: &InstrumentTerms) -> &'static str {
    match terms.market_type {
        MarketType::Spot | MarketType::Options => "",
        MarketType::Perpetual | MarketType::Futures if terms.contract_value.is_some() => "inverse",
        MarketType::Perpetual | MarketType::Futures => "linear",
    }
}

fn encode_version(exchange: &str, version: &InstrumentVersion, rows: &mut TableRows) {
    let terms = &version.terms;
    let status = match (version.is_delisted, terms.trading) {
        (true, _) => DELISTED,
        (false, true) => TRADING,
        (false, false) => NOT_TRADING,
    };
    let size = |row: &mut RowWriter<'_>, size: Decimal| row.decimal(size.to_scale_18());
    rows.push(|row| {
        for text in [exchange, terms.market_type.as_str(), &terms.symbol] {
            row.text(text);
        }
        row.int64(version.version);
        for text in [&terms.venue_symbol, &terms.base, &terms.quote, status, contract_kind(terms)] {
            row.text(text);
        }
        row.nullable(terms.contract_size, size);
        row.nullable(terms.contract_value, size);
        row.uint8(terms.price_scale);
        row.uint8(terms.quantity_scale);
        row.nullable(terms.tick_size, size);
        row.nullable(terms.step_size, size);
        row.int64(version.from);
        row.nullable(version.to, |row, to| row.int64(to));
        row.int64(version.seen);
        row.int64(version.updated_ns);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::defined::{defined, owned};

    #[test]
    fn columns_are_those_of_the_table_definition() {
        assert_eq!(owned(INSTRUMENTS), defined(TABLE));
    }

    /// The price of an option of `BTC-USD` is in bitcoin, though its contracts have a size in bitcoin as linear ones do.
    #[test]
    fn only_perpetuals_and_futures_are_linear_or_inverse() {
        let ten = Decimal { mantissa: 10, scale: 0 };
        let of = |market_type, size, value| {
            let coin = || "BTC".to_owned();
            contract_kind(&InstrumentTerms {
                symbol: coin(),
                venue_symbol: coin(),
                market_type,
                base: coin(),
                quote: "USD".to_owned(),
                contract_size: size,
                contract_value: value,
                price_scale: 4,
                quantity_scale: 1,
                tick_size: None,
                step_size: None,
                trading: true,
            })
        };
        for market in [MarketType::Perpetual, MarketType::Futures] {
            assert_eq!((of(market, Some(ten), None), of(market, None, Some(ten))), ("linear", "inverse"));
        }
        for market in [MarketType::Spot, MarketType::Options] {
            assert_eq!(of(market, Some(ten), None), "", "{market:?}");
        }
    }
}
