//! The sources of a plan: streams of its connections, health of its polls.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use marketprism_adapter_host::contract::{Connection, Payload, Plan};
use marketprism_adapter_host::{InstrumentIndex, PlanSource, SourceIndex, StreamIndex};
use marketprism_schema::DataType;

use crate::limits::SNIPPET_CHARS_MAX;

/// Streams of a connection by data type and instrument; without instrument: one stream for all.
type ConnectionStreams = HashMap<(DataType, Option<InstrumentIndex>), StreamIndex>;

#[derive(Debug, Clone)]
pub struct SourceMap {
    plan: Plan,
    streams: Vec<ConnectionStreams>,
    instruments: usize,
}

impl SourceMap {
    pub fn new(plan: &Plan, instruments: usize) -> Self {
        let streams = plan.connections.iter().map(connection_streams).collect();
        Self { plan: plan.clone(), streams, instruments }
    }

    pub fn entry(&self, source: SourceIndex) -> Option<PlanSource<'_>> {
        source.entry(&self.plan)
    }

    /// The instrument whose backfill answers come from this source.
    pub fn backfilled(&self, source: SourceIndex) -> Option<InstrumentIndex> {
        source.backfilled(&self.plan)
    }

    /// Its answers are state for the adapter.
    pub fn is_reference(&self, source: SourceIndex) -> bool {
        matches!(self.entry(source), Some(PlanSource::Poll(poll)) if poll.reference)
    }

    pub const fn is_connection(&self, source: SourceIndex) -> bool {
        source.position() < self.streams.len()
    }

    /// The stream of a connection that has one only.
    pub fn only_stream(&self, source: SourceIndex) -> Option<StreamIndex> {
        let connection = self.plan.connections.get(source.position())?;
        (connection.streams.len() == 1).then(StreamIndex::default)
    }

    pub fn url(&self, source: SourceIndex) -> Option<&str> {
        Some(&self.entry(source)?.request()?.url)
    }

    pub fn stream(&self, source: SourceIndex, payload: &Payload) -> Option<StreamIndex> {
        let (streams, kind) = (self.streams.get(source.position())?, payload.data_type());
        streams.get(&(kind, Some(payload.instrument()))).or_else(|| streams.get(&(kind, None))).copied()
    }

    /// Connections and polls that carry nothing but these instruments.
    pub fn only_of(&self, ended: &BTreeSet<InstrumentIndex>) -> Vec<SourceIndex> {
        let all = ended.len() >= self.instruments;
        let is_ended = |instrument: Option<u32>| instrument.is_some_and(|one| ended.contains(&one.into()));
        let connections = self.plan.connections.iter().map(|connection| {
            let mut streams = connection.streams.iter();
            !connection.streams.is_empty() && streams.all(|stream| is_ended(stream.instrument))
        });
        let polls = self.plan.polls.iter().map(|poll| is_ended(poll.instrument));
        let sources = (0..).map(SourceIndex::at).zip(connections.chain(polls));
        sources.filter(|(_, is_over)| all || *is_over).map(|(source, _)| source).collect()
    }

    pub fn books_of(&self, source: SourceIndex) -> Vec<InstrumentIndex> {
        let Some(streams) = self.streams.get(source.position()) else { return Vec::new() };
        if streams.contains_key(&(DataType::OrderBook, None)) {
            return (0..self.instruments).map(InstrumentIndex::at).collect();
        }
        let books = streams.keys().filter(|(kind, _)| *kind == DataType::OrderBook);
        books.filter_map(|(_, instrument)| *instrument).collect()
    }
}

