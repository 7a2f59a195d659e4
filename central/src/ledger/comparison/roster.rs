//! Which sources ought to report.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use std::str::FromStr as _;

use marketprism_schema::DataType;

use super::facts::{Key, millis};
use crate::ledger::source::Source;
use crate::ledger::windows::Span;
use crate::limits;
use crate::storage::{Storage, StorageError, bounded};

/// An edge that says nothing at all is expected back for so long; after that it is taken as gone.
const EDGE_EXPECTED_NS: i64 = 24 * HOUR_NS;
/// A stream that its edge does not name any more, while it names others, is expected for so long; after that it is taken as no longer
/// collected.
const STREAM_EXPECTED_NS: i64 = HOUR_NS;
const HOUR_NS: i64 = 3_600_000_000_000;

/// First and last window that a source reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reported {
    first: i64,
    last: i64,
}

/// Why an audit of a window is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The source reported windows before and after it.
    Between,
    /// The edge has said nothing since; windows of silence so far.
    EdgeSilent(i64),
    /// The edge goes on to report other streams.
    StreamLeftOut(i64),
}

/// Every source that ever reported, as far as audits are kept. Its size is bounded by edges times streams.
#[derive(Debug, Default)]
pub struct Roster {
    sources: BTreeMap<Source, Reported>,
    edges: HashMap<String, i64>,
    window_ns: i64,
}

#[derive(Debug, clickhouse::Row, Deserialize)]
struct ReportedRow {
    data_type: String,
    exchange: String,
    market_type: String,
    symbol: String,
    edge: String,
    first_ms: i64,
    last_ms: i64,
}

impl Roster {
    /// Nobody, with windows of a length.
    pub fn new(window_ns: i64) -> Self {
        Self { window_ns, ..Self::default() }
    }

    /// Reads who reported at all.
    pub async fn read(&mut self, storage: &Storage) -> Result<(), StorageError> {
        let sql = format!(
            "SELECT toString(data_type) AS data_type, toString(exchange) AS exchange, toString(market_type) AS market_type, \
             toString(symbol) AS symbol, toString(edge) AS edge, toUnixTimestamp64Milli(min(window_start)) AS first_ms, \
             toUnixTimestamp64Milli(max(window_start)) AS last_ms FROM {}.audits \
             WHERE window_start >= {} GROUP BY data_type, exchange, market_type, symbol, edge SETTINGS max_threads = {}",
            storage.database,
            millis(0),
            limits::COMPARISON_THREADS
        );
        let rows: Vec<ReportedRow> =
            bounded(limits::COMPARISON_TIMEOUT, storage.client.query_raw(&sql).fetch_all()).await?;
        for row in rows {
            let Ok(data_type) = DataType::from_str(&row.data_type) else { continue };
            let ReportedRow { exchange, market_type, symbol, edge, .. } = row;
            let source = Source { data_type, exchange, market_type, symbol, edge };
            for window_ms in [row.first_ms, row.last_ms] {
                self.add(&source, window_ms.saturating_mul(1_000_000));
            }
        }
        Ok(())
    }

    /// A source reported a window.
    pub fn add(&mut self, source: &Source, window: i64) {
        let window = window.div_euclid(self.window_ns.max(1)) * self.window_ns.max(1);
        match self.sources.get_mut(source) {
            Some(reported) => {
                reported.first = reported.first.min(window);
                reported.last = reported.last.max(window);
            }
            None => {
                self.sources.insert(source.clone(), Reported { first: window, last: window });
            }
        }
        match self.edges.get_mut(&source.edge) {
            Some(last) => *last = window.max(*last),
            None => {
                self.edges.insert(source.edge.clone(), window);
            }
        }
    }

    /// Why a source ought to have reported a window.
    pub fn expects(&self, source: &Source, window: i64) -> Option<Expected> {
        self.reason(source, *self.sources.get(source)?, window)
    }

