//! Copies counts of other parts into the metrics, just before they are scraped.

use std::collections::BTreeMap;

use marketprism_book::{BookGapCause, BookState};
use marketprism_service::clock;
use marketprism_socket::{ConnectionPhase, SocketCounter};
use prometheus::{IntCounterVec, IntGaugeVec};

use super::state::EdgeState;
use super::values::state_text;
use crate::feed::{FeedPhase, FeedStatus};
use crate::telemetry::{follow, gauge};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MILLISECOND: i64 = 1_000_000;

/// Totals by labels: feeds of one exchange are summed up before a counter follows them.
#[derive(Default)]
struct Totals(BTreeMap<Vec<String>, u64>);

impl Totals {
    fn add(&mut self, labels: &[&str], value: u64) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        *self.0.entry(labels).or_default() += value;
    }

    fn counters(self, family: &IntCounterVec) {
        for (labels, total) in self.0 {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            follow(&family.with_label_values(&labels), total);
        }
    }

    fn gauges(self, family: &IntGaugeVec) {
        family.reset();
        for (labels, total) in self.0 {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            family.with_label_values(&labels).set(gauge(total));
        }
    }
}

pub(super) fn refresh(state: &EdgeState) {
    let metrics = &state.metrics;
    let queue = state.queue.status();
    metrics.queue_messages.set(gauge(queue.messages));
    metrics.queue_bytes.set(gauge(queue.bytes));
    follow(&metrics.queue_conflated, queue.conflated);
    follow(&metrics.queue_waits, queue.waits);
    for (data_type, dropped) in queue.dropped {
        if dropped > 0 {
            follow(&metrics.lost.with_label_values(&[data_type.as_str(), "queue_full"]), dropped);
        }
    }
    metrics.nats_connected.set(i64::from(state.link.is_connected()));
    for row in state.coverage.rows(clock::now_ns()) {
        let seconds = row.last_success_ns.unwrap_or_default() / NANOS_PER_SECOND;
        metrics.last_success.with_label_values(&[&row.exchange, row.data_type.as_str()]).set(seconds);
    }
    refresh_books(state);
    refresh_polls(state);
    refresh_adapters(state);
    refresh_sockets(state);
}

fn refresh_polls(state: &EdgeState) {
    let (mut answers, mut failures) = (Totals::default(), Totals::default());
    for feed in &state.feeds {
        let exchange = feed.exchange.as_str();
        for (kind, report) in feed.report().polls {
            answers.add(&[exchange, kind.as_str()], report.answers);
            for (reason, count) in &report.failures {
                failures.add(&[exchange, kind.as_str(), reason], *count);
            }
            let seconds = report.oldest_success_ns.unwrap_or_default() / NANOS_PER_SECOND;
            state.metrics.poll_success.with_label_values(&[exchange, kind.as_str()]).set(seconds);
        }
    }
    answers.counters(&state.metrics.poll_answers);
    failures.counters(&state.metrics.poll_failures);
}

