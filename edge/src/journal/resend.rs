//! Requests of central to send stored events again: found in the segments by stream, receive time, id or the venue's sequence, and marked
//! for catching up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::Client;
use futures_util::StreamExt;
use marketprism_schema::{EventId, REPAIR_VERSION, RepairAnswer, RepairRequest, RepairState, repair_subject};
use marketprism_traces::tracer;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::event_state::EventState;
use super::frame::{EventFrame, Frame, FrameScanner};
use super::log::Journal;
use super::shared::JournalShared;
use crate::audit::PublishOutcome;
use crate::limits::{JOURNAL_RESEND_BYTES, REPAIR_ANSWER};

const NO_JOURNAL: &str = "this edge keeps no journal on disk ([journal] enabled = false): events that the broker has confirmed are not kept";

/// Answers requests one by one until `stop`. Requests beyond the client's bounded buffer are dropped; the requester times out and
/// repeats.
pub async fn answer_requests(
    client: Client,
    edge: String,
    journal: Option<Arc<Journal>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let subject = repair_subject(&edge);
    let mut requests =
        client.subscribe(subject.clone()).await.with_context(|| format!("subject {subject}"))?;
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            () = stop.cancelled() => return Ok(()),
        };
        let Some(request) = request else { anyhow::bail!("subscription {subject} ended") };
        let Some(reply) = request.reply else { continue };
        let (journal, payload) = (journal.clone(), request.payload);
        // The segments are read on a thread that may wait for the disk.
        let answer = tokio::task::spawn_blocking(move || answer(&payload, journal.as_deref())).await?;
        send(&client, reply, answer.encode().context("answer cannot be encoded")?, REPAIR_ANSWER).await;
    }
}

async fn send(client: &Client, reply: async_nats::Subject, answer: Vec<u8>, limit: Duration) {
    match timeout(limit, client.publish(reply, answer.into())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "answer to a repair request not sent"),
        Err(_elapsed) => tracing::warn!(?limit, "answer to a repair request not sent in time"),
    }
}

fn answer(request: &[u8], journal: Option<&Journal>) -> RepairAnswer {
    let request = match RepairRequest::decode(request) {
        Ok(request) => request,
        Err(error) => {
            let (request_id, reason) = (String::new(), error.to_string());
            return RepairAnswer { request_id, reason, ..empty(RepairState::Refused) };
        }
    };
    let request_id = request.request_id.clone();
    match journal {
        Some(journal) => {
            let span = tracer().operation("send again");
            let answer = journal.send_again(&request);
            let RepairAnswer { resent, kept_from, .. } = answer;
            let (stream, reason) = (request.stream.to_string(), &answer.reason);
            span.text("marketprism.request", &request_id).text("marketprism.stream", &stream);
            span.number("marketprism.events", resent);
            span.end(&if reason.is_empty() { Ok(()) } else { Err(reason) });
            tracing::info!(request_id, stream, resent, kept_from, reason, "repair request of central");
            RepairAnswer { request_id, ..answer }
        }
        None => RepairAnswer { request_id, reason: NO_JOURNAL.to_owned(), ..empty(RepairState::NotKept) },
    }
}

const fn empty(state: RepairState) -> RepairAnswer {
    RepairAnswer {
        version: REPAIR_VERSION,
        request_id: String::new(),
        state,
        resent: 0,
        kept_from: None,
        reason: String::new(),
    }
}

/// The events that a request asks for.
struct Wanted<'a> {
    request: &'a RepairRequest,
    subject: String,
    ids: BTreeSet<EventId>,
}

impl Wanted<'_> {
    fn includes(&self, event: &EventFrame<'_>) -> bool {
        let RepairRequest { from, to, sequences, .. } = self.request;
        let in_sequences = |range: &[i64; 2]| {
            event.sequence.is_some_and(|sequence| range[0] <= sequence && sequence <= range[1])
        };
        (*from..*to).contains(&event.received_at_ns)
            && event.subject == self.subject
            && (self.ids.is_empty() || self.ids.contains(&event.event_id))
            && sequences.as_ref().is_none_or(in_sequences)
    }
}

