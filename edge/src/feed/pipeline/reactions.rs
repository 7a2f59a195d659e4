//! The end of a turn of a pipeline, and its reactions to remarks of the adapter, failed requests, lost connections and silent streams.

use std::collections::BTreeSet;
use std::time::Instant;

use marketprism_adapter_host::contract::{self, Ignored, Note, Remark};
use marketprism_adapter_host::{FrameIndex, Health, InstrumentIndex, PlanSource, SourceIndex, StreamIndex};
use marketprism_schema::{DataType, InvalidKind};
use marketprism_service::clock;
use marketprism_socket::{CommandError, ReceivedFrame, RequestFailure, SilenceHint, SocketEvent};
use prometheus::local::LocalHistogram;

use super::{FrameOrigin, Pipeline, PipelineParts};
use crate::feed::parts::{StreamMemories, memory_key};
use crate::feed::status::{FeedReport, InstrumentEnd};
use crate::gaps::IncidentKind;
use crate::limits::STATUS_EVERY;
use crate::records::InvalidEvent;
use crate::telemetry::LossAtStop;

/// The notes of a frame name something unreadable that may be an update of a book, and not the book.
pub(super) fn hides_lost_books(notes: &[Note]) -> bool {
    let elements = |note: &Note| match &note.remark {
        Remark::Malformed(malformed) => u64::from(malformed.count),
        _ => 0,
    };
    let restarts = notes.iter().map(|note| u64::from(matches!(note.remark, Remark::RestartBook(_))));
    notes.iter().map(elements).sum::<u64>() > restarts.sum()
}

/// The note is of an unreadable update of a book that is not collected any more, as with finer terms than this part has, or is the restart behind it.
fn is_of_ended_book(note: &Note, next: Option<&Note>, ended: &BTreeSet<InstrumentIndex>) -> bool {
    let restarts =
        |note: &Note| matches!(note.remark, Remark::RestartBook(book) if ended.contains(&book.into()));
    match &note.remark {
        Remark::Malformed(malformed) => malformed.count == 1 && next.is_some_and(restarts),
        _ => restarts(note),
    }
}

/// Labels of kinds of silence.
pub const SILENCE_HINTS: [&str; 2] = ["went_quiet", "never_seen"];

/// Label of events that are lost because a value cannot be true.
pub fn invalid_cause(kind: InvalidKind) -> String {
    format!("invalid_{}", kind.as_str())
}

impl Pipeline {
    /// Publishes due books, fills the queue, requests snapshots, reports.
    pub(super) fn end_turn(&mut self) {
        self.normalize();
        if self.parts.progress.is_given_up() {
            return;
        }
        self.parts.gaps.end_turn(&mut self.parts.builder, self.frontier_ns);
        let now_ns = clock::now_ns();
        self.parts.builder.publish_due(now_ns, &mut self.records);
        self.count_invalid(None);
        self.append();
        if self.parts.progress.is_given_up() {
            return;
        }
        self.backfill();
        self.request_snapshots(now_ns);
        if self.reported_at.elapsed() >= STATUS_EVERY {
            self.reported_at = Instant::now();
            if let Some(books) = self.parts.builder.books() {
                books.check_crossed(now_ns);
            }
            self.report();
        }
        if self.parts.status.is_ending() {
            self.end_instruments(now_ns);
        }
    }

    /// Ends the streams of instruments that are not listed, or not configured, any more.
    fn end_instruments(&mut self, now_ns: i64) {
        let ending = self.parts.status.ending_instruments();
        for (instrument, end) in &ending {
            self.parts.builder.unsubscribe(*instrument);
            match end {
                InstrumentEnd::Downtime(reason) => {
                    self.parts.gaps.end_instrument(*instrument, now_ns, *reason);
                }
                InstrumentEnd::Moved => self.parts.gaps.leave_instrument(*instrument),
            }
        }
        if !ending.is_empty() {
            self.ended.extend(ending.iter().map(|(instrument, _)| *instrument));
            self.retire_sources();
            self.parts.status.instruments_ended(&ending);
        }
    }

