-- Order-book deltas and quotes with decimals, and the state of a book at a time. README: order books of the past, quotes.

-- One row for each changed level.
--! in hot cold for orderbook_delta_levels
CREATE VIEW IF NOT EXISTS {database}.{table}{on_cluster}
AS SELECT timestamp, exchange, market_type, symbol, edge, epoch, epoch_started_at, number, is_snapshot, last_update_id,
    level.1 AS side,
    toDecimal128(level.2, 0) * toDecimal128(concat('1e-', toString(price_scale)), 18) AS price,
    toDecimal128(level.3, 0) * toDecimal128(concat('1e-', toString(quantity_scale)), 18) AS quantity,
    toFloat64(price) AS price_float,
    toFloat64(quantity) AS quantity_float
FROM {database}.orderbook_deltas
ARRAY JOIN arrayConcat(
    arrayMap((price, quantity) -> ('bid', price, quantity), bids.price, bids.quantity),
    arrayMap((price, quantity) -> ('ask', price, quantity), asks.price, asks.quantity)) AS level

-- The levels of one book at a time, as one edge had them. A missing record, or a time after which the edge began another epoch, is an error.
--! in hot cold for book_at
CREATE VIEW IF NOT EXISTS {database}.{table}{on_cluster}
AS WITH
    toDateTime64({at:String}, 6, 'UTC') AS moment,
    found AS (
        SELECT number, timestamp, epoch_started_at, is_snapshot, parts_left
        FROM {database}.orderbook_deltas
        WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND symbol = {symbol:String} AND edge = {edge:String}
            AND timestamp > moment - INTERVAL 1 DAY AND timestamp <= moment + INTERVAL 1 DAY),
    (SELECT argMax(epoch_started_at, (timestamp, epoch_started_at)) FROM found WHERE timestamp <= moment) AS started,
    (SELECT max(number) FROM found WHERE timestamp <= moment AND epoch_started_at = started) AS newest,
    (SELECT max(number) FROM found WHERE timestamp <= moment AND epoch_started_at = started AND is_snapshot) AS base,
    (SELECT throwIf(countIf(number = newest AND epoch_started_at = started AND parts_left > 0) > 0
        OR uniqExactIf(number, epoch_started_at = started AND number BETWEEN base AND newest) != newest - base + 1
        OR countIf(epoch_started_at = started AND number = base AND is_snapshot) = 0
        OR (countIf(timestamp > moment) > 0 AND countIf(epoch_started_at = started AND number = newest + 1) = 0),
        'not provable: nothing is stored, records are missing, or the book was rebuilt at that time')
        FROM found) AS is_unknown
SELECT side, price, argMax(quantity, number) AS quantity, toFloat64(price) AS price_float, toFloat64(quantity) AS quantity_float
FROM {database}.orderbook_delta_levels
WHERE exchange = {exchange:String} AND market_type = {market_type:String} AND symbol = {symbol:String} AND edge = {edge:String}
    AND timestamp > moment - INTERVAL 1 DAY AND epoch_started_at = started AND number BETWEEN base AND newest
    AND is_unknown = 0
GROUP BY side, price
HAVING quantity > 0
ORDER BY side, if(side = 'bid', -price, price)

-- Prices and quantities are null on a side that the book does not have.
--! in hot cold for quote_prices
CREATE VIEW IF NOT EXISTS {database}.{table}{on_cluster}
AS WITH
    toDecimal128(concat('1e-', toString(stored.price_scale)), 18) AS price_unit,
    toDecimal128(concat('1e-', toString(stored.quantity_scale)), 18) AS quantity_unit
SELECT timestamp, received_at, exchange, market_type, symbol, edge, epoch, last_update_id,
    if(stored.bid_quantity = 0, NULL, toDecimal128(stored.bid_price, 0) * price_unit) AS bid_price,
    if(stored.bid_quantity = 0, NULL, toDecimal128(stored.bid_quantity, 0) * quantity_unit) AS bid_quantity,
    if(stored.ask_quantity = 0, NULL, toDecimal128(stored.ask_price, 0) * price_unit) AS ask_price,
    if(stored.ask_quantity = 0, NULL, toDecimal128(stored.ask_quantity, 0) * quantity_unit) AS ask_quantity,
    toFloat64(bid_price) AS bid_price_float,
    toFloat64(bid_quantity) AS bid_quantity_float,
    toFloat64(ask_price) AS ask_price_float,
    toFloat64(ask_quantity) AS ask_quantity_float
FROM {database}.quotes AS stored