impl Journal {
    /// Marks the events that the journal has of a request; they are sent as the catch-up has its turn.
    pub fn send_again(&self, request: &RepairRequest) -> RepairAnswer {
        let shared = self.shared();
        let wanted = Wanted {
            request,
            subject: request.stream.to_string(),
            ids: request.event_ids.iter().copied().collect(),
        };
        let (segments, kept_from) = shared.segments_of(request.from, request.to);
        let (mut resent, mut bytes_read, mut problems) = (0, 0, Vec::new());
        for segment in segments {
            if bytes_read > JOURNAL_RESEND_BYTES {
                problems.push("the range is too large for one request: ask for a part".to_owned());
                break;
            }
            match std::fs::read(shared.path_of(segment)) {
                Ok(bytes) => {
                    bytes_read += bytes.len();
                    resent += shared.mark_again(&bytes, &wanted);
                }
                Err(error) => problems.push(format!("segment {segment}: {error}")),
            }
        }
        shared.waiting.notify_all();
        if request.from < kept_from {
            problems.push("what was received before `kept_from` is no longer kept".to_owned());
        }
        if resent == 0 && problems.is_empty() {
            problems.push("the journal has that time, and no such event".to_owned());
        }
        let state = match (resent, problems.is_empty()) {
            (0, _) => RepairState::NotKept,
            (_, true) => RepairState::Resent,
            (_, false) => RepairState::Partly,
        };
        RepairAnswer { resent, kept_from: Some(kept_from), reason: problems.join("; "), ..empty(state) }
    }
}

impl Journal {
    /// For the last audits of the run: the next one sends what is on disk only, so that it may be stored or not. False: after `limit`
    /// some of it has no outcome.
    pub fn end_run(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let shared = self.shared();
        while let Some(segment) = shared.next_unaudited() {
            // What was handed to the writer last may not be in the file yet: asked before the file is read, for the write may end meanwhile.
            let was_writing = shared.is_writing();
            if Instant::now() >= deadline || !shared.audit_waiting(segment) && !was_writing {
                return false;
            }
            while shared.is_writing() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        true
    }
}

impl JournalShared {
    fn next_unaudited(&self) -> Option<u64> {
        let state = self.lock();
        let of_run = state.index.segments.iter().filter(|segment| segment.run_ns == self.options.run_ns);
        of_run.filter(|segment| segment.count(EventState::Waiting) > 0).map(|segment| segment.first).next()
    }

    /// False if the file has none of the waiting events.
    fn audit_waiting(&self, segment: u64) -> bool {
        let Ok(bytes) = std::fs::read(self.path_of(segment)) else { return false };
        let (mut outcomes, mut positions) = (Vec::new(), Vec::new());
        for frame in FrameScanner::new(&bytes, 0) {
            let Frame::Event(event) = frame else { continue };
            let state = self.lock().index.segment_of(event.position).and_then(|one| one.get(event.position));
            if state.is_some_and(|(_, state)| state == EventState::Waiting) {
                outcomes.push(event.to_record(true).with_outcome(PublishOutcome::Ambiguous));
                positions.push(event.position);
            }
        }
        // First the outcomes: as long as an event waits, its window stays open.
        self.auditor.record(&outcomes);
        let mut state = self.lock();
        for position in &positions {
            if let Some(segment) = state.index.segment_of(*position) {
                segment.set(*position, EventState::Unaudited);
            }
        }
        !positions.is_empty()
    }

    fn is_writing(&self) -> bool {
        let state = self.lock();
        state.buffered + state.unwritten > 0
    }
}

impl JournalShared {
    /// Segments with events of this receive time, and the time from which on the journal has everything.
    fn segments_of(&self, from: i64, to: i64) -> (Vec<u64>, i64) {
        let state = self.lock();
        let segments = &state.index.segments;
        let received = segments.iter().filter_map(|segment| segment.received);
        let oldest = received.map(|(first, _)| first).min().unwrap_or(i64::MAX);
        let kept_from = oldest.min(self.options.run_ns).max(state.freed_to_ns);
        let overlaps =
            |received: Option<(i64, i64)>| received.is_some_and(|(first, last)| first < to && from <= last);
        let found = segments.iter().filter(|segment| overlaps(segment.received)).map(|segment| segment.first);
        (found.collect(), kept_from)
    }

    /// Number of the wanted events of a segment that will be sent.
    fn mark_again(&self, bytes: &[u8], wanted: &Wanted<'_>) -> u64 {
        let events = FrameScanner::new(bytes, 0).filter_map(|frame| match frame {
            Frame::Event(event) if wanted.includes(&event) => Some(event.position),
            _ => None,
        });
        let found: Vec<u64> = events.collect();
        let mut state = self.lock();
        let (mut again, mut sent) = (Vec::new(), 0);
        for position in found {
            let Some(segment) = state.index.segment_of(position) else { continue };
            match segment.get(position) {
                Some((_, state)) if state.is_stored() => {
                    segment.set(position, EventState::Again);
                    again.push(position);
                    sent += 1;
                }
                Some((_, state)) if !state.is_over() => sent += 1,
                _ => {}
            }
        }
        state.again(&self.options, &again);
        sent
    }
}
