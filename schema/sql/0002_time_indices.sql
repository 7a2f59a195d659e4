-- The replicator asks for windows of created_at, the ledger for windows of received_at, ingest for ranges of stream_seq. None is in the
-- sorting key; rows arrive in the order of all three, so the smallest and largest value of a granule tell most granules apart. One index of all: each
-- costs every part two files.
--! in hot cold for trades orderbooks funding_rates open_interests liquidations lsr_top_positions lsr_all_accounts volatility_indices orderbook_deltas quotes
ALTER TABLE {database}.{table}{on_cluster}
    ADD INDEX IF NOT EXISTS arrival (created_at, received_at, stream_seq) TYPE minmax GRANULARITY 1

-- Parts written before have no index yet. The server builds it in the background.
--! rows in hot cold for trades orderbooks funding_rates open_interests liquidations lsr_top_positions lsr_all_accounts volatility_indices orderbook_deltas quotes
ALTER TABLE {database}.{table}{on_cluster}
    MATERIALIZE INDEX arrival
