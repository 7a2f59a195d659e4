//! marketprism-clickhouse.
fn main() {}
