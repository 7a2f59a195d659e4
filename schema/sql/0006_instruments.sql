-- Versions of the instruments: their terms from `valid_from` to `valid_to`. A version's row is replaced when its end or `seen_at` is known better, so
-- the table is read with FINAL. `version` stays the same; `valid_from` may move back, when a late word tells of the terms at an earlier time.
--! in hot cold for instruments
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `exchange` LowCardinality(String),
    `market_type` LowCardinality(String),
    `symbol` LowCardinality(String),
    `version` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `venue_symbol` String CODEC(ZSTD(1)),
    `base` LowCardinality(String),
    `quote` LowCardinality(String),
    `status` LowCardinality(String),
    `contract` LowCardinality(String),
    `contract_size` Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    `contract_value` Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    `price_scale` UInt8 CODEC(ZSTD(1)),
    `quantity_scale` UInt8 CODEC(ZSTD(1)),
    `tick_size` Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    `step_size` Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    `valid_from` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `valid_to` Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    `seen_at` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `updated_at` DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {ReplacingMergeTree updated_at}
ORDER BY (exchange, market_type, symbol, version)
