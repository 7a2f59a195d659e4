-- What the statement about every window is made of: what edges say, what was found, what was copied.

-- Messages whose event is in hot already from another message: from another edge, or published again. Each is told so that every message
-- of a stream is a row in exactly one of hot, copies and dead_letters.
--! in hot for copies
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `data_type` LowCardinality(String),
    `exchange` LowCardinality(String),
    `market_type` LowCardinality(String),
    `symbol` LowCardinality(String),
    `event_id` UInt128 CODEC(ZSTD(1)),
    `edge` LowCardinality(String),
    `received_at` DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    `stream` LowCardinality(String),
    `stream_seq` UInt64 CODEC(Delta, ZSTD(1)),
    `found` LowCardinality(String),
    `created_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX created_at_range created_at TYPE minmax GRANULARITY 1,
    INDEX stream_seq_range stream_seq TYPE minmax GRANULARITY 1
)
ENGINE = {ReplacingMergeTree created_at}
PARTITION BY toYYYYMMDD(created_at)
ORDER BY (exchange, data_type, market_type, symbol, edge, received_at, event_id, stream, stream_seq)
TTL toDateTime(created_at) + INTERVAL {ttl_days} DAY DELETE
SETTINGS ttl_only_drop_parts = 1, merge_selector_base = 20

-- What each run of each edge says about one window of received_at of one stream. Times in `covers` and gaps are nanoseconds since 1970.
--! in hot for audits
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `window_start` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    `window_seconds` UInt16 CODEC(ZSTD(1)),
    `data_type` LowCardinality(String),
    `exchange` LowCardinality(String),
    `market_type` LowCardinality(String),
    `symbol` LowCardinality(String),
    `edge` LowCardinality(String),
    `region` LowCardinality(String),
    `run` Int64 CODEC(ZSTD(1)),
    `covers_from` Int64 CODEC(Delta, ZSTD(1)),
    `covers_to` Int64 CODEC(Delta, ZSTD(1)),
    `numbering` LowCardinality(String),
    `completeness` LowCardinality(String),
    `delay_seconds` UInt32 CODEC(ZSTD(1)),
    `stored_count` UInt64 CODEC(ZSTD(1)),
    `stored_xor` UInt64 CODEC(ZSTD(1)),
    `stored_sum` UInt64 CODEC(ZSTD(1)),
    `duplicates` UInt64 CODEC(ZSTD(1)),
    `duplicate_ids` Array(UInt64) CODEC(ZSTD(1)),
    `duplicates_truncated` Bool CODEC(ZSTD(1)),
    `unsure` Array(UInt128) CODEC(ZSTD(1)),
    `unsure_truncated` Bool CODEC(ZSTD(1)),
    `first_sequence` Nullable(Int64) CODEC(ZSTD(1)),
    `last_sequence` Nullable(Int64) CODEC(ZSTD(1)),
    `oldest_timestamp` Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    `malformed` UInt64 CODEC(ZSTD(1)),
    `conflated` UInt64 CODEC(ZSTD(1)),
    `dropped` UInt64 CODEC(ZSTD(1)),
    `gaps` Array(Tuple(kind String, cause String, from_sequence Nullable(Int64), to_sequence Nullable(Int64),
        missing Nullable(UInt64), from_ns Int64, to_ns Int64, venue_from_ns Nullable(Int64), venue_to_ns Nullable(Int64),
        evidence String)) CODEC(ZSTD(1)),
    `stream_seq` UInt64 CODEC(Delta, ZSTD(1)),
    `created_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {ReplacingMergeTree created_at}
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, exchange, data_type, market_type, symbol, edge, run)
TTL toDateTime(window_start) + INTERVAL {ledger_ttl_days} DAY DELETE
SETTINGS merge_selector_base = 20

