//! Copies counts of other parts into the metrics, just before they are scraped.

use std::collections::BTreeMap;

use marketprism_adapter_host::{FaultCause, StatsSnapshot};
use marketprism_book::{BookGapCause, BookState, BookStats};
use marketprism_schema::DataType;
use marketprism_service::{CertificateTimes, ProcessUsage, clock};
use marketprism_socket::{ConnectionPhase, SocketCounter, SocketCounters};
use marketprism_traces::tracer;
use prometheus::{IntCounterVec, IntGaugeVec};

use super::series::{JOURNAL_ERRORS, QUEUE_FULL, RAW_ERRORS, expect_edge};
use super::state::{EdgeState, state_text};
use crate::clocks::MeasuredClock;
use crate::feed::{FeedPhase, FeedStatus};
use crate::journal::{JournalLoss, JournalStatus};
use crate::raw::{RawDeletion, RawLoss, RawStatus};
use crate::telemetry::{Metrics, follow, gauge};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MILLISECOND: i64 = 1_000_000;

type TotalsOf<'a, F> = BTreeMap<(*const F, Vec<String>), (&'a F, u64)>;

/// Totals over all feeds: those of one exchange have the same labels, and are summed up before a metric is set.
pub(super) struct FeedTotals<'a> {
    pub(super) metrics: &'a Metrics,
    counters: TotalsOf<'a, IntCounterVec>,
    gauges: TotalsOf<'a, IntGaugeVec>,
    /// Seconds of the oldest success, by exchange and data type of polls.
    poll_successes: BTreeMap<(String, DataType), i64>,
}

fn add<'a, F>(totals: &mut TotalsOf<'a, F>, family: &'a F, labels: &[&str], value: u64) {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    totals.entry((std::ptr::from_ref(family), labels)).or_insert((family, 0)).1 += value;
}

fn borrowed(labels: &[String]) -> Vec<&str> {
    labels.iter().map(String::as_str).collect()
}

pub(super) fn refresh(state: &EdgeState) {
    let metrics = &state.context.metrics;
    if let Ok(usage) = ProcessUsage::now() {
        metrics.resident.set(gauge(usage.resident_bytes));
    }
    let queue = state.context.queue.status();
    metrics.queue_messages.set(gauge(queue.messages));
    metrics.queue_bytes.set(gauge(queue.bytes));
    follow(&metrics.queue_conflated, queue.conflated);
    follow(&metrics.queue_waits, queue.waits);
    follow(&metrics.quarantine_deleted, state.context.quarantine.deleted());
    if let Some(journal) = &state.context.journal {
        refresh_journal(metrics, &journal.status());
    }
    for (exchange, status) in state.context.raw.statuses() {
        refresh_raw(metrics, &exchange, &status);
    }
    tracer().refresh(&metrics.trace_spans, &metrics.trace_spans_dropped);
    expect_edge(metrics);
    for (data_type, dropped) in queue.dropped {
        if dropped > 0 {
            follow(&metrics.lost.with_label_values(&[data_type.as_str(), QUEUE_FULL]), dropped);
        }
    }
    metrics.clock_age.reset();
    for MeasuredClock { reading, age } in state.context.clocks.readings() {
        metrics.clock_age.with_label_values(&[&reading.exchange]).set(gauge(age.as_secs()));
    }
    for (key, times) in state.certificates.remaining() {
        let gauges = [&metrics.certificate_expiry, &metrics.certificate_lifetime];
        match times {
            Some(CertificateTimes { left, lifetime }) => {
                for (metric, seconds) in gauges.into_iter().zip([left, lifetime]) {
                    metric.with_label_values(&[&key]).set(seconds);
                }
            }
            // An error: it has ended already.
            None => gauges.into_iter().for_each(|metric| drop(metric.remove_label_values(&[&key]))),
        }
    }
    metrics.nats_connected.set(i64::from(state.link.is_connected()));
    metrics.last_success.reset();
    for row in state.context.coverage.rows(clock::now_ns()) {
        let seconds = row.last_success_ts().unwrap_or_default();
        metrics.last_success.with_label_values(&[&row.exchange, row.data_type.as_str()]).set(seconds);
    }
    let mut totals = FeedTotals::new(metrics);
    for feed in &state.feeds.list() {
        totals.expect_feed(feed);
        totals.add_books_and_polls(feed);
        if let Some(stats) = feed.stats() {
            totals.add_adapter(&feed.exchange, &stats.snapshot());
        }
        totals.add_sockets(feed);
    }
    totals.show_poll_successes();
    for ((_, labels), (family, total)) in totals.counters {
        follow(&family.with_label_values(&borrowed(&labels)), total);
    }
    for family in [
        &metrics.books,
        &metrics.trades_missing,
        &metrics.feed_running,
        &metrics.not_listed,
        &metrics.ranking_unreadable,
        &metrics.adapter_memory,
        &metrics.connections,
        &metrics.last_frame_age,
        &metrics.input_bytes,
        &metrics.behind,
    ] {
        family.reset();
    }
    for ((_, labels), (family, total)) in totals.gauges {
        family.with_label_values(&borrowed(&labels)).set(gauge(total));
    }
}

