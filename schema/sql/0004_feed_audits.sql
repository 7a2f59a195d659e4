-- Trouble of a feed in one window of received_at that no single stream can be named for, as a run of an edge tells it. Windows without any
-- have no row. `not_running` is why the feed does not run at the window's end: its streams need not be known then. `not_listed`: configured
-- symbols that the venue does not list.
--! in hot for feed_audits
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `window_start` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    `window_seconds` UInt16 CODEC(ZSTD(1)),
    `exchange` LowCardinality(String),
    `edge` LowCardinality(String),
    `region` LowCardinality(String),
    `run` Int64 CODEC(ZSTD(1)),
    `malformed` UInt64 CODEC(ZSTD(1)),
    `reconnects` UInt64 CODEC(ZSTD(1)),
    `adapter_faults` UInt64 CODEC(ZSTD(1)),
    `not_running` Nullable(String) CODEC(ZSTD(1)),
    `not_listed` Array(String) CODEC(ZSTD(1)),
    `stream_seq` UInt64 CODEC(Delta, ZSTD(1)),
    `created_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {ReplacingMergeTree created_at}
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, exchange, edge, run)
TTL toDateTime(window_start) + INTERVAL {ledger_ttl_days} DAY DELETE
SETTINGS merge_selector_base = 20
