//! Rows of `edge_audits`: clock and latencies of an edge in a window.

use marketprism_schema::{Audit, ClockReading, ClockStep, HopLatency};

use crate::row::{Column, TEXT, binary};

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

/// Nothing for an audit without a word about its edge.
pub fn encode_edge_row(audit: &Audit, stream_seq: u64, published_ns: i64, out: &mut Vec<u8>) {
    if audit.health.is_empty() {
        return;
    }
    binary::int64(out, audit.window_start / MILLI_NS);
    binary::uint16(out, audit.window_seconds);
    for text in [&audit.edge, &audit.region] {
        binary::text(out, text);
    }
    binary::int64(out, audit.run);
    binary::length(out, audit.health.clocks.len());
    for ClockReading { exchange, offset_ns, error_ns, measured_at } in &audit.health.clocks {
        binary::text(out, exchange);
        for number in [offset_ns, error_ns, measured_at] {
            binary::int64(out, *number);
        }
    }
    binary::length(out, audit.health.clock_steps.len());
    for ClockStep { at, by_ns } in &audit.health.clock_steps {
        binary::int64(out, *at);
        binary::int64(out, *by_ns);
    }
    binary::length(out, audit.health.latencies.len());
    for HopLatency { exchange, data_type, hop, counts } in &audit.health.latencies {
        for text in [exchange.as_str(), data_type.as_str(), hop.as_str()] {
            binary::text(out, text);
        }
        binary::length(out, counts.len());
        for count in counts {
            binary::uint64(out, *count);
        }
    }
    binary::uint64(out, stream_seq);
    binary::int64(out, published_ns / MILLI_NS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::defined::{defined, owned};

    #[test]
    fn columns_are_those_of_the_table_definition() {
        assert_eq!(owned(EDGE_AUDITS), defined("edge_audits"));
    }
}