    /// Ends connections and polls that carry nothing any more.
    fn retire_sources(&mut self) {
        let Some(sockets) = self.parts.sockets.upgrade() else { return };
        for source in self.parts.sources.only_of(&self.ended) {
            if self.retired.insert(source) {
                tracing::info!(exchange = self.exchange(), %source, "no stream of the source is left, it ends");
                self.polls.retire(source);
                sockets.retire(source);
            }
        }
    }

    pub(super) fn append(&mut self) {
        let counts = self.parts.builder.take_counts();
        let exchange = self.parts.status.exchange.as_str();
        let metrics = &self.parts.metrics;
        for kind in DataType::ALL {
            let labels = [exchange, kind.as_str()];
            for (family, count) in [
                (&metrics.events, counts.events[*kind]),
                (&metrics.duplicates, counts.duplicates[*kind]),
                (&metrics.unasked, counts.unsubscribed[*kind]),
            ] {
                if count > 0 {
                    family.with_label_values(&labels).inc_by(count);
                }
            }
        }
        if counts.trade_gaps > 0 {
            metrics.trade_gaps.with_label_values(&[exchange]).inc_by(counts.trade_gaps);
        }
        for (reason, count) in [("empty", counts.empty), ("old_trade", counts.old_trades)] {
            if count > 0 {
                metrics.ignored.with_label_values(&[exchange, reason]).inc_by(count);
            }
        }
        self.remarks.flush();
        self.venue_to_edge.values().flatten().for_each(LocalHistogram::flush);
        let (queue, lane, records) = (&self.parts.queue, self.parts.lane, &mut self.records);
        let dropped = self.parts.progress.in_queue(|| queue.append(lane, records)).dropped;
        if dropped > 0 {
            self.parts.builder.records_lost(clock::now_ns());
        }
        if dropped > 0
            && let Some(held_back) = self.loss_lines.allow(Instant::now())
        {
            tracing::error!(
                exchange,
                dropped,
                held_back,
                "the queue is full: its oldest events were dropped"
            );
        }
    }

    /// Events that were not published because a value cannot be true; of a frame from `origin`, or books that were due.
    pub(super) fn count_invalid(&mut self, origin: Option<(SourceIndex, i64)>) {
        for InvalidEvent { data_type, instrument, error } in self.parts.builder.take_invalid() {
            let cause = invalid_cause(error.kind);
            self.parts.metrics.lost.with_label_values(&[data_type.as_str(), &cause]).inc();
            self.parts.status.refused(data_type, &error, Instant::now());
            if let Some((source, at_ns)) = origin {
                self.parts.gaps.elements_lost(1, source, at_ns);
            }
            if let Some(held_back) = self.invalid_lines.allow(Instant::now()) {
                let (exchange, symbol) = (self.exchange(), self.symbol(instrument));
                tracing::error!(exchange, %data_type, symbol, %error, held_back, "an event that cannot be true is lost");
            }
        }
    }

    fn request_snapshots(&mut self, now_ns: i64) {
        let Some(books) = self.parts.builder.books().filter(|books| books.is_resyncing()) else { return };
        let due = books.resyncs_due(now_ns);
        let Some(sockets) = self.parts.sockets.upgrade() else { return };
        for resync in due {
            if let Err(error) = sockets.resync(resync) {
                tracing::debug!(exchange = self.exchange(), %resync, %error, "the sockets refused a resync");
            }
        }
    }

    fn report(&mut self) {
        let books = self.parts.builder.books().map(|books| books.reports()).unwrap_or_default();
        self.keep_positions();
        let instruments = self.parts.status.instruments();
        let untraded = InstrumentIndex::enumerate(instruments.iter()).filter(|(_, one)| !one.is_trading);
        self.parts.gaps.note_untraded(untraded.map(|(instrument, _)| instrument));
        self.parts.gaps.report(&mut self.parts.builder, &books);
        self.parts.status.set_report(FeedReport {
            books,
            trades: self.parts.builder.trade_reports(),
            polls: self.polls.reports(),
            adapter_unhealthy: matches!(self.parts.adapter.health(), Health::BackingOff { .. }),
            host_limit: self.parts.adapter.host_limit().map(str::to_owned),
        });
    }

