-- Clock and latencies of an edge in one window of received_at. `clocks`: offset of the edge's clock from each venue's with a bound of its
-- error; times of events are not corrected by it. `clock_steps`: times at which the machine's clock was set. `latencies`: events by hop and
-- bucket, upper bounds 10, 25, 50, 100, 250, 500 us, 1, 2.5, 5, 10, 25, 50, 100, 250, 500 ms, 1, 2.5, 5, 10, 30, 60, 120, 300 s, and above.
--! in hot for edge_audits
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `window_start` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    `window_seconds` UInt16 CODEC(ZSTD(1)),
    `edge` LowCardinality(String),
    `region` LowCardinality(String),
    `run` Int64 CODEC(ZSTD(1)),
    `clocks` Array(Tuple(exchange String, offset_ns Int64, error_ns Int64, measured_ns Int64)) CODEC(ZSTD(1)),
    `clock_steps` Array(Tuple(at_ns Int64, by_ns Int64)) CODEC(ZSTD(1)),
    `latencies` Array(Tuple(exchange String, data_type String, hop String, counts Array(UInt64))) CODEC(ZSTD(1)),
    `stream_seq` UInt64 CODEC(Delta, ZSTD(1)),
    `created_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {ReplacingMergeTree created_at}
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, edge, run)
TTL toDateTime(window_start) + INTERVAL {ledger_ttl_days} DAY DELETE
