-- Funding rates: the fraction paid per interval.
-- One event_id is one row: copies of an event have the same key, and ReplacingMergeTree keeps one of them. The deduplication
-- window makes a repeated insert with the same token write nothing. `created_at` is set by central, so that a retry is equal.
CREATE TABLE IF NOT EXISTS {database}.funding_rates
(
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `market_type` LowCardinality(String),
    `symbol` LowCardinality(String),
    `venue_symbol` LowCardinality(String),
    `funding_rate` Decimal(38, 18) CODEC(ZSTD(1)),
    `funding_time` Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    `next_funding_time` Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    `interval_hours` Nullable(UInt16) CODEC(ZSTD(1)),
    `mark_price` Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    `index_price` Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
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
