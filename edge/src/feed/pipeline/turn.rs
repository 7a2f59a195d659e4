//! The end of each turn of a pipeline, and its own end.

use std::time::Instant;

use marketprism_adapter_host::Health;
use marketprism_schema::DataType;
use marketprism_service::clock;
use marketprism_socket::SocketEvent;

use super::Pipeline;
use crate::feed::status::FeedReport;
use crate::gaps::IncidentKind;
use crate::limits::STATUS_EVERY;

impl Pipeline {
    /// Publishes due books, fills the queue, requests snapshots, reports.
    pub(super) fn end_turn(&mut self) {
        self.normalize();
        self.parts.gaps.end_turn(&mut self.parts.builder, self.frontier_ns);
        let now_ns = clock::now_ns();
        self.parts.builder.publish_due(now_ns, &mut self.records);
        self.append();
        self.request_snapshots(now_ns);
        if self.reported_at.elapsed() >= STATUS_EVERY {
            self.reported_at = Instant::now();
            if let Some(books) = self.parts.builder.books() {
                books.check_crossed(now_ns);
            }
            self.report();
        }
    }

    fn append(&mut self) {
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
        self.remarks.flush();
        let dropped = self.parts.queue.append(&mut self.records).dropped;
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
        self.parts.gaps.report(&mut self.parts.builder, &books);
        self.parts.status.set_report(FeedReport {
            books,
            trades: self.parts.builder.trade_reports(),
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
                self.parts.gaps.frame_lost(IncidentKind::FrameLost, frame.source, frame.received_at_ns);
            }
        }
        let now_ns = clock::now_ns();
        self.parts.builder.publish_rest(now_ns, &mut self.records);
        self.append();
        self.report();
        self.parts.gaps.finish();
        if lost > 0 {
            self.parts.metrics.lost.with_label_values(&["any", "shutdown"]).inc_by(lost);
            tracing::error!(
                exchange = self.exchange(),
                lost,
                "the edge stopped before all frames were processed"
            );
        }
    }
}