    /// Its feed has started again without it: books, gaps and status are those of another pipeline now.
    pub(super) fn leave(mut self) -> StreamMemories {
        let lost = self.take_rest().len() + self.batch.len();
        self.count_left(u64::try_from(lost).unwrap_or(u64::MAX));
        StreamMemories::new()
    }

    /// Frames that were not processed.
    fn take_rest(&mut self) -> Vec<ReceivedFrame> {
        self.parts.inputs.close();
        let rest = std::iter::from_fn(|| self.parts.inputs.try_recv().ok());
        rest.filter_map(|input| if let SocketEvent::Frame(frame) = input { Some(frame) } else { None })
            .collect()
    }

    fn count_left(&self, lost: u64) {
        if lost > 0 {
            self.parts.metrics.lost_at_stop(LossAtStop::Unprocessed, lost);
            tracing::error!(exchange = self.exchange(), lost, "stopped before all frames were processed");
        }
    }

    pub(super) fn finish(mut self) -> StreamMemories {
        let rest = self.take_rest();
        for frame in &rest {
            self.parts.gaps.frame_lost(IncidentKind::FrameLost, frame.source, frame.received_at_ns);
        }
        let now_ns = clock::now_ns();
        self.parts.builder.publish_rest(now_ns, &mut self.records);
        self.count_invalid(None);
        self.append();
        self.report();
        self.parts.gaps.finish();
        self.count_left(u64::try_from(rest.len()).unwrap_or(u64::MAX));
        let PipelineParts { adapter, builder, .. } = self.parts;
        adapter.instruments().iter().map(memory_key).zip(builder.into_memories()).collect()
    }
}

/// A stream that was silent for longer than its adapter expects.
pub(super) struct SilentStream {
    pub(super) of: (SourceIndex, StreamIndex),
    pub(super) data_type: contract::DataType,
    pub(super) instrument: Option<InstrumentIndex>,
    pub(super) connection: String,
    pub(super) url: String,
    pub(super) silence_ms: u64,
    pub(super) hint: SilenceHint,
}

impl Pipeline {
    pub(super) fn remarks(&mut self, frame: FrameIndex, notes: &[Note], now_ns: i64) {
        let mut rest = notes;
        while let Some((note, behind)) = rest.split_first() {
            rest = behind;
            if !is_of_ended_book(note, behind.first(), &self.ended) {
                self.remark(frame, &note.remark, now_ns);
            } else if matches!(note.remark, Remark::Malformed(_)) {
                let labels = [self.exchange(), DataType::OrderBook.as_str()];
                self.parts.metrics.unasked.with_label_values(&labels).inc();
            }
        }
    }

