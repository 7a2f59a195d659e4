//! What is due at the end of each turn of a pipeline, and at its end.

use std::time::Instant;

use marketprism_adapter_host::Health;
use marketprism_schema::DataType;
use marketprism_socket::SocketEvent;

use super::super::status::FeedReport;
use super::Pipeline;
use crate::clock;
use crate::gaps::IncidentKind;
use crate::limits::STATUS_EVERY;

impl Pipeline {
    /// What is due at the end of a turn: books, the journal, resyncs, the report.
    pub(super) fn end_turn(&mut self) {
        self.normalize();
        self.parts.watch.end_turn(&mut self.parts.router, self.frontier_ns);
        let now_ns = clock::now_ns();
        self.parts.router.publish_due(now_ns, &mut self.records);
        self.append();
        self.ask_for_states(now_ns);
        if self.told_at.elapsed() >= STATUS_EVERY {
            self.told_at = Instant::now();
            if let Some(books) = self.parts.router.books() {
                books.check_crossed(now_ns);
            }
            self.tell();
        }
    }

    fn append(&mut self) {
        let routed = self.parts.router.take_routed();
        let exchange = self.parts.status.exchange.as_str();
        let metrics = &self.parts.metrics;
        for (index, kind) in DataType::ALL.iter().enumerate() {
            let labels = [exchange, kind.as_str()];
            if let Some(count) = routed.events.get(index).filter(|count| **count > 0) {
                metrics.events.with_label_values(&labels).inc_by(*count);
            }
            if let Some(count) = routed.duplicates.get(index).filter(|count| **count > 0) {
                metrics.duplicates.with_label_values(&labels).inc_by(*count);
            }
            if let Some(count) = routed.unasked.get(index).filter(|count| **count > 0) {
                metrics.unasked.with_label_values(&labels).inc_by(*count);
            }
        }
        if routed.trade_gaps > 0 {
            metrics.trade_gaps.with_label_values(&[exchange]).inc_by(routed.trade_gaps);
        }
        self.notes.flush();
        if self.records.is_empty() {
            return;
        }
        match self.parts.journal.append(&mut self.records) {
            Ok(outcome) if outcome.dropped > 0 => {
                if let Some(held_back) = self.losses.allow(Instant::now()) {
                    let dropped = outcome.dropped;
                    tracing::error!(
                        exchange,
                        dropped,
                        held_back,
                        "the queue is full, its oldest events are lost"
                    );
                }
            }
            Ok(_) => {}
            Err(error) => {
                let lost = self.records.len();
                tracing::error!(exchange, lost, %error, "events are lost");
                self.records.clear();
            }
        }
    }

    fn ask_for_states(&mut self, now_ns: i64) {
        let Some(books) = self.parts.router.books().filter(|books| books.is_asking()) else { return };
        let due = books.resyncs_due(now_ns);
        let Some(sockets) = self.parts.sockets.upgrade() else { return };
        for resync in due {
            if let Err(error) = sockets.resync(resync) {
                tracing::debug!(exchange = self.exchange(), %resync, %error, "a resync was not taken");
            }
        }
    }

    fn tell(&mut self) {
        let books = self.parts.router.books().map(|books| books.reports()).unwrap_or_default();
        self.parts.watch.report(&mut self.parts.router, &books);
        self.parts.status.set_report(FeedReport {
            books,
            trades: self.parts.router.trade_reports(),
            polls: self.polls.reports(),
            adapter_unhealthy: matches!(self.parts.adapter.health(), Health::BackingOff { .. }),
        });
    }

    pub(super) fn finish(mut self) {
        self.parts.inputs.close();
        let mut lost = 0_u64;
        while let Ok(input) = self.parts.inputs.try_recv() {
            if let SocketEvent::Frame(frame) = input {
                lost += 1;
                self.parts.watch.frame_lost(IncidentKind::FrameLost, frame.source, frame.received_at_ns);
            }
        }
        let now_ns = clock::now_ns();
        self.parts.router.publish_rest(now_ns, &mut self.records);
        self.append();
        self.tell();
        self.parts.watch.finish();
        if lost > 0 {
            self.parts.metrics.lost.with_label_values(&["any", "shutdown"]).inc_by(lost);
            tracing::error!(
                exchange = self.exchange(),
                lost,
                "frames were not worked off before the end, they are lost"
            );
        }
    }
}
