//! State of the ClickHouse servers.

use clickhouse::Row;
use serde::Deserialize;

use super::{Answer, Sources};
use crate::clock;
use crate::report::document::{Disk, ServerState};
use crate::storage::Storage;

#[derive(Debug, Row, Deserialize)]
struct ServerRow {
    version: String,
    uptime: u64,
    now_ms: i64,
}

#[derive(Debug, Row, Deserialize)]
struct PartsRow {
    parts: u64,
    bytes: u64,
}

pub async fn read(
    sources: &Sources,
    role: &'static str,
    storage: &Storage,
    url: &str,
) -> Answer<ServerState> {
    let before = clock::now_ns() / 1_000_000;
    let basics = "SELECT version() AS version, toUInt64(uptime()) AS uptime, \
                  toUnixTimestamp64Milli(now64(3, 'UTC')) AS now_ms";
    let basics = sources.rows::<ServerRow>(storage, basics).await?;
    let after = clock::now_ns() / 1_000_000;
    let basics = basics.into_iter().next().ok_or("the server returned no row")?;
    let sql = format!(
        "SELECT count() AS parts, toUInt64(sum(bytes_on_disk)) AS bytes FROM system.parts \
         WHERE active AND database = '{}'",
        storage.database
    );
    let disks = "SELECT name AS disk, toUInt64(free_space) AS free_bytes, toUInt64(total_space) AS total_bytes \
                 FROM system.disks ORDER BY name LIMIT 32";
    let (parts, disks) =
        tokio::join!(sources.rows::<PartsRow>(storage, &sql), sources.rows::<Disk>(storage, disks));
    let parts = parts?.into_iter().next().ok_or("the server returned no row")?;
    Ok(ServerState {
        role,
        url: url.to_owned(),
        database: storage.database.clone(),
        version: basics.version,
        uptime_seconds: basics.uptime,
        clock_ahead_ms: ahead(before, basics.now_ms, after),
        parts: parts.parts,
        bytes: parts.bytes,
        disks: disks?,
    })
}

/// Difference of a clock that read `theirs` between two local times; 0 when they may agree.
fn ahead(before: i64, theirs: i64, after: i64) -> i64 {
    if theirs < before { theirs - before } else { (theirs - after).max(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_beyond_the_request_time_count_as_clock_skew() {
        assert_eq!([ahead(10, 15, 20), ahead(10, 25, 20), ahead(10, 4, 20)], [0, 5, -6]);
    }
}
