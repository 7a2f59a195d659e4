//! Gaps of streams that are silent for longer than their adapter expects while their connection is open. Such a gap begins with the stream's last
//! event and ends with its next one. Only data that comes at intervals has such gaps: the silence of trades and books may be a quiet market.

use std::collections::{BTreeMap, HashMap};

use marketprism_adapter_host::{InstrumentIndex, SourceIndex, StreamIndex};
use marketprism_schema::{DataType, Gap, GapCause, GapKind};

use super::GapMonitor;
use crate::audit::{AuditStream, GapEvent};
use crate::gaps::evidence::streams_of;

/// A stream of a connection of the plan.
type PlanStream = (SourceIndex, StreamIndex);

#[derive(Debug, Default)]
pub(super) struct Silences {
    /// Receive time of the first event of the newest batch, per stream.
    newest_ns: HashMap<PlanStream, i64>,
    lasting: BTreeMap<PlanStream, Silence>,
    /// Last time at which an instrument was known not to trade: its silence until then was no gap.
    untraded_ns: BTreeMap<InstrumentIndex, i64>,
}

#[derive(Debug)]
struct Silence {
    instrument: Option<InstrumentIndex>,
    streams: Vec<AuditStream>,
}

impl Silences {
    pub(super) fn contains(&self, stream: AuditStream) -> bool {
        self.lasting.values().any(|silence| silence.streams.contains(&stream))
    }

    /// These streams have ended, or another part has them.
    pub(super) fn forget(&mut self, streams: &[AuditStream]) {
        for silence in self.lasting.values_mut() {
            silence.streams.retain(|stream| !streams.contains(stream));
        }
        self.lasting.retain(|_, silence| !silence.streams.is_empty());
    }
}

/// Without an event something is missing. A market without trades is quiet, as is a book that does not change, whose numbers or checksum show each loss.
const fn comes_at_intervals(kind: DataType) -> bool {
    match kind {
        DataType::FundingRate
        | DataType::OpenInterest
        | DataType::LsrTopPosition
        | DataType::LsrAllAccount
        | DataType::VolatilityIndex => true,
        DataType::Trade
        | DataType::OrderBook
        | DataType::OrderBookDelta
        | DataType::Quote
        | DataType::Liquidation => false,
    }
}

impl GapMonitor {
    /// A stream of a connection delivered something.
    pub fn stream_received(&mut self, source: SourceIndex, stream: StreamIndex, at_ns: i64) {
        self.silences.newest_ns.insert((source, stream), at_ns);
        if let Some(silence) = self.silences.lasting.remove(&(source, stream)) {
            self.end_silence(silence, at_ns);
        }
    }

    fn end_silence(&mut self, silence: Silence, at_ns: i64) {
        for stream in silence.streams {
            self.push(GapEvent::Recovered(stream, GapKind::Connection, at_ns, None));
        }
    }

