-- Corrections: what another version of an adapter made of kept raw frames, per data type. `old_*` and `new_*`: number, XOR and sum of the hashes
-- of the content of all events that each version gives. Times are those of receipt.
--! in hot for corrections
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `correction` UInt128 CODEC(ZSTD(1)),
    `data_type` LowCardinality(String),
    `exchange` LowCardinality(String),
    `edge` LowCardinality(String),
    `region` LowCardinality(String),
    `from_at` DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    `to_at` DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    `frames` UInt64 CODEC(ZSTD(1)),
    `old_adapter` String CODEC(ZSTD(1)),
    `old_digest` String CODEC(ZSTD(1)),
    `new_adapter` String CODEC(ZSTD(1)),
    `new_digest` String CODEC(ZSTD(1)),
    `old_count` UInt64 CODEC(ZSTD(1)),
    `old_xor` UInt64 CODEC(ZSTD(1)),
    `old_sum` UInt64 CODEC(ZSTD(1)),
    `new_count` UInt64 CODEC(ZSTD(1)),
    `new_xor` UInt64 CODEC(ZSTD(1)),
    `new_sum` UInt64 CODEC(ZSTD(1)),
    `changed` UInt64 CODEC(ZSTD(1)),
    `added` UInt64 CODEC(ZSTD(1)),
    `withdrawn` UInt64 CODEC(ZSTD(1)),
    `stream_seq` UInt64 CODEC(Delta, ZSTD(1)),
    `created_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {ReplacingMergeTree created_at}
ORDER BY (data_type, correction)
TTL toDateTime(created_at) + INTERVAL {ledger_ttl_days} DAY DELETE

-- Events of corrections as they came, one message a row: they replace, add or remove rows once the correction is closed and complete.
-- `was_at` is the venue time of the row that is corrected, `adapter` the new version.
--! in hot for corrected_events
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `correction` UInt128 CODEC(ZSTD(1)),
    `data_type` LowCardinality(String),
    `exchange` LowCardinality(String),
    `market_type` LowCardinality(String),
    `symbol` LowCardinality(String),
    `kind` LowCardinality(String),
    `event_id` UInt128 CODEC(ZSTD(1)),
    `was_at` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `received_at` DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    `edge` LowCardinality(String),
    `adapter` LowCardinality(String),
    `stream` LowCardinality(String),
    `stream_seq` UInt64 CODEC(Delta, ZSTD(1)),
    `payload` String CODEC(ZSTD(3)),
    `created_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX stream_seq_range stream_seq TYPE minmax GRANULARITY 1
)
ENGINE = {ReplacingMergeTree created_at}
PARTITION BY toYYYYMMDD(created_at)
ORDER BY (data_type, correction, received_at, event_id, kind)
TTL toDateTime(created_at) + INTERVAL {ttl_days} DAY DELETE
SETTINGS ttl_only_drop_parts = 1, merge_selector_base = 20

-- Corrections that are carried out, in hot and in cold: one that either lacks, since it was put back to an earlier state, is carried out again.
-- `absent`: events whose row is in neither, and which the correction does not add.
--! in hot cold for applied_corrections
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `data_type` LowCardinality(String),
    `correction` UInt128 CODEC(ZSTD(1)),
    `exchange` LowCardinality(String),
    `edge` LowCardinality(String),
    `from_at` DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    `to_at` DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    `old_adapter` String CODEC(ZSTD(1)),
    `new_adapter` String CODEC(ZSTD(1)),
    `closed_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    `replaced` UInt64 CODEC(ZSTD(1)),
    `added` UInt64 CODEC(ZSTD(1)),
    `withdrawn` UInt64 CODEC(ZSTD(1)),
    `absent` UInt64 CODEC(ZSTD(1)),
    `holder` String CODEC(ZSTD(1)),
    `applied_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {ReplacingMergeTree applied_at}
ORDER BY (data_type, correction)
