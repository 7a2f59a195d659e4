//! How the ClickHouse servers are.

use clickhouse::Row;
use serde::Deserialize;

use super::{Part, Sources};
use crate::clock;
use crate::report::document::{Disk, ServerState};
use crate::storage::Storage;

#[derive(Debug, Row, Deserialize)]
struct Basics {
    version: String,
    uptime: u64,
    now_ms: i64,
}

#[derive(Debug, Row, Deserialize)]
struct Parts {
    parts: u64,
    bytes: u64,
}

#[derive(Debug, Row, Deserialize)]
struct DiskRow {
    disk: String,
    free_bytes: u64,
    total_bytes: u64,
}

/// Asks one server.
pub async fn read(sources: &Sources, role: &'static str, storage: &Storage, url: &str) -> Part<ServerState> {
    let before = clock::now_ns() / 1_000_000;
    let basics = "SELECT version() AS version, toUInt64(uptime()) AS uptime, \
                  toUnixTimestamp64Milli(now64(3, 'UTC')) AS now_ms";
    let basics = sources.rows::<Basics>(storage, basics).await?;
    let after = clock::now_ns() / 1_000_000;
    let basics = basics.into_iter().next().ok_or("the server answered nothing")?;
    let sql = format!(
        "SELECT count() AS parts, toUInt64(sum(bytes_on_disk)) AS bytes FROM system.parts \
         WHERE active AND database = '{}'",
        storage.database
    );
    let disks = "SELECT name AS disk, toUInt64(free_space) AS free_bytes, toUInt64(total_space) AS total_bytes \
                 FROM system.disks ORDER BY name LIMIT 32";
    let (parts, disks) =
        tokio::join!(sources.rows::<Parts>(storage, &sql), sources.rows::<DiskRow>(storage, disks));
    let parts = parts?.into_iter().next().ok_or("the server answered nothing")?;
    let disk =
        |row: DiskRow| Disk { disk: row.disk, free_bytes: row.free_bytes, total_bytes: row.total_bytes };
    Ok(ServerState {
        role,
        url: url.to_owned(),
        database: storage.database.clone(),
        version: basics.version,
        uptime_seconds: basics.uptime,
        clock_ahead_ms: ahead(before, basics.now_ms, after),
        parts: parts.parts,
        bytes: parts.bytes,
        disks: disks?.into_iter().map(disk).collect(),
    })
}

/// How far a clock is ahead that said `theirs` some time between two moments of ours: 0 when it may agree.
fn ahead(before: i64, theirs: i64, after: i64) -> i64 {
    if theirs < before { theirs - before } else { (theirs - after).max(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: only what the time of the request cannot explain counts as a difference of clocks.
    #[test]
    fn clocks_differ_beyond_the_request_only() {
        assert_eq!([ahead(10, 15, 20), ahead(10, 25, 20), ahead(10, 4, 20)], [0, 5, -6]);
    }
}
