//! Counters and histograms at 0 from the first scrape on, for every known label: `increase()` misses the first event of a series that
//! begins with it.

use marketprism_adapter_host::StatsSnapshot;
use marketprism_adapter_host::contract::Delivery;
use marketprism_book::BookStats;
use marketprism_schema::{DataType, InvalidKind};
use marketprism_socket::{RequestFailure, SocketCounters};

use super::metrics::FeedTotals;
use crate::feed::{
    FEED_ERRORS, FeedStatus, LISTING_CHANGES, PIPELINE, SILENCE_HINTS, UNUSABLE_ANSWERS, ignored_reasons,
    invalid_cause,
};
use crate::gaps::BACKFILL_OUTCOMES;
use crate::journal::JournalLoss;
use crate::publisher::{MirrorDrop, PUBLISHER, REJECTED, RetryReason};
use crate::raw::{RawDeletion, RawLoss};
use crate::reload::ReloadResult;
use crate::swap::{FOLLOW_FAILURES, SWAP_OUTCOMES};
use crate::telemetry::{
    ANY, CLOCK_MEASURED, CLOCK_NOT_MEASURED, CLOCK_SET_BACK, CLOCK_SET_FORWARD, CareLimit, LossAtStop,
    Metrics, RestartCause,
};

/// Cause of events dropped from the full queue.
pub(super) const QUEUE_FULL: &str = "queue_full";

/// Kinds of errors of the journal.
pub(super) const JOURNAL_ERRORS: [&str; 4] = ["write", "read", "torn_tail", "damaged_record"];

/// Kinds of errors of the raw frames.
pub(super) const RAW_ERRORS: [&str; 4] = ["write", "torn_tail", "damaged_block", "component"];

fn expect_raw(metrics: &Metrics, exchange: &str) {
    metrics.raw_written.with_label_values(&[exchange]);
    for reason in RawLoss::ALL {
        metrics.raw_lost.with_label_values(&[exchange, reason.as_str()]);
    }
    for reason in RawDeletion::ALL {
        metrics.raw_deleted.with_label_values(&[exchange, reason.as_str()]);
    }
    for what in RAW_ERRORS {
        metrics.raw_errors.with_label_values(&[exchange, what]);
    }
}

/// Series without an exchange.
pub(super) fn expect_edge(metrics: &Metrics) {
    for reason in RetryReason::ALL {
        metrics.republished.with_label_values(&[reason.as_str()]);
    }
    for reason in MirrorDrop::ALL {
        metrics.mirror_dropped.with_label_values(&[reason.as_str()]);
    }
    for outcome in SWAP_OUTCOMES {
        metrics.adapter_swaps.with_label_values(&[outcome]);
    }
    for cause in FOLLOW_FAILURES {
        metrics.adapter_follow_failures.with_label_values(&[cause]);
    }
    for what in JOURNAL_ERRORS {
        metrics.journal_errors.with_label_values(&[what]);
    }
    for result in ReloadResult::ALL {
        metrics.reloads.with_label_values(&[result.as_str()]);
    }
    for direction in [CLOCK_SET_FORWARD, CLOCK_SET_BACK] {
        metrics.clock_steps.with_label_values(&[direction]);
    }
    metrics.stuck_restarts.with_label_values(&[ANY, PUBLISHER]);
    for cause in RestartCause::ALL {
        metrics.selfcare_restarts.with_label_values(&[cause.as_str()]);
    }
    for limit in CareLimit::ALL {
        metrics.selfcare_exceeded.with_label_values(&[limit.as_str()]);
    }
    for what in LossAtStop::ALL {
        metrics.lost.with_label_values(&[ANY, what.as_str()]);
    }
}

impl FeedTotals<'_> {
    /// Series of a feed, whatever it has done so far.
    pub(super) fn expect_feed(&mut self, feed: &FeedStatus) {
        let (metrics, exchange) = (self.metrics, feed.exchange.as_str());
        for family in [&metrics.frames, &metrics.frame_bytes] {
            family.with_label_values(&[exchange]);
        }
        for reason in ignored_reasons() {
            metrics.ignored.with_label_values(&[exchange, reason]);
        }
        metrics.stuck_restarts.with_label_values(&[exchange, PIPELINE]);
        for outcome in [CLOCK_MEASURED, CLOCK_NOT_MEASURED] {
            metrics.clock_measurements.with_label_values(&[exchange, outcome]);
        }
        expect_raw(metrics, exchange);
        for change in LISTING_CHANGES {
            metrics.listing_changes.with_label_values(&[exchange, change]);
        }
        for code in FEED_ERRORS {
            metrics.collector_errors.with_label_values(&[exchange, ANY, code]);
        }
        let adapter = feed.adapter();
        for kind in &feed.data_types {
            expect_type(metrics, exchange, *kind);
            let capability = adapter.venue(exchange).and_then(|venue| venue.capability(*kind));
            if capability.is_some_and(|capability| capability.delivery == Delivery::Poll) {
                self.expect_poll(exchange, *kind);
            }
        }
        if feed.data_types.contains(&DataType::Trade) {
            metrics.trade_gaps.with_label_values(&[exchange]);
            metrics.backfill_requests.with_label_values(&[exchange]);
            for outcome in BACKFILL_OUTCOMES {
                metrics.backfill_trades.with_label_values(&[exchange, outcome]);
            }
        }
        if feed.data_types.iter().any(|kind| kind.subscribed() == DataType::OrderBook) {
            metrics.book_updated.with_label_values(&[exchange]);
            self.add_book(exchange, &BookStats::default(), 0);
        }
        metrics.adapter_swap_pause.with_label_values(&[exchange]);
        metrics.receive_to_normalized.with_label_values(&[exchange]);
        self.add_adapter(exchange, &StatsSnapshot::default());
        self.add_socket_events(exchange, &SocketCounters::default());
    }

    pub(super) fn expect_poll(&mut self, exchange: &str, kind: DataType) {
        let (metrics, labels) = (self.metrics, [exchange, kind.as_str()]);
        metrics.poll_answers.with_label_values(&labels);
        for reason in RequestFailure::LABELS.into_iter().chain(UNUSABLE_ANSWERS) {
            metrics.poll_failures.with_label_values(&[exchange, kind.as_str(), reason]);
        }
    }
}

fn expect_type(metrics: &Metrics, exchange: &str, kind: DataType) {
    let (name, labels) = (kind.as_str(), [exchange, kind.as_str()]);
    for family in [&metrics.events, &metrics.duplicates, &metrics.unasked] {
        family.with_label_values(&labels);
    }
    for hop in [
        &metrics.venue_to_edge,
        &metrics.receive_to_publish,
        &metrics.publish_to_ack,
        &metrics.receive_to_ack,
    ] {
        hop.with_label_values(&labels);
    }
    for hint in SILENCE_HINTS {
        metrics.silent_streams.with_label_values(&[exchange, name, hint]);
    }
    for code in RequestFailure::LABELS {
        metrics.collector_errors.with_label_values(&[exchange, name, code]);
    }
    for cause in [QUEUE_FULL, REJECTED] {
        metrics.lost.with_label_values(&[name, cause]);
    }
    metrics.journal_skipped.with_label_values(&[name]);
    for loss in JournalLoss::ALL {
        metrics.lost.with_label_values(&[name, loss.as_str()]);
    }
    for kind in InvalidKind::ALL {
        metrics.lost.with_label_values(&[name, &invalid_cause(kind)]);
    }
}