-- What the ledger found of one window of one stream and edge; the newest `judged_at` counts.
--! in hot for verdicts
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `window_start` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    `window_seconds` UInt16 CODEC(ZSTD(1)),
    `data_type` LowCardinality(String),
    `exchange` LowCardinality(String),
    `market_type` LowCardinality(String),
    `symbol` LowCardinality(String),
    `edge` LowCardinality(String),
    `state` LowCardinality(String),
    `reason` String CODEC(ZSTD(1)),
    `expected` UInt64 CODEC(ZSTD(1)),
    `found` UInt64 CODEC(ZSTD(1)),
    `duplicates` UInt64 CODEC(ZSTD(1)),
    `conflated` UInt64 CODEC(ZSTD(1)),
    `gaps` UInt32 CODEC(ZSTD(1)),
    `missing` UInt64 CODEC(ZSTD(1)),
    `causes` Array(LowCardinality(String)),
    `numbering` LowCardinality(String),
    `completeness` LowCardinality(String),
    `delay_seconds` UInt32 CODEC(ZSTD(1)),
    `stored_ids` Array(Tuple(Int64, Int64)) CODEC(ZSTD(1)),
    `judged_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {ReplacingMergeTree judged_at}
PARTITION BY toYYYYMM(window_start)
ORDER BY (data_type, exchange, market_type, symbol, window_start, edge)
TTL toDateTime(window_start) + INTERVAL {ledger_ttl_days} DAY DELETE
SETTINGS merge_selector_base = 20

-- What central itself saw missing from a stream.
--! in hot for losses
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `stream` LowCardinality(String),
    `from_seq` UInt64,
    `to_seq` UInt64,
    `messages` UInt64,
    `cause` LowCardinality(String),
    `evidence` String,
    `seen_at` DateTime64(3, 'UTC')
)
ENGINE = {ReplacingMergeTree seen_at}
ORDER BY (stream, from_seq, to_seq)
TTL toDateTime(seen_at) + INTERVAL {ledger_ttl_days} DAY DELETE

-- What the replicator found of one window of created_at of one table; the newest `logged_at` counts. Rows, ids and hashes are those of hot,
-- `cold_rows` is what cold held when they were compared. `columns_hash` tells which columns the hashes of whole rows are made over.
--! in cold for window_log
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `table_name` LowCardinality(String),
    `window_start` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    `window_seconds` UInt16 CODEC(ZSTD(1)),
    `state` LowCardinality(String),
    `reason` String CODEC(ZSTD(1)),
    `rows` UInt64 CODEC(ZSTD(1)),
    `ids_xor` UInt64 CODEC(ZSTD(1)),
    `ids_sum` UInt64 CODEC(ZSTD(1)),
    `rows_xor` UInt64 CODEC(ZSTD(1)),
    `rows_sum` UInt64 CODEC(ZSTD(1)),
    `columns_hash` UInt64 CODEC(ZSTD(1)),
    `cold_rows` UInt64 CODEC(ZSTD(1)),
    `oldest_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `attempts` UInt32 CODEC(ZSTD(1)),
    `method` LowCardinality(String),
    `holder` String CODEC(ZSTD(1)),
    `logged_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {ReplacingMergeTree logged_at}
PARTITION BY toYYYYMM(window_start)
ORDER BY (table_name, window_start)
TTL toDateTime(window_start) + INTERVAL {ttl_days} DAY DELETE
SETTINGS merge_selector_base = 20

-- How far each table is copied: everything with an earlier created_at is in cold, or logged as a mismatch. One row a table for ever.
--! in cold for watermarks
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `table_name` LowCardinality(String),
    `upto` DateTime64(3, 'UTC'),
    `hot_newest` DateTime64(3, 'UTC'),
    `state` LowCardinality(String),
    `moved_at` DateTime64(3, 'UTC')
)
ENGINE = {ReplacingMergeTree moved_at}
ORDER BY table_name
SETTINGS merge_selector_base = 20

-- Highest contiguous sequence of each stream that this database holds, one row an hour. The broker keeps the newest one too: a lower
-- value here means that this database was put back to an earlier state. Old rows tell where the comparison begins.
--! in hot for positions
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `stream` LowCardinality(String),
    `stream_created_ns` Int64,
    `hour` DateTime('UTC'),
    `position` UInt64,
    `written_at` DateTime64(3, 'UTC')
)
ENGINE = {ReplacingMergeTree written_at}
ORDER BY (stream, stream_created_ns, hour)
SETTINGS merge_selector_base = 20
