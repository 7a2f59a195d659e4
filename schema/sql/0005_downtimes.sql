-- Times in which an edge collects a stream on purpose no more: it was stopped or stopped itself, or the stream was delisted or removed from its configuration. A row is
-- written at the stop (`to_ns` 0: it lasts) and one at the next start, with the same `from_ns`: the greatest `to_ns` counts.
--! in hot for downtimes
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `data_type` LowCardinality(String),
    `exchange` LowCardinality(String),
    `market_type` LowCardinality(String),
    `symbol` LowCardinality(String),
    `edge` LowCardinality(String),
    `region` LowCardinality(String),
    `from_ns` Int64 CODEC(ZSTD(1)),
    `to_ns` Int64 CODEC(ZSTD(1)),
    `reason` LowCardinality(String),
    `detail` String CODEC(ZSTD(1)),
    `stream_seq` UInt64 CODEC(Delta, ZSTD(1)),
    `created_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {ReplacingMergeTree created_at}
ORDER BY (exchange, data_type, market_type, symbol, edge, from_ns, to_ns)
TTL toDateTime(created_at) + INTERVAL {ledger_ttl_days} DAY DELETE
