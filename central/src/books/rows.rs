//! Queries for deltas of one book.

use clickhouse::{Row, RowOwned, RowRead};
use marketprism_schema::{BookLevels, DataType, OrderBookDelta, Table};
use serde::Deserialize;

use crate::limits;
use crate::sql;
use crate::storage::{Storage, StorageError, bounded};

/// Microseconds around the time in which records are looked for.
const LOOK_US: i64 = 86_400_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub(super) struct BookMarket {
    pub exchange: String,
    pub market_type: String,
    pub symbol: String,
}

/// Records of one epoch of one edge up to the time.
#[derive(Debug, Clone, Row, Deserialize)]
pub(super) struct EpochRow {
    pub edge_name: String,
    pub started_ns: i64,
    /// Number of the newest record.
    pub newest: u64,
    /// Number of the newest snapshot; meaningless without `snapshots`.
    pub base: u64,
    pub snapshots: u64,
    pub updated_us: i64,
}

#[derive(Debug, Clone, Row, Deserialize)]
pub(super) struct DeltaRow {
    pub epoch: u32,
    pub number: u64,
    pub is_snapshot: bool,
    pub parts_left: u32,
    pub first_update_id: i64,
    pub previous_update_id: Option<i64>,
    pub last_update_id: i64,
    pub checksum: Option<i64>,
    pub is_bids_partial: bool,
    pub is_asks_partial: bool,
    pub price_scale: u8,
    pub quantity_scale: u8,
    pub bid_prices: Vec<i64>,
    pub bid_quantities: Vec<i64>,
    pub ask_prices: Vec<i64>,
    pub ask_quantities: Vec<i64>,
    pub time_us: i64,
}

impl DeltaRow {
    pub fn delta(&self, epoch_started_ns: i64) -> OrderBookDelta<'_> {
        let side = |prices: &[i64], quantities: &[i64]| -> Vec<[i64; 2]> {
            prices.iter().zip(quantities).map(|(price, quantity)| [*price, *quantity]).collect()
        };
        OrderBookDelta {
            epoch: self.epoch,
            epoch_started_ns,
            number: self.number,
            is_snapshot: self.is_snapshot,
            parts_left: self.parts_left,
            first_update_id: self.first_update_id,
            previous_update_id: self.previous_update_id,
            last_update_id: self.last_update_id,
            checksum: self.checksum,
            is_bids_partial: self.is_bids_partial,
            is_asks_partial: self.is_asks_partial,
            levels: BookLevels {
                price_scale: self.price_scale,
                quantity_scale: self.quantity_scale,
                bids: side(&self.bid_prices, &self.bid_quantities).into(),
                asks: side(&self.ask_prices, &self.ask_quantities).into(),
            },
        }
    }
}

/// Deltas in one database.
pub(super) struct StoredDeltas<'a> {
    pub storage: &'a Storage,
    pub at_us: i64,
}

