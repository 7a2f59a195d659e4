-- Trades with price times quantity. A Decimal(38, 18) times another has two digits before the point and no check for overflow, so one of
-- the factors has 256 bits. README: arithmetic.
--! in hot cold for trade_values
CREATE VIEW IF NOT EXISTS {database}.{table}{on_cluster}
AS SELECT timestamp, received_at, exchange, market_type, symbol, venue_symbol, trade_id, side, data_source, price, quantity,
    toDecimal256(price, 18) * quantity AS value,
    toFloat64(price) AS price_float,
    toFloat64(quantity) AS quantity_float,
    price_float * quantity_float AS value_float
FROM {database}.trades
