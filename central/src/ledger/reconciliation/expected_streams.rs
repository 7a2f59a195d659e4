//! Streams whose edges are expected to report audits.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use marketprism_schema::{Capability, DataType, MarketType, Numbering, StreamId};

use super::queries::{self, WindowKey};
use crate::ledger::windows::{EdgeStream, WindowGrid, WindowRange};
use crate::limits;
use crate::storage::{Storage, StorageError};

/// A silent edge is expected back for so long; then it counts as decommissioned.
const EDGE_EXPECTED_NS: i64 = 24 * HOUR_NS;
/// A stream that its edge leaves out while it reports others is expected for so long; then it counts as unsubscribed.
const STREAM_EXPECTED_NS: i64 = HOUR_NS;
const HOUR_NS: i64 = 3_600_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ReportingPeriod {
    first: i64,
    last: i64,
}

/// Why an audit is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// The edge reported earlier and later windows of the stream.
    BetweenReports,
    /// No audit of the edge for so many windows.
    EdgeSilent(i64),
    /// The edge reports other streams, but not this one for so many windows.
    StreamLeftOut(i64),
}

/// Every stream and edge that ever reported, as far back as audits are kept. Bounded by edges times streams.
#[derive(Debug, Default)]
pub struct ExpectedStreams {
    streams: BTreeMap<EdgeStream, ReportingPeriod>,
    edges: HashMap<String, i64>,
    /// The newest capability of each stream, with its window.
    capabilities: BTreeMap<StreamId, (i64, Capability)>,
    window_ns: i64,
}

impl ExpectedStreams {
    pub fn new(window_ns: i64) -> Self {
        Self { window_ns, ..Self::default() }
    }

    pub async fn read(&mut self, storage: &Storage) -> Result<(), StorageError> {
        for (stream, windows, capability) in queries::reporting_periods(storage).await? {
            for window in windows {
                self.add(&stream, window, capability);
            }
        }
        Ok(())
    }

    pub fn add(&mut self, edge_stream: &EdgeStream, window: i64, capability: Capability) {
        let window = window.div_euclid(self.window_ns.max(1)) * self.window_ns.max(1);
        let period = ReportingPeriod { first: window, last: window };
        let reported = self.streams.entry(edge_stream.clone()).or_insert(period);
        *reported = ReportingPeriod { first: reported.first.min(window), last: reported.last.max(window) };
        let last = self.edges.entry(edge_stream.edge.clone()).or_insert(window);
        *last = window.max(*last);
        let newest = self.capabilities.entry(edge_stream.stream.clone()).or_insert((window, capability));
        if window >= newest.0 {
            *newest = (window, capability);
        }
    }

    /// Of the newest audit of a stream.
    pub fn capability(&self, stream: &StreamId) -> Option<Capability> {
        self.capabilities.get(stream).map(|(_, capability)| *capability)
    }

    /// Exchanges and market types with trades whose ids rise by one.
    pub fn numbered_trades(&self) -> BTreeSet<(String, MarketType)> {
        let numbered = self.capabilities.iter().filter(|(stream, (_, capability))| {
            stream.data_type == DataType::Trade && capability.numbering == Numbering::ByOne
        });
        numbered.map(|(stream, _)| (stream.exchange.clone(), stream.market_type)).collect()
    }

    pub fn expects(&self, edge_stream: &EdgeStream, window: i64) -> Option<Expectation> {
        self.reason(edge_stream, *self.streams.get(edge_stream)?, window)
    }

    pub fn is_first(&self, edge_stream: &EdgeStream, window: i64) -> bool {
        self.streams.get(edge_stream).is_some_and(|reported| reported.first == window)
    }

    /// The edge reported a window of the stream that begins later.
    pub fn is_reported_after(&self, edge_stream: &EdgeStream, at_ns: i64) -> bool {
        self.streams.get(edge_stream).is_some_and(|reported| reported.last > at_ns)
    }

    /// Some edge reported the stream before the window.
    pub fn is_known_before(&self, edge_stream: &EdgeStream, window: i64) -> bool {
        let any_edge = EdgeStream { edge: String::new(), ..edge_stream.clone() };
        self.streams
            .range(any_edge..)
            .take_while(|(other, _)| other.stream == edge_stream.stream)
            .any(|(_, reported)| reported.first < window)
    }

    pub fn expected(&self, window: i64) -> impl Iterator<Item = WindowKey> {
        let is_expected = move |(edge_stream, reported): &(&EdgeStream, &ReportingPeriod)| {
            self.reason(edge_stream, **reported, window).is_some()
        };
        self.streams.iter().filter(is_expected).map(move |(edge_stream, _)| (window, edge_stream.clone()))
    }

    /// From the first reported window to the last one for which an audit may be expected.
    pub fn reach(&self) -> Option<WindowRange> {
        let from = self.streams.values().map(|reported| reported.first).min()?;
        let to = self.streams.values().map(|reported| reported.last).max()?;
        Some(WindowRange { from, to: to.saturating_add(EDGE_EXPECTED_NS) })
    }

    /// Joins adjacent windows that are evaluated together: fewer, the more streams are expected in them. Input in ascending order.
    pub fn spans(&self, grid: WindowGrid, windows: &[i64]) -> Vec<WindowRange> {
        let (Some(&from), Some(&last)) = (windows.first(), windows.last()) else { return Vec::new() };
        let most = self.windows_a_span(WindowRange { from, to: grid.range(last).to });
        grid.join(windows.iter().copied(), most)
    }