fn refresh_raw(metrics: &Metrics, exchange: &str, raw: &RawStatus) {
    let labels = [exchange];
    metrics.raw_bytes.with_label_values(&labels).set(gauge(raw.bytes));
    metrics.raw_segments.with_label_values(&labels).set(gauge(raw.segments));
    let age_ns = raw.oldest_ns.map_or(0, |at_ns| clock::now_ns().saturating_sub(at_ns).max(0));
    metrics.raw_oldest_age.with_label_values(&labels).set(age_ns / NANOS_PER_SECOND);
    metrics.raw_failing.with_label_values(&labels).set(i64::from(raw.failing.is_some()));
    follow(&metrics.raw_written.with_label_values(&labels), raw.written);
    for (reason, lost) in RawLoss::ALL.into_iter().zip(raw.lost) {
        follow(&metrics.raw_lost.with_label_values(&[exchange, reason.as_str()]), lost);
    }
    for (reason, deleted) in RawDeletion::ALL.into_iter().zip(raw.deleted) {
        follow(&metrics.raw_deleted.with_label_values(&[exchange, reason.as_str()]), deleted);
    }
    let errors = [raw.write_errors, raw.torn_tails, raw.damaged, raw.component_errors];
    for (what, count) in RAW_ERRORS.into_iter().zip(errors) {
        follow(&metrics.raw_errors.with_label_values(&[exchange, what]), count);
    }
}

fn refresh_journal(metrics: &Metrics, journal: &JournalStatus) {
    metrics.journal_bytes.set(gauge(journal.bytes));
    metrics.journal_segments.set(gauge(journal.segments));
    metrics.journal_waiting.set(gauge(journal.waiting));
    let age_ns = journal.oldest_ns.map_or(0, |at_ns| clock::now_ns().saturating_sub(at_ns).max(0));
    metrics.journal_oldest_age.set(age_ns / NANOS_PER_SECOND);
    metrics.journal_tight.set(i64::from(journal.is_tight));
    metrics.journal_failing.set(i64::from(journal.failing.is_some()));
    metrics.journal_unsynced.set(gauge(journal.unsynced.as_secs()));
    follow(&metrics.journal_late_syncs, journal.late_syncs);
    follow(&metrics.journal_recovered, journal.recovered);
    follow(&metrics.journal_sent_again, journal.sent_again);
    follow(&metrics.journal_freed_unconfirmed, journal.freed_unconfirmed);
    let errors = [journal.write_errors, journal.read_errors, journal.torn_tails, journal.damaged];
    for (what, count) in JOURNAL_ERRORS.into_iter().zip(errors) {
        follow(&metrics.journal_errors.with_label_values(&[what]), count);
    }
    for (data_type, count) in journal.unjournaled {
        if count > 0 {
            follow(&metrics.journal_skipped.with_label_values(&[data_type.as_str()]), count);
        }
    }
    for (loss, lost) in JournalLoss::ALL.iter().zip(&journal.lost) {
        for (data_type, count) in lost.iter().filter(|(_, count)| **count > 0) {
            follow(&metrics.lost.with_label_values(&[data_type.as_str(), loss.as_str()]), *count);
        }
    }
}