    fn remark(&mut self, frame: FrameIndex, remark: &Remark, now_ns: i64) {
        let Some(origin) = self.origin(frame) else { return };
        let bytes = self.batch.frame(frame);
        self.remarks.add(remark, bytes.map(|frame| frame.bytes).unwrap_or_default());
        let sockets = self.parts.sockets.upgrade();
        match (remark, sockets) {
            (Remark::Reply(text), Some(sockets)) => {
                let sent = sockets.reply(origin.source, origin.generation, text.clone());
                self.check_command("reply", origin.source, sent);
            }
            (Remark::Closing(reason), Some(sockets)) => {
                let replaced = sockets.replace(origin.source, origin.generation, reason);
                self.check_command("replace", origin.source, replaced);
            }
            (Remark::FollowUp(page), Some(sockets)) => {
                let asked = sockets.follow_up(origin.source, page.clone());
                if asked.is_err() {
                    self.parts.adapter.page_failed(origin.source);
                }
                self.check_command("follow_up", origin.source, asked);
            }
            (Remark::RestartBook(instrument), _) => {
                let instrument = (*instrument).into();
                if !self.follows_another((origin.source, origin.generation), instrument) {
                    self.parts.builder.restart_book(instrument, now_ns);
                }
            }
            (Remark::Malformed(malformed), _) => {
                self.unusable.insert(frame);
                let count = malformed.count.into();
                self.parts.gaps.elements_lost(count, origin.source, origin.received_at_ns);
                self.polls.failed(origin.source, "malformed", &malformed.what, now_ns);
                self.snapshot_failed(origin.source, now_ns);
            }
            (Remark::VenueError(error), _) => {
                self.unusable.insert(frame);
                self.parts.gaps.answered((origin.source, origin.generation), origin.received_at_ns);
                let detail = format!("{}: {}", error.code, error.text);
                self.polls.failed(origin.source, "venue_error", &detail, now_ns);
                self.snapshot_failed(origin.source, now_ns);
            }
            (Remark::Ignored(Ignored::Acknowledgement), _) => {
                self.parts.gaps.answered((origin.source, origin.generation), origin.received_at_ns);
            }
            (Remark::Ignored(Ignored::Empty | Ignored::Repeated | Ignored::Reference), _) => {
                // The stream is alive, though it has nothing new.
                if let Some(stream) = self.parts.sources.only_stream(origin.source) {
                    let key = (origin.source, origin.generation, stream);
                    self.active.entry(key).or_insert(origin.received_at_ns);
                }
            }
            _ => {}
        }
    }

    fn check_command(&mut self, command: &'static str, source: SourceIndex, sent: Result<(), CommandError>) {
        let Err(error) = sent else { return };
        self.remarks.count_error(command);
        if let Some(held_back) = self.refusal_lines.allow(Instant::now()) {
            let exchange = self.exchange();
            tracing::warn!(exchange, command, %source, %error, held_back, "the sockets refused a command");
        }
    }

    /// Counts the usable answers of polls as successes.
    pub(super) fn count_poll_answers(&mut self, now_ns: i64) {
        for (frame, origin) in FrameIndex::enumerate(&self.origins) {
            if !self.parts.sources.is_connection(origin.source) && !self.unusable.contains(&frame) {
                self.polls.succeeded(origin.source, now_ns);
            }
        }
        self.unusable.clear();
    }

    /// Venues send errors and pages of their proxies with status 200 too: a time window is not answered by them.
    pub(super) fn answer_unusable(&self, frame: FrameIndex) {
        if let Some((origin, sockets)) = self.origin(frame).zip(self.parts.sockets.upgrade()) {
            sockets.answer_unusable(origin.source);
        }
    }

    /// If the source is a resync, its book's snapshot is requested again.
    pub(super) fn snapshot_failed(&mut self, source: SourceIndex, now_ns: i64) {
        let Some(PlanSource::Resync(resync)) = self.parts.sources.entry(source) else { return };
        if let Some(books) = self.parts.builder.books() {
            books.request_snapshot(resync.instrument.into(), now_ns);
        }
    }

    pub(super) fn request_failed(&mut self, source: SourceIndex, reason: &RequestFailure, at_ns: i64) {
        let code = reason.label();
        let kind = match self.parts.sources.entry(source) {
            Some(PlanSource::Poll(poll)) => poll.data_type.into(),
            None => DataType::Trade,
            _ => DataType::OrderBook,
        };
        let exchange = self.parts.status.exchange.as_str();
        let labels = [exchange, kind.as_str(), code];
        self.parts.metrics.collector_errors.with_label_values(&labels).inc();
        if let Some(held_back) = self.loss_lines.allow(Instant::now()) {
            tracing::warn!(exchange, %kind, %source, %reason, held_back, "request failed");
        }
        self.polls.failed(source, code, &reason.to_string(), at_ns);
        self.parts.adapter.page_failed(source);
        if let Some(asked) = self.backfilled(source) {
            match reason.is_bad_request() {
                true => self.backfill_refused(asked, "status 400"),
                false => self.backfill_failed(asked, &reason.to_string()),
            }
        }
        self.snapshot_failed(source, clock::now_ns());
    }

