//! Clocks of both servers and the watermarks of all tables, read once for the rounds of all tables.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::sync::Mutex;

use super::queries::{CopyError, Endpoint, HotCold};
use crate::clock;
use crate::server_clock::{ClockReading, ClocksApart, ahead};

#[derive(Debug, Clone)]
pub struct Reading {
    read_at: Instant,
    now_ms: i64,
    /// Everything before it was copied, by table.
    pub watermarks: BTreeMap<String, i64>,
}

impl Reading {
    /// Time up to which rows may be copied: that of the slower server.
    pub fn now_ms(&self) -> i64 {
        self.now_ms.saturating_add(i64::try_from(self.read_at.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

/// The newest reading, or the error of the last try: tables that ask while a server hangs wait once, not each in turn.
#[derive(Debug, Default)]
pub struct SharedReading(Mutex<Option<(Instant, Result<Reading, CopyError>)>>);

impl SharedReading {
    /// A reading that began at this time or later.
    pub async fn since(&self, pair: &HotCold, since: Instant) -> Result<Reading, CopyError> {
        let mut newest = self.0.lock().await;
        if let Some((began, reading)) = &*newest
            && *began >= since
        {
            return reading.clone();
        }
        let began = Instant::now();
        let reading = read(pair).await;
        *newest = Some((began, reading.clone()));
        reading
    }
}

async fn read(pair: &HotCold) -> Result<Reading, CopyError> {
    let (cold_clock, watermarks) = watermarks(&pair.cold).await?;
    let hot_clock = if pair.is_one_server { cold_clock } else { pair.hot.clock().await? };
    let now_ms = ClocksApart::common_now(hot_clock, cold_clock)?;
    Ok(Reading { read_at: Instant::now(), now_ms, watermarks })
}

/// The clock of cold, and the watermarks.
async fn watermarks(cold: &Endpoint) -> Result<(ClockReading, BTreeMap<String, i64>), CopyError> {
    let began_ms = clock::now_ms();
    let sql = format!(
        "SELECT toString(table_name), toInt64(toUnixTimestamp64Milli(upto)) FROM {} FINAL \
         UNION ALL SELECT '', toInt64(toUnixTimestamp64Milli(now64(3, 'UTC')))",
        cold.table("watermarks")
    );
    let rows = cold.ask(cold.query(&sql).fetch_all::<(String, i64)>()).await?;
    let mut watermarks: BTreeMap<String, i64> = rows.into_iter().collect();
    let server_ms = watermarks.remove("").unwrap_or_default();
    Ok((ClockReading { server_ms, ahead_ms: ahead(began_ms, server_ms, clock::now_ms()) }, watermarks))
}
