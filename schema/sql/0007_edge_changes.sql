-- Changes of running edges: versions of adapters, feeds, symbols, settings. A change on trial is told again with its end, so the table is read
-- with FINAL: of equal `edge`, `changed_at` and `change_id` the newest word counts.
--! in hot for edge_changes
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `edge` LowCardinality(String),
    `region` LowCardinality(String),
    `changed_at` DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    `change_id` String CODEC(ZSTD(1)),
    `kind` LowCardinality(String),
    `subject` String CODEC(ZSTD(1)),
    `why` String CODEC(ZSTD(1)),
    `before` String CODEC(ZSTD(1)),
    `after` String CODEC(ZSTD(1)),
    `outcome` LowCardinality(String),
    `cause` String CODEC(ZSTD(1)),
    `digest` String CODEC(ZSTD(1)),
    `stream_seq` UInt64 CODEC(Delta, ZSTD(1)),
    `created_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {ReplacingMergeTree created_at}
ORDER BY (edge, changed_at, change_id)
TTL toDateTime(changed_at) + INTERVAL {ledger_ttl_days} DAY DELETE
