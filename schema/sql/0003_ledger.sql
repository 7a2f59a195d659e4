-- What the statement about every window is made of: what edges say, what was found, what was copied.

-- Events that hot has already from another message: from another edge, or published again, so that every event of every message of a stream
-- is in exactly one of hot, copies and dead_letters. A row has events of one edge and stream that were received within a minute and stored together; the
-- key has a hash of them, so that rows that begin at the same time stay apart.
--! in hot for copies
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `data_type` LowCardinality(String),
    `exchange` LowCardinality(String),
    `market_type` LowCardinality(String),
    `symbol` LowCardinality(String),
    `edge` LowCardinality(String),
    `found` LowCardinality(String),
    `stream` LowCardinality(String),
    `received_from` DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    `received_to` DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    `stream_seq_from` UInt64 CODEC(Delta, ZSTD(1)),
    `stream_seq_to` UInt64 CODEC(Delta, ZSTD(1)),
    `events.event_id` Array(UInt128) CODEC(ZSTD(1)),
    `events.received_at` Array(DateTime64(9, 'UTC')) CODEC(Delta, T64, ZSTD(1)),
    `events.stream_seq` Array(UInt64) CODEC(Delta, T64, ZSTD(1)),
    `created_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX arrival (created_at, received_from, received_to, stream_seq_from, stream_seq_to) TYPE minmax GRANULARITY 1
)
ENGINE = {ReplacingMergeTree created_at}
PARTITION BY toYYYYMMDD(created_at)
ORDER BY (exchange, data_type, market_type, symbol, edge, received_from, cityHash64(found, stream, events.event_id, events.received_at, events.stream_seq))
TTL toDateTime(created_at) + INTERVAL {ttl_days} DAY DELETE
SETTINGS ttl_only_drop_parts = 1, merge_selector_base = 20

-- Copies, one row an event. The index knows the times and sequences of rows only: `received_from` to `stream_seq_to` belong into a condition too.
--! in hot for copied_events
CREATE VIEW IF NOT EXISTS {database}.{table}{on_cluster}
AS SELECT data_type, exchange, market_type, symbol, edge, found, stream, received_from, received_to, stream_seq_from, stream_seq_to,
    event_id, received_at, stream_seq, created_at
FROM {database}.copies
ARRAY JOIN events.event_id AS event_id, events.received_at AS received_at, events.stream_seq AS stream_seq

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
