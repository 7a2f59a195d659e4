//! Rows of `edge_audits`: clock and latencies of an edge in a window.

use marketprism_schema::{Audit, ClockReading, ClockStep, HopLatency};

use crate::ledger::windows::{WindowGrid, WindowRange};
use crate::row::{Column, TEXT, TableRows};

/// In the order in which rows are written.
pub const EDGE_AUDITS: &[Column] = &[
    ("window_start", "DateTime64(3, 'UTC')"),
    ("window_seconds", "UInt16"),
    ("edge", TEXT),
    ("region", TEXT),
    ("run", "Int64"),
    ("clocks", "Array(Tuple(exchange String, offset_ns Int64, error_ns Int64, measured_ns Int64))"),
    ("clock_steps", "Array(Tuple(at_ns Int64, by_ns Int64))"),
    ("latencies", "Array(Tuple(exchange String, data_type String, hop String, counts Array(UInt64)))"),
    ("stream_seq", "UInt64"),
    ("created_at", "DateTime64(3, 'UTC')"),
];

const MILLI_NS: i64 = 1_000_000;

/// Nothing for an audit without facts about its edge.
pub fn encode_edge_row(audit: &Audit, stream_seq: u64, published_ns: i64, rows: &mut TableRows) {
    if audit.health.is_empty() {
        return;
    }
    rows.push(|row| {
        row.int64(audit.window_start / MILLI_NS);
        row.uint16(audit.window_seconds);
        for text in [&audit.edge, &audit.region] {
            row.text(text);
        }
        row.int64(audit.run);
        row.array(&audit.health.clocks, |row, clock| {
            let ClockReading { exchange, offset_ns, error_ns, measured_at } = clock;
            row.text(exchange);
            for number in [offset_ns, error_ns, measured_at] {
                row.int64(*number);
            }
        });
        row.array(&audit.health.clock_steps, |row, ClockStep { at, by_ns }| {
            row.int64(*at);
            row.int64(*by_ns);
        });
        row.array(&audit.health.latencies, |row, HopLatency { exchange, data_type, hop, counts }| {
            for text in [exchange.as_str(), data_type.as_str(), hop.as_str()] {
                row.text(text);
            }
            row.array(counts, |row, count| row.uint64(*count));
        });
        row.uint64(stream_seq);
        row.int64(published_ns / MILLI_NS);
    });
}

/// Windows whose verdicts change with an audit: its own, and those that the edge's clock passes twice, for it was set back, or skips then, for it was
/// set forward. Of a long time the recheck finds the rest.
pub fn audited_windows(window_start: i64, clock_steps: &[ClockStep], grid: WindowGrid) -> Vec<i64> {
    let stepped = clock_steps.iter().flat_map(|&ClockStep { at, by_ns }| {
        let earlier = at.min(at.saturating_sub(by_ns));
        grid.within(WindowRange::relived(earlier, -by_ns.saturating_abs())).take(RELIVED_MAX)
    });
    stepped.chain([window_start]).collect()
}

const RELIVED_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ledger::windows::SECOND_NS;
    use crate::row::defined::{defined, owned};

    #[test]
    fn windows_that_a_clock_passes_twice_or_skips_are_compared_again() {
        let step = |at: i64, by: i64| ClockStep { at: at * SECOND_NS, by_ns: by * SECOND_NS };
        let grid = WindowGrid::new(Duration::from_secs(10));
        let windows = audited_windows(90 * SECOND_NS, &[step(33, -25), step(500, 60)], grid);
        let expected = [20, 30, 40, 50, 430, 440, 450, 460, 470, 480, 490, 90];
        assert_eq!(windows, expected.map(|at| at * SECOND_NS));
    }

    #[test]
    fn columns_are_those_of_the_table_definition() {
        assert_eq!(owned(EDGE_AUDITS), defined("edge_audits"));
    }
}
