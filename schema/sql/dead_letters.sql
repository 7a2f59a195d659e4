-- Messages that central refused for their content: the bytes as they came, and why. Kept in the hot database. The key holds the payload's
-- hash because a stream that was created anew counts its sequence from 1 again.
CREATE TABLE IF NOT EXISTS {database}.dead_letters
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
ENGINE = ReplacingMergeTree(created_at)
PARTITION BY toYYYYMM(created_at)
ORDER BY (stream, stream_seq, cityHash64(payload))
TTL toDateTime(created_at) + INTERVAL {ttl_days} DAY DELETE
SETTINGS non_replicated_deduplication_window = 10000