fn refresh_books(state: &EdgeState) {
    let (mut gaps, mut updates) = (Totals::default(), Totals::default());
    let (mut resyncs, mut discarded) = (Totals::default(), Totals::default());
    let (mut states, mut missing) = (Totals::default(), Totals::default());
    let (mut running, mut breaks) = (Totals::default(), Totals::default());
    for feed in &state.feeds {
        let exchange = feed.exchange.as_str();
        running.add(&[exchange], u64::from(feed.phase() == FeedPhase::Running));
        let report = feed.report();
        missing.add(&[exchange], report.trades.iter().map(|trades| trades.missing).sum());
        for book_state in [BookState::WaitSnapshot, BookState::Syncing, BookState::Live] {
            states.add(&[exchange, state_text(book_state)], 0);
        }
        for book in &report.books {
            let stats = &book.stats;
            states.add(&[exchange, state_text(book.state)], 1);
            gaps.add(&[exchange, BookGapCause::Sequence.as_str()], stats.gaps);
            gaps.add(&[exchange, BookGapCause::Checksum.as_str()], stats.checksum_mismatches);
            updates.add(&[exchange], stats.applied);
            for (reason, count) in stats.resyncs {
                resyncs.add(&[exchange, reason.as_str()], count);
            }
            for (reason, count) in stats.breaks {
                breaks.add(&[exchange, reason.as_str()], count);
            }
            for (reason, count) in [
                ("outdated", stats.outdated),
                ("buffer_full", stats.dropped),
                ("restart", stats.discarded),
                ("rejected", stats.rejected),
                ("old_snapshot", stats.snapshots_ignored),
                ("conflated", book.conflated),
            ] {
                discarded.add(&[exchange, reason], count);
            }
        }
    }
    let metrics = &state.metrics;
    gaps.counters(&metrics.book_gaps);
    breaks.counters(&metrics.book_breaks);
    updates.counters(&metrics.book_updates);
    resyncs.counters(&metrics.book_resyncs);
    discarded.counters(&metrics.book_discarded);
    states.gauges(&metrics.books);
    missing.gauges(&metrics.trades_missing);
    running.gauges(&metrics.feed_running);
}

fn refresh_adapters(state: &EdgeState) {
    let (mut faults, mut restarts) = (Totals::default(), Totals::default());
    let (mut calls, mut micros) = (Totals::default(), Totals::default());
    let (mut quarantined, mut memory) = (Totals::default(), Totals::default());
    for feed in &state.feeds {
        let exchange = feed.exchange.as_str();
        let Some(stats) = feed.stats().map(|stats| stats.snapshot()) else { continue };
        for (cause, count) in stats.faults {
            faults.add(&[exchange, cause.as_str()], count);
        }
        restarts.add(&[exchange], stats.restarts);
        calls.add(&[exchange], stats.calls);
        micros.add(&[exchange], stats.call_ns / 1_000);
        quarantined.add(&[exchange], stats.frames_faulted + stats.frames_unseen);
        memory.add(&[exchange], stats.memory_high_water_bytes);
    }
    let metrics = &state.metrics;
    faults.counters(&metrics.adapter_faults);
    restarts.counters(&metrics.adapter_restarts);
    calls.counters(&metrics.adapter_calls);
    micros.counters(&metrics.adapter_micros);
    quarantined.counters(&metrics.quarantined);
    memory.gauges(&metrics.adapter_memory);
}

fn refresh_sockets(state: &EdgeState) {
    let (mut connections, mut ages, mut events) = (Totals::default(), Totals::default(), Totals::default());
    let now_ns = clock::now_ns();
    for feed in &state.feeds {
        refresh_feed_sockets(feed, now_ns, &mut connections, &mut ages, &mut events);
    }
    connections.gauges(&state.metrics.connections);
    ages.gauges(&state.metrics.last_frame_age);
    events.counters(&state.metrics.socket_events);
}

fn refresh_feed_sockets(
    feed: &FeedStatus,
    now_ns: i64,
    connections: &mut Totals,
    ages: &mut Totals,
    events: &mut Totals,
) {
    let exchange = feed.exchange.as_str();
    let Some(sockets) = feed.sockets() else { return };
    for (what, count) in sockets.counters() {
        if !matches!(what, SocketCounter::Frames | SocketCounter::FrameBytes) {
            events.add(&[exchange, what.label()], count);
        }
    }
    for connection in sockets.status() {
        let phase = match connection.phase {
            ConnectionPhase::Connecting => "connecting",
            ConnectionPhase::Waiting => "waiting",
            ConnectionPhase::Open => "open",
            ConnectionPhase::Replacing => "replacing",
            ConnectionPhase::Stopped => "stopped",
        };
        connections.add(&[exchange, phase], 1);
        if let Some(at_ns) = connection.last_frame_at_ns {
            let age = now_ns.saturating_sub(at_ns).max(0) / NANOS_PER_MILLISECOND;
            ages.add(&[exchange, &connection.name], u64::try_from(age).unwrap_or_default());
        }
    }
}