fn connection_streams(connection: &Connection) -> ConnectionStreams {
    let streams = StreamIndex::enumerate(&connection.streams);
    streams.map(|(index, one)| ((one.data_type.into(), one.instrument.map(Into::into)), index)).collect()
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PollReport {
    pub polls: u64,
    pub answers: u64,
    /// Failed tries and unusable answers, by reason.
    pub failures: BTreeMap<&'static str, u64>,
    pub newest_success_ns: Option<i64>,
    /// The least of the polls' last successes; `None` while any poll never succeeded.
    pub oldest_success_ns: Option<i64>,
    pub never_succeeded: u64,
    /// The newest failure that no success of the same poll followed.
    pub last_failure: Option<String>,
}

#[derive(Debug)]
pub(super) struct PollTracker {
    first: usize,
    polls: Vec<PollState>,
}

#[derive(Debug)]
struct PollState {
    /// It is not requested any more.
    is_retired: bool,
    data_type: DataType,
    answers: u64,
    failures: BTreeMap<&'static str, u64>,
    success_ns: Option<i64>,
    failure: Option<(i64, String)>,
}

impl PollTracker {
    pub(super) fn new(plan: &Plan) -> Self {
        let polls = plan.polls.iter().map(|poll| PollState {
            is_retired: false,
            data_type: poll.data_type.into(),
            answers: 0,
            failures: BTreeMap::new(),
            success_ns: None,
            failure: None,
        });
        Self { first: plan.connections.len(), polls: polls.collect() }
    }

    fn get(&mut self, source: SourceIndex) -> Option<&mut PollState> {
        self.polls.get_mut(source.position().checked_sub(self.first)?)
    }

    pub(super) fn retire(&mut self, source: SourceIndex) {
        if let Some(poll) = self.get(source) {
            poll.is_retired = true;
        }
    }

    pub(super) fn succeeded(&mut self, source: SourceIndex, at_ns: i64) {
        if let Some(poll) = self.get(source) {
            poll.answers += 1;
            poll.success_ns = Some(at_ns);
            poll.failure = None;
        }
    }

    /// No answer came, or it was not usable. `reason` is from a closed set.
    pub(super) fn failed(&mut self, source: SourceIndex, reason: &'static str, detail: &str, at_ns: i64) {
        if let Some(poll) = self.get(source) {
            *poll.failures.entry(reason).or_default() += 1;
            poll.failure = Some((at_ns, detail.chars().take(SNIPPET_CHARS_MAX).collect()));
        }
    }

    pub(super) fn reports(&self) -> Vec<(DataType, PollReport)> {
        let mut reports: BTreeMap<DataType, (PollReport, i64)> = BTreeMap::new();
        for poll in self.polls.iter().filter(|poll| !poll.is_retired) {
            let (report, failed_at) = reports.entry(poll.data_type).or_default();
            report.polls += 1;
            report.answers += poll.answers;
            for (reason, count) in &poll.failures {
                *report.failures.entry(reason).or_default() += count;
            }
            report.newest_success_ns = report.newest_success_ns.max(poll.success_ns);
            match poll.success_ns {
                None => report.never_succeeded += 1,
                Some(at) => {
                    report.oldest_success_ns = Some(report.oldest_success_ns.map_or(at, |o| o.min(at)));
                }
            }
            if let Some((at_ns, detail)) = &poll.failure
                && *at_ns > *failed_at
            {
                *failed_at = *at_ns;
                report.last_failure = Some(detail.clone());
            }
        }
        let complete = |(kind, (report, _)): (DataType, (PollReport, i64))| {
            let oldest_success_ns = report.oldest_success_ns.filter(|_| report.never_succeeded == 0);
            (kind, PollReport { oldest_success_ns, ..report })
        };
        reports.into_iter().map(complete).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::fixtures::{connection, plan};
    use marketprism_adapter_host::contract::{self, Method, Poll, Request};

    fn poll(kind: contract::DataType) -> Poll {
        let request = Request {
            method: Method::Get,
            url: "https://rest.example/x".into(),
            headers: Vec::new(),
            body: None,
            charges: Vec::new(),
            timeout_ms: 1_000,
        };
        Poll { request, data_type: kind, instrument: None, period_ms: 1_000, window: None, reference: false }
    }

    #[test]
    fn a_source_is_over_once_all_instruments_that_it_carries_have_ended() {
        let of_one = Poll { instrument: Some(0), ..poll(contract::DataType::OpenInterest) };
        let connections = vec![
            connection(&[Some(0), Some(0)]),
            connection(&[Some(0), Some(1)]),
            connection(&[Some(0), None]),
        ];
        let plan = plan(connections, vec![of_one, poll(contract::DataType::OpenInterest)]);
        let sources = SourceMap::new(&plan, 3);
        let over = |ended: &[u32]| -> Vec<usize> {
            let ended = ended.iter().map(|one| InstrumentIndex::from(*one)).collect();
            sources.only_of(&ended).into_iter().map(SourceIndex::position).collect()
        };
        assert_eq!((over(&[1]), over(&[0]), over(&[0, 1])), (vec![], vec![0, 3], vec![0, 1, 3]));
        assert_eq!(over(&[0, 1, 2]), [0, 1, 2, 3, 4], "nothing is left");
    }

    #[test]
    fn polls_are_reported_by_data_type_with_failures_until_the_same_poll_succeeds() {
        let kinds = [
            contract::DataType::OpenInterest,
            contract::DataType::LsrAllAccount,
            contract::DataType::OpenInterest,
        ];
        let plan = plan(Vec::new(), kinds.map(poll).into());
        let mut polls = PollTracker::new(&plan);
        polls.succeeded(0.into(), 10);
        polls.failed(2.into(), "timeout", "late", 11);
        polls.failed(9.into(), "timeout", "no such poll", 11);
        let report =
            |polls: &PollTracker| polls.reports().into_iter().next().map(|(_, report)| report).unwrap();
        let before = report(&polls);
        assert_eq!((before.polls, before.answers, before.never_succeeded), (2, 1, 1));
        assert_eq!((before.newest_success_ns, before.oldest_success_ns), (Some(10), None));
        assert_eq!((before.failures["timeout"], before.last_failure.as_deref()), (1, Some("late")));
        polls.succeeded(2.into(), 20);
        let after = report(&polls);
        assert_eq!((after.newest_success_ns, after.oldest_success_ns), (Some(20), Some(10)));
        assert_eq!((after.failures["timeout"], after.last_failure), (1, None));
        polls.retire(2.into());
        assert_eq!((report(&polls).polls, report(&polls).newest_success_ns), (1, Some(10)));
        let kinds: Vec<DataType> = polls.reports().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [DataType::OpenInterest, DataType::LsrAllAccount]);
    }
}
