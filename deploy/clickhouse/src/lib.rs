//! marketprism-clickhouse.
