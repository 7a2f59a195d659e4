-- One table for each type of event, and one for messages that were refused.
--
-- One event_id is one row: copies of an event have the same key, and ReplacingMergeTree keeps one of them. The deduplication
-- window makes a repeated insert with the same token write nothing. `created_at` is set by central, so that a retry is equal.
--
-- Codecs are chosen by measurement, hot and cold apart. README: bytes.
-- A partition has all exchanges, because an insert writes a part for each partition that it touches. README: merges.

--! part head
(
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, {zstd}),
    `exchange` LowCardinality(String),
    `market_type` LowCardinality(String),
    `symbol` LowCardinality(String),
    `venue_symbol` LowCardinality(String),

--! part tail
    `received_at` DateTime64(9, 'UTC') CODEC(Delta, T64, {zstd}),
    `event_id` UInt128 CODEC(ZSTD(1)),
    `edge` LowCardinality(String),
    `region` LowCardinality(String),
    `adapter` LowCardinality(String),
    `data_source` LowCardinality(String),
    `stream_seq` UInt64 CODEC(Delta, T64, {zstd}),
    `created_at` DateTime64(3, 'UTC') CODEC(Delta, {zstd})
)
ENGINE = {ReplacingMergeTree created_at}
{partition}
ORDER BY (exchange, market_type, symbol, timestamp, event_id)
TTL toDateTime(timestamp) + INTERVAL {ttl_days} DAY DELETE
SETTINGS {deduplication_window} = 10000, ttl_only_drop_parts = 1, merge_selector_base = 20

-- Retention drops whole parts, so hot keeps a row up to a day longer than its TTL.
--! part partition in hot
PARTITION BY toYYYYMMDD(timestamp)

--! part partition in cold
PARTITION BY toYYYYMM(timestamp)

-- Trades: one row a match, or an aggregate where the venue publishes only that.
--! in hot cold for trades
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
{head}
    `trade_id` String CODEC({zstd}),
    `price` Decimal(38, 18) CODEC(GCD, {zstd}),
    `quantity` Decimal(38, 18) CODEC(GCD, {zstd}),
    `side` LowCardinality(String),
    `is_maker` Bool CODEC({zstd}),
{tail}

-- Cold takes half of the bytes for four times the CPU time of an insert.
--! part levels in hot
    `bids` Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))) CODEC(ZSTD(1)),
    `asks` Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))) CODEC(ZSTD(1)),

--! part levels in cold
    `bids` Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))) CODEC(GCD, ZSTD(3)),
    `asks` Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))) CODEC(GCD, ZSTD(3)),

-- Order-book snapshots: the best levels at one update of one book. Rows are large, so merges of a few thousand gain by going column by column.
--! in hot cold for orderbooks
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
{head}
    `last_update_id` Int64 CODEC(Delta, {zstd}),
    `checksum` Nullable(Int64) CODEC({zstd}),
{levels}
    `depth` UInt32 CODEC({zstd}),
    `epoch` UInt32 CODEC({zstd}),
{tail}
    , vertical_merge_algorithm_min_rows_to_activate = 8192

-- Funding rates: the fraction paid per interval. `next_funding_time` is the time at which the rate of its row will be charged. README: columns.
--! in hot cold for funding_rates
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
{head}
    `funding_rate` Decimal(38, 18) CODEC(GCD, {zstd}),
    `funding_time` Nullable(DateTime64(6, 'UTC')) CODEC(Delta, {zstd}),
    `next_funding_time` Nullable(DateTime64(6, 'UTC')) CODEC(Delta, {zstd}),
    `interval_hours` Nullable(UInt16) CODEC({zstd}),
    `mark_price` Nullable(Decimal(38, 18)) CODEC(GCD, {zstd}),
    `index_price` Nullable(Decimal(38, 18)) CODEC(GCD, {zstd}),
{tail}

-- Open interest in base units, contracts and US dollars (or the stablecoin of the quote), as far as the venue gives them. README: columns.
--! in hot cold for open_interests
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
{head}
    `open_interest` Nullable(Decimal(38, 18)) CODEC(GCD, {zstd}),
    `open_interest_contracts` Nullable(Decimal(38, 18)) CODEC(GCD, {zstd}),
    `open_interest_value` Nullable(Decimal(38, 18)) CODEC(GCD, {zstd}),
{tail}