    /// With sequence numbers the next update shows a loss; books without them restart.
    pub(super) fn closed(&mut self, (source, generation): (SourceIndex, u64), overlap: bool, reason: &str) {
        tracing::info!(exchange = self.exchange(), %source, reason, overlap, "connection closed");
        let instruments = self.parts.sources.books_of(source);
        let now_ns = clock::now_ns();
        let Some(books) = self.parts.builder.books() else { return };
        for instrument in instruments {
            if books.is_unnumbered(instrument) && (self.handover.ended(instrument, generation) || !overlap) {
                books.restart(instrument, now_ns);
            }
        }
    }

    /// A newer connection's snapshot has replaced the book that this update belongs to.
    pub(super) fn is_superseded(&mut self, origin: FrameOrigin, book: &contract::Book) -> bool {
        let instrument = InstrumentIndex::from(book.instrument);
        let Some(books) = self.parts.builder.books() else { return false };
        if !books.is_unnumbered(instrument) || !self.parts.sources.is_connection(origin.source) {
            return false;
        }
        let kind = (book.change, books.is_live(instrument));
        let is_superseded = !self.handover.admits(instrument, origin.generation, kind);
        if is_superseded {
            let labels = [self.parts.status.exchange.as_str(), "superseded"];
            self.parts.metrics.ignored.with_label_values(&labels).inc();
        }
        is_superseded
    }

    /// Without sequence numbers no later frame shows that one of the source is lost: a checksum covers the best levels only.
    pub(super) fn unnumbered_frame_lost(&mut self, connection: (SourceIndex, u64), now_ns: i64) {
        let mut instruments = self.parts.sources.books_of(connection.0);
        instruments.retain(|instrument| !self.follows_another(connection, *instrument));
        let Some(books) = self.parts.builder.books() else { return };
        for instrument in instruments {
            books.restart_unnumbered(instrument, now_ns);
        }
    }

    /// The book takes updates of another connection of the same stream than this one.
    fn follows_another(&self, (source, generation): (SourceIndex, u64), instrument: InstrumentIndex) -> bool {
        self.handover.follows_another(instrument, generation)
            && self.parts.sources.books_of(source).contains(&instrument)
    }

    pub(super) fn silent(&mut self, stream: &SilentStream) {
        let SilentStream { of, data_type, instrument, connection, url, silence_ms, hint } = stream;
        let kind = DataType::from(*data_type);
        if instrument.is_some_and(|instrument| !self.parts.builder.is_subscribed(kind, instrument)) {
            return;
        }
        self.parts.gaps.stream_silent(*of, kind, *instrument, *silence_ms);
        let exchange = self.exchange();
        let symbol = instrument.map(|instrument| self.symbol(instrument)).unwrap_or_default();
        let label = match hint {
            SilenceHint::WentQuiet => SILENCE_HINTS[0],
            SilenceHint::NeverSeen => SILENCE_HINTS[1],
        };
        let labels = [exchange, kind.as_str(), label];
        self.parts.metrics.silent_streams.with_label_values(&labels).inc();
        match hint {
            // More likely an error of the plan than of the venue.
            SilenceHint::NeverSeen => tracing::error!(
                exchange,
                %kind,
                symbol,
                connection,
                url,
                silence_ms,
                "no message of a subscribed stream since it was subscribed: check its name and the address"
            ),
            SilenceHint::WentQuiet => {
                tracing::warn!(exchange, %kind, symbol, connection, silence_ms, "stream went quiet");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use marketprism_adapter_host::contract::Malformed;

    use super::*;

    #[test]
    fn a_book_may_be_lost_unless_each_unreadable_element_restarts_its_own() {
        let note = |remark| Note { frame: 0, remark };
        let malformed = |count| note(Remark::Malformed(Malformed { at: 0, what: "a number".into(), count }));
        let restart = || note(Remark::RestartBook(0));
        assert!(!hides_lost_books(&[malformed(1), restart(), malformed(1), restart()]));
        assert!(hides_lost_books(&[malformed(1), restart(), malformed(2), restart()]));
    }
}