impl<'a> FeedTotals<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        Self { metrics, counters: BTreeMap::new(), gauges: BTreeMap::new(), poll_successes: BTreeMap::new() }
    }

    /// Of several feeds of an exchange, or parts of one, the oldest counts.
    fn add_poll_success(&mut self, exchange: &str, kind: DataType, seconds: i64) {
        let oldest = self.poll_successes.entry((exchange.to_owned(), kind)).or_insert(seconds);
        *oldest = seconds.min(*oldest);
    }

    /// A feed that is gone leaves none behind.
    fn show_poll_successes(&self) {
        let gauge = &self.metrics.poll_success;
        gauge.reset();
        for ((exchange, kind), seconds) in &self.poll_successes {
            gauge.with_label_values(&[exchange.as_str(), kind.as_str()]).set(*seconds);
        }
    }

    fn count(&mut self, family: &'a IntCounterVec, labels: &[&str], value: u64) {
        add(&mut self.counters, family, labels, value);
    }

    fn gauge(&mut self, family: &'a IntGaugeVec, labels: &[&str], value: u64) {
        add(&mut self.gauges, family, labels, value);
    }

    fn add_books_and_polls(&mut self, feed: &FeedStatus) {
        let (metrics, exchange, report) = (self.metrics, feed.exchange.as_str(), feed.report());
        self.gauge(&metrics.feed_running, &[exchange], u64::from(feed.phase() == FeedPhase::Running));
        let not_listed = u64::try_from(feed.not_listed().len()).unwrap_or_default();
        self.gauge(&metrics.not_listed, &[exchange], not_listed);
        self.gauge(&metrics.ranking_unreadable, &[exchange], u64::from(feed.ranking_problem().is_some()));
        let missing = report.trades.iter().map(|trades| trades.missing).sum();
        self.gauge(&metrics.trades_missing, &[exchange], missing);
        for state in [BookState::WaitSnapshot, BookState::Syncing, BookState::Live] {
            let books = report.books.iter().filter(|book| book.state == state).count();
            self.gauge(
                &metrics.books,
                &[exchange, state_text(state)],
                u64::try_from(books).unwrap_or_default(),
            );
        }
        for book in &report.books {
            self.add_book(exchange, &book.stats, book.conflated);
            self.count(&metrics.book_short, &[exchange], book.short);
        }
        let updated_ns = report.books.iter().map(|book| book.updated_ns).max();
        if let Some(updated_ns) = updated_ns {
            let gauge = metrics.book_updated.with_label_values(&[exchange]);
            gauge.set(gauge.get().max(updated_ns / NANOS_PER_SECOND));
        }
        for (kind, polls) in report.polls {
            self.expect_poll(exchange, kind);
            self.count(&metrics.poll_answers, &[exchange, kind.as_str()], polls.answers);
            for (reason, count) in &polls.failures {
                self.count(&metrics.poll_failures, &[exchange, kind.as_str(), reason], *count);
            }
            let seconds = polls.oldest_success_ns.unwrap_or_default() / NANOS_PER_SECOND;
            self.add_poll_success(exchange, kind, seconds);
        }
    }

    pub(super) fn add_book(&mut self, exchange: &str, stats: &BookStats, conflated: u64) {
        let metrics = self.metrics;
        let gaps =
            [(BookGapCause::Sequence, stats.gaps), (BookGapCause::Checksum, stats.checksum_mismatches)];
        for (cause, count) in gaps {
            self.count(&metrics.book_gaps, &[exchange, cause.as_str()], count);
        }
        self.count(&metrics.book_updates, &[exchange], stats.applied);
        for (reason, count) in stats.resyncs {
            self.count(&metrics.book_resyncs, &[exchange, reason.as_str()], count);
        }
        self.count(&metrics.book_resyncs, &[exchange, "refresh"], stats.refreshes);
        for (reason, count) in stats.breaks {
            self.count(&metrics.book_breaks, &[exchange, reason.as_str()], count);
        }
        for (reason, count) in [
            ("outdated", stats.outdated),
            ("buffer_full", stats.dropped),
            ("restart", stats.discarded),
            ("rejected", stats.rejected),
            ("old_snapshot", stats.snapshots_ignored),
            ("conflated", conflated),
        ] {
            self.count(&metrics.book_discarded, &[exchange, reason], count);
        }
    }

    pub(super) fn add_adapter(&mut self, exchange: &str, stats: &StatsSnapshot) {
        let metrics = self.metrics;
        for (cause, count) in stats.faults.into_iter().filter(|(cause, _)| *cause != FaultCause::HostLimit) {
            self.count(&metrics.adapter_faults, &[exchange, cause.as_str()], count);
        }
        self.count(&metrics.host_limits, &[exchange], stats.host_limits);
        self.count(&metrics.adapter_restarts, &[exchange], stats.restarts);
        self.count(&metrics.adapter_calls, &[exchange], stats.calls);
        self.count(&metrics.adapter_micros, &[exchange], stats.call_ns / 1_000);
        self.count(&metrics.quarantined, &[exchange], stats.frames_faulted + stats.frames_unseen);
        self.gauge(&metrics.adapter_memory, &[exchange], stats.memory_high_water_bytes);
    }

    fn add_sockets(&mut self, feed: &FeedStatus) {
        let (metrics, exchange) = (self.metrics, feed.exchange.as_str());
        let Some(sockets) = feed.sockets() else { return };
        self.add_socket_events(exchange, &sockets.counters());
        let queued = u64::try_from(sockets.queued_bytes()).unwrap_or(u64::MAX);
        self.gauge(&metrics.input_bytes, &[exchange], queued);
        let behind = sockets.behind_for().unwrap_or_default();
        self.gauge(&metrics.behind, &[exchange], behind.as_secs());
        let now_ns = clock::now_ns();
        for connection in sockets.status() {
            let phase = match connection.phase {
                ConnectionPhase::Connecting => "connecting",
                ConnectionPhase::Waiting => "waiting",
                ConnectionPhase::Open => "open",
                ConnectionPhase::Replacing => "replacing",
                ConnectionPhase::Stopped => "stopped",
            };
            self.gauge(&metrics.connections, &[exchange, phase], 1);
            if let Some(at_ns) = connection.last_frame_at_ns {
                let age = now_ns.saturating_sub(at_ns).max(0) / NANOS_PER_MILLISECOND;
                let age = u64::try_from(age).unwrap_or_default();
                self.gauge(&metrics.last_frame_age, &[exchange, &connection.name], age);
            }
        }
    }

    pub(super) fn add_socket_events(&mut self, exchange: &str, counters: &SocketCounters) {
        let metrics = self.metrics;
        for (what, count) in counters {
            if !matches!(what, SocketCounter::Frames | SocketCounter::FrameBytes) {
                self.count(&metrics.socket_events, &[exchange, what.label()], *count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_success_of_all_feeds_of_an_exchange_is_shown_and_none_of_a_feed_that_is_gone() {
        let metrics = Metrics::new().unwrap();
        let shown =
            |kind: DataType| metrics.poll_success.with_label_values(&["sim_spot", kind.as_str()]).get();
        let mut totals = FeedTotals::new(&metrics);
        for (kind, seconds) in [
            (DataType::OpenInterest, 700),
            (DataType::OpenInterest, 500),
            (DataType::OpenInterest, 900),
            (DataType::LsrTopPosition, 800),
        ] {
            totals.add_poll_success("sim_spot", kind, seconds);
        }
        totals.show_poll_successes();
        assert_eq!([shown(DataType::OpenInterest), shown(DataType::LsrTopPosition)], [500, 800]);
        FeedTotals::new(&metrics).show_poll_successes();
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        assert!(!text.contains("poll_oldest_success_timestamp_seconds{"), "{text}");
    }
}