-- Liquidations: forced orders, with the order's own side. Which price it is differs by venue. README: columns.
--! in hot cold for liquidations
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
{head}
    `side` LowCardinality(String),
    `price` Decimal(38, 18) CODEC(GCD, {zstd}),
    `quantity` Decimal(38, 18) CODEC(GCD, {zstd}),
    `liquidation_time` Nullable(DateTime64(6, 'UTC')) CODEC(Delta, {zstd}),
    `liquidation_id` String CODEC({zstd}),
{tail}

-- Long/short ratio of the positions of top traders.
--! in hot cold for lsr_top_positions
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
{head}
    `long_position_ratio` Decimal(38, 18) CODEC(GCD, {zstd}),
    `short_position_ratio` Decimal(38, 18) CODEC(GCD, {zstd}),
    `ratio` Nullable(Decimal(38, 18)) CODEC(GCD, {zstd}),
    `period` LowCardinality(String),
{tail}

-- Long/short ratio of all accounts.
--! in hot cold for lsr_all_accounts
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
{head}
    `long_account_ratio` Decimal(38, 18) CODEC(GCD, {zstd}),
    `short_account_ratio` Decimal(38, 18) CODEC(GCD, {zstd}),
    `ratio` Nullable(Decimal(38, 18)) CODEC(GCD, {zstd}),
    `period` LowCardinality(String),
{tail}

-- Volatility indices in percent points.
--! in hot cold for volatility_indices
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
{head}
    `index_value` Decimal(38, 18) CODEC(GCD, {zstd}),
    `underlying_asset` LowCardinality(String),
{tail}

-- Changes of order books: the levels that changed (quantity 0: gone), or all that are known. Integers at the row's scales, because a
-- Decimal of 128 bits takes twice the bytes; columns with a dot share their lengths. One epoch of one edge is numbered without a hole. README: order books of the past.
--! in hot cold for orderbook_deltas
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
{head}
    `epoch` UInt32 CODEC({zstd}),
    `epoch_started_at` DateTime64(9, 'UTC') CODEC({zstd}),
    `number` UInt64 CODEC(DoubleDelta, {zstd}),
    `is_snapshot` Bool CODEC({zstd}),
    `parts_left` UInt32 CODEC({zstd}),
    `first_update_id` Int64 CODEC(Delta, {zstd}),
    `previous_update_id` Nullable(Int64) CODEC(Delta, {zstd}),
    `last_update_id` Int64 CODEC(Delta, {zstd}),
    `checksum` Nullable(Int64) CODEC({zstd}),
    `is_bids_partial` Bool CODEC({zstd}),
    `is_asks_partial` Bool CODEC({zstd}),
    `price_scale` UInt8 CODEC({zstd}),
    `quantity_scale` UInt8 CODEC({zstd}),
    `bids.price` Array(Int64) CODEC(Delta, T64('bit'), {zstd}),
    `bids.quantity` Array(Int64) CODEC(T64, {zstd}),
    `asks.price` Array(Int64) CODEC(Delta, T64('bit'), {zstd}),
    `asks.quantity` Array(Int64) CODEC(T64, {zstd}),
{tail}

-- Quotes: best bid and ask of a book at the update that changed one of them. Integers at the row's scales as above; quantity 0: the book has no
-- such side. README: quotes.
--! in hot cold for quotes
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
{head}
    `epoch` UInt32 CODEC({zstd}),
    `last_update_id` Int64 CODEC(Delta, {zstd}),
    `price_scale` UInt8 CODEC({zstd}),
    `quantity_scale` UInt8 CODEC({zstd}),
    `bid_price` Int64 CODEC(Delta, {zstd}),
    `bid_quantity` Int64 CODEC(T64, {zstd}),
    `ask_price` Int64 CODEC(Delta, {zstd}),
    `ask_quantity` Int64 CODEC(T64, {zstd}),
{tail}

-- Messages that central refused for their content: the bytes as they came, and why. The key holds the payload's hash because a stream
-- that was created anew counts its sequence from 1 again.
--! in hot for dead_letters
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `created_at` DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    `stream` LowCardinality(String),
    `stream_seq` UInt64 CODEC(Delta, ZSTD(1)),
    `subject` String,
    `content_type` LowCardinality(String),
    `message_id` String,
    `reason` String,
    `payload` String CODEC(ZSTD(3))
)
ENGINE = {ReplacingMergeTree created_at}
PARTITION BY toYYYYMMDD(created_at)
ORDER BY (stream, stream_seq, cityHash64(payload))
TTL toDateTime(created_at) + INTERVAL {ttl_days} DAY DELETE
SETTINGS ttl_only_drop_parts = 1, merge_selector_base = 20
