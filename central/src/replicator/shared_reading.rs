//! Clocks of both servers, watermarks of all tables and copy marks, read once for the rounds of all tables.

use std::collections::BTreeMap;
use std::time::Instant;

use super::corrections::SharedCorrections;
use super::queries::{CopyError, Endpoint, HotCold};
use super::table_states::SharedStates;
use super::window_log::LogExtent;
use crate::clock;
use crate::copy_marks::{self, CopyMarks, HotPutBack};
use crate::server_clock::{ClockReading, ClocksApart, ahead};
use crate::shared_answer::SharedAnswer;

/// Answers to what the workers of all tables ask.
#[derive(Default)]
pub struct SharedAnswers {
    pub servers: SharedAnswer<Reading, CopyError>,
    /// Of the window log, by table.
    pub extents: SharedAnswer<BTreeMap<String, LogExtent>, CopyError>,
    pub states: SharedStates,
    pub corrections: SharedCorrections,
}

#[derive(Debug, Clone)]
pub struct Reading {
    read_at: Instant,
    now_ms: i64,
    /// Everything before it was copied, by table.
    pub watermarks: BTreeMap<String, i64>,
    put_back: Vec<HotPutBack>,
}

impl Reading {
    /// Time up to which rows may be copied: that of the slower server.
    pub fn now_ms(&self) -> i64 {
        self.now_ms.saturating_add(i64::try_from(self.read_at.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// Fails while hot lacks rows of a stream that cold may have.
    pub fn check_hot(&self, stream: &str) -> Result<(), HotPutBack> {
        self.put_back.iter().find(|found| found.stream == stream).map_or(Ok(()), |found| Err(found.clone()))
    }
}

pub async fn read(pair: &HotCold) -> Result<Reading, CopyError> {
    let (cold_clock, mut watermarks) = watermarks(&pair.cold).await?;
    let of_cold: CopyMarks =
        copy_marks::streams().into_iter().filter_map(|stream| watermarks.remove_entry(stream)).collect();
    let hot_clock = if pair.is_one_server { cold_clock } else { pair.hot.clock().await? };
    let now_ms = ClocksApart::common_now(hot_clock, cold_clock)?;
    let read_at = Instant::now();
    let put_back = move_marks(pair, now_ms, &of_cold).await?;
    Ok(Reading { read_at, now_ms, watermarks, put_back })
}

/// Gives every stream the mark of this round, but for those of which hot was put back.
async fn move_marks(pair: &HotCold, now_ms: i64, of_cold: &CopyMarks) -> Result<Vec<HotPutBack>, CopyError> {
    let (hot, cold) = (&pair.hot, &pair.cold);
    let of_hot = copy_marks::of_hot(&hot.storage, hot.limit).await.map_err(|error| hot.failed(error))?;
    let mut put_back = Vec::new();
    let mut known: Vec<(&str, Option<i64>)> = Vec::new();
    for stream in copy_marks::streams() {
        let hot_ms = of_hot.get(stream).copied();
        match copy_marks::put_back(stream, hot_ms, of_cold) {
            Some(found) => put_back.push(found),
            None => known.push((stream, hot_ms)),
        }
    }
    if !known.is_empty() {
        let mark_ms = copy_marks::next(now_ms, &of_hot, of_cold);
        let streams: Vec<&str> = known.iter().map(|(stream, _)| *stream).collect();
        copy_marks::write_to_hot(&hot.storage, &known, mark_ms).await.map_err(|e| hot.failed(e))?;
        copy_marks::write_to_cold(&cold.storage, &streams, mark_ms).await.map_err(|e| cold.failed(e))?;
    }
    Ok(put_back)
}

/// The clock of cold, the watermarks of tables and the copy marks of streams.
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