impl StoredDeltas<'_> {
    async fn rows<T: RowOwned + RowRead>(&self, query: &str) -> Result<Vec<T>, StorageError> {
        let seconds = limits::QUERY_TIMEOUT.as_secs().to_string();
        let client = self.storage.client.clone().with_setting("max_execution_time", seconds);
        bounded(limits::QUERY_TIMEOUT, client.query_raw(query).fetch_all()).await
    }

    fn table(&self) -> String {
        format!("{}.{}", self.storage.database, Table::of(DataType::OrderBookDelta).name)
    }

    fn up_to(&self) -> String {
        let from = sql::micros(self.at_us.saturating_sub(LOOK_US));
        format!("timestamp > {from} AND timestamp <= {}", sql::micros(self.at_us))
    }

    fn after(&self) -> String {
        let to = sql::micros(self.at_us.saturating_add(LOOK_US));
        format!("timestamp > {} AND timestamp <= {to}", sql::micros(self.at_us))
    }

    /// Markets with records of this symbol in the day before the time.
    pub async fn markets(
        &self,
        symbol: &str,
        filters: [(&str, Option<&str>); 2],
    ) -> Result<Vec<BookMarket>, StorageError> {
        let named = |(column, value): (&str, Option<&str>)| {
            value.map(|value| format!(" AND {column} = {}", sql::quote(value))).unwrap_or_default()
        };
        let filters: String = filters.map(named).concat();
        self.rows(&format!(
            "SELECT DISTINCT toString(exchange) AS exchange, toString(market_type) AS market_type, toString(symbol) AS symbol \
             FROM {} AS d WHERE d.symbol = {} AND {}{filters} ORDER BY exchange, market_type",
            self.table(),
            sql::quote(symbol),
            self.up_to()
        ))
        .await
    }

    /// The newest epoch of each edge.
    pub async fn epochs(
        &self,
        market: &BookMarket,
        edge: Option<&str>,
    ) -> Result<Vec<EpochRow>, StorageError> {
        let edge = edge.map(|edge| format!(" AND edge = {}", sql::quote(edge))).unwrap_or_default();
        self.rows(&format!(
            "SELECT toString(edge) AS edge_name, toUnixTimestamp64Nano(epoch_started_at) AS started_ns, max(number) AS newest, \
             maxIf(number, is_snapshot) AS base, countIf(is_snapshot) AS snapshots, max(toUnixTimestamp64Micro(timestamp)) AS updated_us \
             FROM {} WHERE {} AND {}{edge} GROUP BY edge, epoch_started_at ORDER BY updated_us DESC, started_ns DESC LIMIT 1 BY edge_name",
            self.table(),
            market.condition(),
            self.up_to()
        ))
        .await
    }

    /// The records from the epoch's newest snapshot to the one after the time.
    pub async fn records(
        &self,
        market: &BookMarket,
        epoch: &EpochRow,
    ) -> Result<Vec<DeltaRow>, StorageError> {
        self.rows(&format!(
            "SELECT epoch, number, is_snapshot, parts_left, first_update_id, previous_update_id, last_update_id, checksum, is_bids_partial, \
             is_asks_partial, price_scale, quantity_scale, `bids.price` AS bid_prices, `bids.quantity` AS bid_quantities, `asks.price` AS ask_prices, \
             `asks.quantity` AS ask_quantities, \
             toUnixTimestamp64Micro(timestamp) AS time_us \
             FROM {} WHERE {} AND edge = {} AND epoch_started_at = {} AND number BETWEEN {} AND {} AND ({} OR {}) \
             ORDER BY number LIMIT 1 BY number LIMIT {}",
            self.table(),
            market.condition(),
            sql::quote(&epoch.edge_name),
            sql::nanos(epoch.started_ns),
            epoch.base,
            epoch.newest.saturating_add(1),
            self.up_to(),
            self.after(),
            limits::REBUILD_RECORDS_MAX + 1
        ))
        .await
    }

    /// Time of the edge's first record after the time, whatever its epoch; 0 for none.
    pub async fn first_after(&self, market: &BookMarket, epoch: &EpochRow) -> Result<i64, StorageError> {
        let rows: Vec<i64> = self
            .rows(&format!(
                "SELECT min(toUnixTimestamp64Micro(timestamp)) AS time_us FROM {} WHERE {} AND edge = {} AND {}",
                self.table(),
                market.condition(),
                sql::quote(&epoch.edge_name),
                self.after()
            ))
            .await?;
        Ok(rows.first().copied().unwrap_or_default())
    }
}

impl BookMarket {
    fn condition(&self) -> String {
        let Self { exchange, market_type, symbol } = self;
        let columns = [("exchange", exchange), ("market_type", market_type), ("symbol", symbol)];
        columns.map(|(column, value)| format!("{column} = {}", sql::quote(value))).join(" AND ")
    }
}