    /// Whether a window is the first one that a source reported.
    pub fn is_first(&self, source: &Source, window: i64) -> bool {
        self.sources.get(source).is_some_and(|reported| reported.first == window)
    }

    /// Whether anybody reported the stream of a source before a window.
    pub fn is_known_before(&self, source: &Source, window: i64) -> bool {
        let nobody = Source { edge: String::new(), ..source.clone() };
        let same_stream = |other: &Source| {
            (other.data_type, &other.exchange, &other.market_type, &other.symbol)
                == (source.data_type, &source.exchange, &source.market_type, &source.symbol)
        };
        self.sources
            .range(nobody..)
            .take_while(|(other, _)| same_stream(other))
            .any(|(_, reported)| reported.first < window)
    }

    /// Every source that ought to have reported a window.
    pub fn expected(&self, window: i64) -> impl Iterator<Item = Key> {
        let is_expected = move |(source, reported): &(&Source, &Reported)| {
            self.reason(source, **reported, window).is_some()
        };
        self.sources.iter().filter(is_expected).map(move |(source, _)| (window, source.clone()))
    }

    /// From the first window that anybody reported to the last one that anybody is expected to report.
    pub fn reach(&self) -> Option<Span> {
        let from = self.sources.values().map(|reported| reported.first).min()?;
        let to = self.sources.values().map(|reported| reported.last).max()?;
        Some(Span { from, to: to.saturating_add(EDGE_EXPECTED_NS) })
    }

    fn reason(&self, source: &Source, reported: Reported, window: i64) -> Option<Expected> {
        let since = window - reported.last;
        let windows = since / self.window_ns.max(1);
        let edge_goes_on = self.edges.get(&source.edge).is_some_and(|&last| last > reported.last);
        match since {
            _ if window < reported.first => None,
            ..=0 => Some(Expected::Between),
            _ if edge_goes_on => (since <= STREAM_EXPECTED_NS).then_some(Expected::StreamLeftOut(windows)),
            _ => (since <= EDGE_EXPECTED_NS).then_some(Expected::EdgeSilent(windows)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_NS: i64 = 60_000_000_000;

    fn source(edge: &str, symbol: &str) -> Source {
        Source {
            data_type: DataType::Trade,
            exchange: "sim_spot".into(),
            market_type: "spot".into(),
            symbol: symbol.into(),
            edge: edge.into(),
        }
    }

    /// Goal: a window between two reports is always expected, a silent edge for a day, a stream left out for an hour, nothing before the
    /// first report.
    #[test]
    fn who_reported_is_expected_for_a_while() {
        let mut roster = Roster::new(MINUTE_NS);
        let (a, b) = (source("e1", "A-B"), source("e1", "C-D"));
        roster.add(&a, 100 * MINUTE_NS);
        roster.add(&a, 5_000 * MINUTE_NS);
        roster.add(&b, 200 * MINUTE_NS);
        let at = |source: &Source, minute: i64| roster.expects(source, minute * MINUTE_NS);
        assert_eq!((at(&a, 99), at(&a, 3_000)), (None, Some(Expected::Between)));
        assert_eq!(at(&a, 5_002), Some(Expected::EdgeSilent(2)));
        assert_eq!((at(&a, 6_440), at(&a, 6_441)), (Some(Expected::EdgeSilent(1_440)), None));
        assert_eq!((at(&b, 260), at(&b, 261)), (Some(Expected::StreamLeftOut(60)), None));
        assert_eq!(at(&source("e2", "A-B"), 300), None);
        let known =
            |symbol: &str, minute: i64| roster.is_known_before(&source("e2", symbol), minute * MINUTE_NS);
        assert_eq!((known("A-B", 100), known("A-B", 101), known("C-D", 200)), (false, true, false));
        assert!(roster.is_first(&a, 100 * MINUTE_NS) && !roster.is_first(&b, 201 * MINUTE_NS));
        assert_eq!(roster.expected(5_002 * MINUTE_NS).collect::<Vec<_>>(), [(5_002 * MINUTE_NS, a)]);
    }
}
