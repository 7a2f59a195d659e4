-- Trades: one row a match, or an aggregate where the venue publishes only that.
-- One event_id is one row: copies of an event have the same key, and ReplacingMergeTree keeps one of them. The deduplication
-- window makes a repeated insert with the same token write nothing. `created_at` is set by central, so that a retry is equal.
CREATE TABLE IF NOT EXISTS {database}.trades
(
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `market_type` LowCardinality(String),
    `symbol` LowCardinality(String),
    `venue_symbol` LowCardinality(String),
    `trade_id` String CODEC(ZSTD(1)),
    `price` Decimal(38, 18) CODEC(ZSTD(1)),
    `quantity` Decimal(38, 18) CODEC(ZSTD(1)),
    `side` LowCardinality(String),
    `is_maker` Bool CODEC(ZSTD(1)),
    `received_at` DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    `event_id` UInt128 CODEC(ZSTD(1)),
    `edge` LowCardinality(String),
    `region` LowCardinality(String),
    `adapter` LowCardinality(String),
    `data_source` LowCardinality(String),
    `stream_seq` UInt64 CODEC(Delta, ZSTD(1)),
    `created_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(created_at)
PARTITION BY (toYYYYMM(timestamp), exchange)
ORDER BY (exchange, market_type, symbol, timestamp, event_id)
TTL toDateTime(timestamp) + INTERVAL {ttl_days} DAY DELETE
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 0