    fn windows_a_span(&self, range: WindowRange) -> i64 {
        // A stream is expected in one stretch: from its first window on, until some time after its last one.
        let is_expected = |(edge_stream, reported): &(&EdgeStream, &ReportingPeriod)| {
            let window = reported.first.max(range.from);
            window < range.to && self.reason(edge_stream, **reported, window).is_some()
        };
        let streams = i64::try_from(self.streams.iter().filter(is_expected).count()).unwrap_or(i64::MAX);
        (limits::KEYS_A_SPAN / streams.max(1)).clamp(1, limits::WINDOWS_A_SPAN)
    }

    fn reason(
        &self,
        edge_stream: &EdgeStream,
        reported: ReportingPeriod,
        window: i64,
    ) -> Option<Expectation> {
        let since = window - reported.last;
        let windows = since / self.window_ns.max(1);
        let edge_goes_on = self.edges.get(&edge_stream.edge).is_some_and(|&last| last > reported.last);
        match since {
            _ if window < reported.first => None,
            ..=0 => Some(Expectation::BetweenReports),
            _ if edge_goes_on => (since <= STREAM_EXPECTED_NS).then_some(Expectation::StreamLeftOut(windows)),
            _ => (since <= EDGE_EXPECTED_NS).then_some(Expectation::EdgeSilent(windows)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MINUTE_NS: i64 = 60_000_000_000;

    fn source(edge: &str, symbol: &str) -> EdgeStream {
        let stream = StreamId::parse(&format!("trade.sim_spot.spot.{symbol}")).unwrap();
        EdgeStream { stream, edge: edge.into() }
    }

    #[test]
    fn streams_that_were_reported_are_expected_for_a_while() {
        let mut expected = ExpectedStreams::new(MINUTE_NS);
        let (a, b) = (source("e1", "A-B"), source("e1", "C-D"));
        expected.add(&a, 100 * MINUTE_NS, Capability::UNNUMBERED);
        expected.add(&a, 5_000 * MINUTE_NS, Capability::UNNUMBERED);
        expected.add(&b, 200 * MINUTE_NS, Capability::UNNUMBERED);
        let at = |edge_stream: &EdgeStream, minute: i64| expected.expects(edge_stream, minute * MINUTE_NS);
        assert_eq!((at(&a, 99), at(&a, 3_000)), (None, Some(Expectation::BetweenReports)));
        assert_eq!(at(&a, 5_002), Some(Expectation::EdgeSilent(2)));
        assert_eq!((at(&a, 6_440), at(&a, 6_441)), (Some(Expectation::EdgeSilent(1_440)), None));
        assert_eq!((at(&b, 260), at(&b, 261)), (Some(Expectation::StreamLeftOut(60)), None));
        assert_eq!(at(&source("e2", "A-B"), 300), None);
        let known =
            |symbol: &str, minute: i64| expected.is_known_before(&source("e2", symbol), minute * MINUTE_NS);
        assert_eq!((known("A-B", 100), known("A-B", 101), known("C-D", 200)), (false, true, false));
        assert!(expected.is_first(&a, 100 * MINUTE_NS) && !expected.is_first(&b, 201 * MINUTE_NS));
        assert_eq!(expected.expected(5_002 * MINUTE_NS).collect::<Vec<_>>(), [(5_002 * MINUTE_NS, a)]);
    }

    /// An hour of 1,000 streams of two edges has 120,000.
    #[test]
    fn the_windows_evaluated_together_are_fewer_the_more_streams_are_expected() {
        let mut expected = ExpectedStreams::new(MINUTE_NS);
        let grid = WindowGrid::new(Duration::from_nanos(MINUTE_NS.unsigned_abs()));
        // Their lengths, of a day.
        let spans = |expected: &ExpectedStreams, from: i64| -> Vec<i64> {
            let windows: Vec<i64> = (from..from + 1_440).map(|minute| minute * MINUTE_NS).collect();
            let spans = expected.spans(grid, &windows);
            spans.iter().map(|span| (span.to - span.from) / MINUTE_NS).collect()
        };
        let few = [limits::WINDOWS_A_SPAN, limits::WINDOWS_A_SPAN, 1_440 - 2 * limits::WINDOWS_A_SPAN];
        assert_eq!(spans(&expected, 0), few);
        for (edge, n) in ["e1", "e2"].into_iter().flat_map(|edge| (0..1_000).map(move |n| (edge, n))) {
            for minute in [10_000, 20_000] {
                let stream = source(edge, &format!("A{n}-B"));
                expected.add(&stream, minute * MINUTE_NS, Capability::UNNUMBERED);
            }
        }
        for from in [9_000, 15_000, 20_000, 21_000] {
            let found = spans(&expected, from);
            assert_eq!(found.iter().sum::<i64>(), 1_440, "from minute {from} on");
            let most = found.iter().max().unwrap();
            assert!(*most <= limits::KEYS_A_SPAN / 2_000, "{most} from minute {from} on");
        }
        for from in [8_000, 22_000] {
            assert_eq!(spans(&expected, from), few, "from minute {from} on");
        }
        assert!(expected.spans(grid, &[]).is_empty());
    }
}