    /// An event of the stream came within its silence before `at_ns`, and waited for the pipeline when the sockets looked.
    pub fn has_brought(&self, of: PlanStream, silence_ms: u64, at_ns: i64) -> bool {
        let silence_ns = i64::try_from(silence_ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        let newest_ns = self.silences.newest_ns.get(&of);
        newest_ns.is_some_and(|newest_ns| at_ns.saturating_sub(*newest_ns) < silence_ns)
    }

    /// A stream of a connection was silent for longer than its adapter expects.
    pub fn stream_silent(
        &mut self,
        of: PlanStream,
        kind: DataType,
        instrument: Option<InstrumentIndex>,
        silence_ms: u64,
    ) {
        let Some(state) = self.sources.get(of.0.position()) else { return };
        if self.silences.lasting.contains_key(&of) {
            return;
        }
        let streams: Vec<AuditStream> = streams_of(&self.streams, kind, instrument).collect();
        if streams.is_empty() || !comes_at_intervals(kind) {
            return;
        }
        let untraded = instrument.and_then(|instrument| self.silences.untraded_ns.get(&instrument));
        // Before the connection's first frame its own gap lasts.
        let known = [self.silences.newest_ns.get(&of).copied(), state.up_ns, untraded.copied()];
        let from_ns = known.into_iter().flatten().max().filter(|at_ns| *at_ns > i64::MIN);
        let evidence = format!(
            "{}: no event of the stream for {} s, longer than its adapter expects; subscribed again",
            state.name,
            silence_ms / 1_000
        );
        let from_ns = from_ns.unwrap_or(self.frontier_ns);
        let gap = Gap::open(GapKind::Connection, GapCause::Venue, from_ns, evidence);
        for stream in &streams {
            self.push(GapEvent::Began(*stream, gap.clone()));
        }
        self.silences.lasting.insert(of, Silence { instrument, streams });
    }

    /// Instruments that do not trade: nothing is missing of them until they do.
    pub fn note_untraded(&mut self, instruments: impl IntoIterator<Item = InstrumentIndex>) {
        let now_ns = self.frontier_ns;
        let Silences { lasting, untraded_ns, .. } = &mut self.silences;
        untraded_ns.extend(instruments.into_iter().map(|instrument| (instrument, now_ns)));
        let is_over = |silence: &Silence| {
            silence.instrument.is_some_and(|instrument| untraded_ns.get(&instrument) == Some(&now_ns))
        };
        let (over, rest): (BTreeMap<PlanStream, Silence>, BTreeMap<PlanStream, Silence>) =
            std::mem::take(lasting).into_iter().partition(|(_, silence)| is_over(silence));
        *lasting = rest;
        for silence in over.into_values() {
            self.end_silence(silence, now_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use marketprism_adapter_host::contract;
    use marketprism_schema::{Capability, DataTypeMap, MarketType, StreamId};
    use marketprism_socket::CloseReason;

    use super::*;
    use crate::audit::{AuditOrigin, Auditor};
    use crate::feed::fixtures::{connection, plan};

    const SECOND: i64 = 1_000_000_000;

    /// Funding and trades without numbers, on one connection.
    fn monitor() -> (Arc<Auditor>, GapMonitor) {
        let auditor = Arc::new(Auditor::new(AuditOrigin::fixture(SECOND)));
        let feed = auditor.feed("sim_perp");
        let streams = DataTypeMap::from_fn(|kind| {
            let id = StreamId::new(kind, "sim_perp", MarketType::Perpetual, "A-B").unwrap();
            matches!(kind, DataType::FundingRate | DataType::Trade).then_some((id, Capability::UNNUMBERED))
        });
        let table = auditor.subscribe(feed, &[streams], SECOND);
        let mut connection = connection(&[Some(0), Some(0)]);
        connection.streams[0].data_type = contract::DataType::FundingRate;
        connection.streams.iter_mut().for_each(|stream| stream.expected_silence_ms = 15_000);
        let plan = plan(vec![connection], Vec::new());
        let monitor = GapMonitor::new(Arc::clone(&auditor), feed, table, &plan, SECOND);
        (auditor, monitor)
    }

    /// Its connection is replaced with an overlap, or even lost: neither shows when the stream itself came back.
    #[test]
    fn a_silent_stream_that_comes_at_intervals_has_a_gap_from_its_last_event_to_its_next_one() {
        let (auditor, mut monitor) = monitor();
        let source = SourceIndex::default();
        let (funding, trades) = ((source, StreamIndex::from(0)), (source, StreamIndex::from(1)));
        let instrument = Some(InstrumentIndex::default());
        for at in [2, 10] {
            monitor.frame((source, 1), at * SECOND, Some(0));
            monitor.stream_received(source, funding.1, at * SECOND);
            monitor.stream_received(source, trades.1, at * SECOND);
        }
        assert!(
            monitor.has_brought(funding, 15_000, 24 * SECOND),
            "its event of 10 s waited for the pipeline"
        );
        assert!(!monitor.has_brought(funding, 15_000, 25 * SECOND));
        monitor.stream_silent(funding, DataType::FundingRate, instrument, 15_000);
        monitor.stream_silent(trades, DataType::Trade, instrument, 15_000);
        monitor.closed((source, 1), &CloseReason::Lost("reset".to_owned()), 30 * SECOND, false);
        monitor.frame((source, 1), 32 * SECOND, Some(0));
        monitor.stream_received(source, trades.1, 32 * SECOND);
        monitor.stream_received(source, funding.1, 50 * SECOND);
        monitor.stream_silent(funding, DataType::FundingRate, instrument, 15_000);
        monitor.frontier_ns = 55 * SECOND;
        monitor.note_untraded(instrument);
        monitor.finish();
        let audits = auditor.close(120 * SECOND, auditor.frontier_ns(), 1);
        let silences = |kind: DataType| {
            let of = audits[0].streams.iter().filter(move |stream| stream.id.data_type == kind);
            let gaps = of.flat_map(|stream| &stream.gaps);
            let gaps = gaps.filter(|gap| (gap.kind, gap.cause) == (GapKind::Connection, GapCause::Venue));
            gaps.map(|gap| (gap.from / SECOND, gap.to / SECOND)).collect::<Vec<_>>()
        };
        assert_eq!(silences(DataType::FundingRate), [(10, 50), (50, 55)], "{audits:?}");
        assert!(silences(DataType::Trade).is_empty(), "a quiet market is no gap: {audits:?}");
    }
}
