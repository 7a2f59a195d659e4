//! Streams, polls and resyncs of a plan, and which of them gave input.

use std::time::Duration;

use marketprism_adapter_host::contract::{
    BookChange, Ignored, Instrument, Normalized, Payload, Plan, Remark, ResyncAction,
};
use marketprism_adapter_host::{InstrumentIndex, ResyncIndex, SourceIndex};
use marketprism_socket::{FeedSockets, RequestFailure};

use crate::case::snippet;
use crate::names::{data_type, instrument, subject_of};
use crate::report::Findings;

const PROBLEMS_MAX: usize = 20;

struct ExpectedStream {
    source: SourceIndex,
    what: String,
    seen: bool,
    /// Silence up to this time is no fault of it.
    quiet_ms: u32,
}

/// A resync: requested once the stream of the book gave an event.
struct Resync {
    source: SourceIndex,
    instrument: InstrumentIndex,
    in_band: bool,
    asked: bool,
    seen: bool,
}

pub(super) struct ExpectedInput<'p> {
    plan: &'p Plan,
    instruments: &'p [Instrument],
    streams: Vec<Vec<ExpectedStream>>,
    polls: Vec<ExpectedStream>,
    resyncs: Vec<Resync>,
    problems: Vec<String>,
    events: usize,
}

impl<'p> ExpectedInput<'p> {
    pub(super) fn new(plan: &'p Plan, instruments: &'p [Instrument]) -> Self {
        let of = |index: Option<u32>| {
            index.map_or("all instruments".to_owned(), |index| instrument(instruments, index))
        };
        let streams = SourceIndex::enumerate(&plan.connections).map(|(source, connection)| {
            let streams = connection.streams.iter().map(|stream| ExpectedStream {
                source,
                what: format!(
                    "stream {} of {} on connection {}",
                    data_type(stream.data_type),
                    of(stream.instrument),
                    connection.name
                ),
                seen: false,
                quiet_ms: if stream.expected_silence_ms == 0 { u32::MAX } else { stream.expected_silence_ms },
            });
            streams.collect()
        });
        let polls = plan.polls.iter().enumerate().map(|(index, poll)| ExpectedStream {
            source: SourceIndex::of_poll(plan, index),
            what: format!(
                "poll {} of {} ({})",
                data_type(poll.data_type),
                of(poll.instrument),
                poll.request.url
            ),
            seen: false,
            quiet_ms: 0,
        });
        let resyncs = plan.resyncs.iter().enumerate().map(|(index, resync)| Resync {
            source: SourceIndex::of_resync(plan, index),
            instrument: resync.instrument.into(),
            in_band: matches!(resync.action, ResyncAction::Resubscribe(_)),
            asked: false,
            seen: false,
        });
        ExpectedInput {
            plan,
            instruments,
            streams: streams.collect(),
            polls: polls.collect(),
            resyncs: resyncs.collect(),
            problems: Vec::new(),
            events: 0,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        let streams = self.streams.iter().flatten();
        streams.chain(&self.polls).all(|one| one.seen) && self.resyncs.iter().all(|resync| resync.seen)
    }

    fn problem(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Records the result of one frame, and carries out its remarks.
    pub(super) fn record(
        &mut self,
        source: SourceIndex,
        generation: u64,
        data: &[u8],
        normalized: &Normalized,
        sockets: &FeedSockets,
    ) {
        for event in &normalized.events {
            self.events += 1;
            self.event(source, &event.payload, sockets);
        }
        for note in &normalized.notes {
            match &note.remark {
                Remark::Malformed(found) => {
                    self.problem(format!(
                        "malformed at byte {}: {}: `{}`",
                        found.at,
                        found.what,
                        snippet(data)
                    ));
                }
                Remark::VenueError(error) => {
                    self.problem(format!(
                        "the simulator answers with error {:?}: {}",
                        error.code, error.text
                    ));
                }
                Remark::Reply(text) => {
                    // A full queue: the venue will close the connection, which shows.
                    let _ = sockets.reply(source, generation, text.clone());
                }
                Remark::FollowUp(request) => {
                    if let Err(refused) = sockets.follow_up(source, request.clone()) {
                        self.problem(format!(
                            "a further page of source {source} ({}): {refused}",
                            request.url
                        ));
                    }
                }
                Remark::Ignored(reason) => self.ignored(source, *reason),
                Remark::Closing(_) | Remark::RestartBook(_) => {}
            }
        }
    }

    fn event(&mut self, source: SourceIndex, payload: &Payload, sockets: &FeedSockets) {
        let (kind, of) = subject_of(payload);
        let position = source.position();
        if let (Some(expected), Some(connection)) =
            (self.streams.get_mut(position), self.plan.connections.get(position))
        {
            for (one, stream) in expected.iter_mut().zip(&connection.streams) {
                one.seen |= stream.data_type == kind && stream.instrument.is_none_or(|index| index == of);
            }
        }
        for (one, poll) in self.polls.iter_mut().zip(&self.plan.polls) {
            one.seen |= one.source == source && poll.data_type == kind;
        }
        let Payload::Book(book) = payload else { return };
        for (index, resync) in ResyncIndex::enumerate(&mut self.resyncs) {
            if resync.instrument != of.into() {
                continue;
            }
            let snapshot = book.change == BookChange::Snapshot;
            resync.seen |= snapshot && resync.asked && (resync.in_band || resync.source == source);
            if !resync.asked && sockets.resync(index).is_ok() {
                resync.asked = true;
            }
        }
    }

    /// An answer without events was read all the same.
    fn ignored(&mut self, source: SourceIndex, reason: Ignored) {
        for (one, poll) in self.polls.iter_mut().zip(&self.plan.polls).filter(|(one, _)| one.source == source)
        {
            one.seen |= poll.reference && reason == Ignored::Reference;
            if matches!(reason, Ignored::Empty | Ignored::Repeated) {
                one.quiet_ms = u32::MAX;
            }
        }
    }

    pub(super) fn failed(&mut self, source: SourceIndex, reason: &RequestFailure) {
        self.problem(format!("request of source {source} failed: {reason}"));
    }

    /// Reports everything without input.
    pub(super) fn report(self, took: Duration, findings: &mut Findings) -> String {
        for problem in &self.problems {
            findings.cause(problem.clone());
        }
        let mut quiet = Vec::new();
        let mut seen = 0;
        for one in self.streams.iter().flatten().chain(&self.polls) {
            match (one.seen, took.as_millis() < u128::from(one.quiet_ms)) {
                (true, _) => seen += 1,
                (false, true) => quiet.push(one.what.as_str()),
                (false, false) => findings.cause(format!("{} gave no event", one.what)),
            }
        }
        for resync in self.resyncs.iter().filter(|resync| !resync.seen) {
            let name = instrument(self.instruments, resync.instrument.into());
            let what = if resync.asked {
                "gave no snapshot"
            } else {
                "could not be asked for: its stream gave nothing"
            };
            findings.cause(format!("the resync of the book of {name} {what}"));
        }
        let resyncs = self.resyncs.iter().filter(|resync| resync.seen).count();
        let quiet = if quiet.is_empty() { String::new() } else { format!("; quiet: {}", quiet.join(", ")) };
        format!(
            "{seen} streams and polls and {resyncs} resyncs gave {} events in {} ms{quiet}",
            self.events,
            took.as_millis()
        )
    }
}
