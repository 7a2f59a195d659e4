-- What was applied to this database. It is the first entry of its own list.
--! in hot cold for schema_migrations
CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster}
(
    `version` UInt32,
    `name` String,
    `checksum` String,
    `applied_at` DateTime64(3, 'UTC'),
    `applied_by` String
)
ENGINE = {ReplacingMergeTree applied_at}
ORDER BY version
