//! Rows of `downtimes`, and the windows whose verdicts they change.

use marketprism_schema::Downtime;

use crate::ledger::windows::{WindowGrid, WindowRange};
use crate::limits;
use crate::row::{Column, TEXT, TableRows};

/// In the order in which rows are written.
pub const DOWNTIMES: &[Column] = &[
    ("data_type", TEXT),
    ("exchange", TEXT),
    ("market_type", TEXT),
    ("symbol", TEXT),
    ("edge", TEXT),
    ("region", TEXT),
    ("from_ns", "Int64"),
    ("to_ns", "Int64"),
    ("reason", TEXT),
    ("detail", "String"),
    ("stream_seq", "UInt64"),
    ("created_at", "DateTime64(3, 'UTC')"),
];

/// `created_at` is the broker's time, so that a redelivery gives the same bytes.
pub fn encode_downtime_rows(downtime: &Downtime, stream_seq: u64, published_ns: i64, rows: &mut TableRows) {
    for stream in &downtime.streams {
        rows.push(|row| {
            for text in stream.names().into_iter().chain([downtime.edge.as_str(), &downtime.region]) {
                row.text(text);
            }
            row.int64(downtime.from);
            row.int64(downtime.to.unwrap_or_default());
            row.text(downtime.reason.as_str());
            row.text(downtime.detail.as_deref().unwrap_or_default());
            row.uint64(stream_seq);
            row.int64(published_ns / 1_000_000);
        });
    }
}

/// Windows to evaluate again now, the newest [`limits::DOWNTIME_WINDOWS`] at most; the recheck reaches the older ones.
pub fn touched_windows(downtime: &Downtime, grid: WindowGrid, now_ns: i64) -> Vec<i64> {
    let to = downtime.to.unwrap_or(now_ns).min(now_ns).max(downtime.from.saturating_add(1));
    let reach = grid.length_ns().saturating_mul(limits::DOWNTIME_WINDOWS);
    let from = downtime.from.max(to.saturating_sub(reach));
    // A window that has not ended is evaluated when it has.
    grid.within(WindowRange { from, to }).filter(|&window| grid.range(window).to <= now_ns).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use marketprism_schema::{DOWNTIME_VERSION, DowntimeReason};

    use super::*;
    use crate::ledger::windows::SECOND_NS;
    use crate::row::defined::{defined, owned};

    #[test]
    fn columns_are_those_of_the_table_definition() {
        assert_eq!(owned(DOWNTIMES), defined("downtimes"));
    }

    #[test]
    fn ended_windows_of_a_downtime_are_touched_and_a_long_one_is_bounded() {
        let minute = 60 * SECOND_NS;
        let grid = WindowGrid::new(Duration::from_secs(60));
        let downtime = |from, to| Downtime {
            version: DOWNTIME_VERSION,
            edge: "e".into(),
            region: "r".into(),
            from,
            to,
            reason: DowntimeReason::Stopped,
            detail: None,
            streams: Vec::new(),
        };
        let some = |from, to| touched_windows(&downtime(from, to), grid, 100 * minute + 5);
        assert_eq!(some(97 * minute + 7, Some(99 * minute)), [97 * minute, 98 * minute]);
        assert_eq!(some(98 * minute + 7, None), [98 * minute, 99 * minute]);
        assert_eq!(some(100 * minute + 1, None), [0_i64; 0]);
        let month = touched_windows(&downtime(1, None), grid, 50_000 * minute);
        let most = usize::try_from(limits::DOWNTIME_WINDOWS).unwrap();
        assert_eq!((month.len(), month.last()), (most, Some(&(49_999 * minute))));
    }
}
