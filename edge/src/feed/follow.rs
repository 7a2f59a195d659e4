//! Follows the venue's listings: reads its lists again on schedule, collects what is new in parts of its own, and ends what is gone. No other
//! stream is touched: its connections, its books and their epochs stay.

use std::sync::Arc;
use std::time::Duration;

use marketprism_adapter_host::contract::Instrument;
use marketprism_service::{clock, error_text, jitter};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::context::FeedContext;
use super::listing::FeedListing;
use super::parts::{FeedRoster, InstrumentKey, ListingChange, PartNumber};
use super::remark_log::LISTING;
use super::status::{FeedPhase, FeedStatus};
use super::supervise::run_part;
use crate::audit::AuditFeed;
use crate::config::FeedConfig;
use crate::limits::{ADDED_PARTS_MAX, SYMBOLS_NAMED_MAX};
use crate::telemetry::ANY;

/// Labels of changes of the venue's lists.
pub const LISTING_CHANGES: [&str; 2] = ["listed", "delisted"];

/// Runs a feed with all its parts until the edge stops.
pub async fn run_feed(context: FeedContext, config: FeedConfig, roster: Arc<FeedRoster>) {
    let follower = ListingFollower::new(&context, &config, roster);
    tokio::join!(run_part(&context, &config, None), follower.run());
}

struct ListingFollower<'a> {
    first: &'a FeedContext,
    config: &'a FeedConfig,
    roster: Arc<FeedRoster>,
    /// Oldest first.
    added: Vec<AddedPart>,
    last_number: PartNumber,
}

struct AddedPart {
    context: Arc<FeedContext>,
    task: JoinHandle<()>,
}

impl<'a> ListingFollower<'a> {
    fn new(first: &'a FeedContext, config: &'a FeedConfig, roster: Arc<FeedRoster>) -> Self {
        Self { first, config, roster, added: Vec::new(), last_number: 0 }
    }

    async fn run(mut self) {
        // A recording keeps the instruments of its start: its frames are numbered by them.
        while self.first.observer.is_none() && self.pause().await {
            // A feed that does not run reads the lists at its next start.
            if self.first.status.phase() == FeedPhase::Running {
                self.read().await;
            }
        }
        self.first.stop.cancelled().await;
        for part in self.added {
            join(part).await;
        }
    }

    /// False at the stop.
    async fn pause(&self) -> bool {
        tokio::select! {
            () = sleep(jittered(self.config.listing_interval)) => true,
            () = self.first.stop.cancelled() => false,
        }
    }

    async fn read(&mut self) {
        let collected = self.first.parts.symbols();
        let read = tokio::select! {
            read = self.first.reader.read(&collected, None) => read,
            () = self.first.stop.cancelled() => return,
        };
        match read {
            Ok(listing) => self.apply(listing).await,
            Err(error) => {
                let (exchange, error) = (&self.config.exchange, error_text(error.as_ref()));
                tracing::warn!(
                    exchange,
                    error,
                    "the venue's lists cannot be read again, the feed stays as it is"
                );
                self.count_error();
            }
        }
    }

    fn count_error(&self) {
        let labels = [self.config.exchange.as_str(), ANY, LISTING];
        self.first.edge.metrics.collector_errors.with_label_values(&labels).inc();
    }

    fn tell_missed(&self, change: &ListingChange) {
        if change.missed.is_empty() {
            return;
        }
        let symbols = named(change.missed.iter().map(|(symbol, _)| symbol.as_str()));
        let exchange = &self.config.exchange;
        if change.is_implausible {
            self.count_error();
            let allowed = "at least half of the collected instruments";
            tracing::warn!(
                exchange,
                symbols,
                allowed,
                "implausible list of the venue, the feed stays as it is"
            );
        } else {
            tracing::warn!(
                exchange,
                symbols,
                "the venue's list lacks collected instruments: their streams end if the next one lacks them too"
            );
        }
    }

    async fn apply(&mut self, listing: FeedListing) {
        self.first.publish_not_listed(&listing);
        let number = self.last_number + 1;
        let change = self.first.parts.change(&listing.instruments, number);
        self.tell_missed(&change);
        let ListingChange { new, delisted, .. } = change;
        for (part, keys) in &delisted {
            self.end(*part, keys);
        }
        self.join_empty().await;
        if !new.is_empty() {
            self.last_number = number;
            self.count(LISTING_CHANGES[0], new.len());
            let symbols = named(new.iter().map(|one| one.symbol.as_str()));
            tracing::info!(
                exchange = self.config.exchange,
                symbols,
                part = number,
                "new instruments are collected"
            );
            let (auditor, exchange) = (&self.first.edge.auditor, &self.config.exchange);
            let added_feed = || (new, auditor.added_feed(exchange, clock::now_ns()));
            let merged = self.make_room(number).await;
            let (instruments, audit_feed) = merged.unwrap_or_else(added_feed);
            self.add(number, instruments, audit_feed);
        }
    }

    fn count(&self, change: &str, instruments: usize) {
        let labels = [self.config.exchange.as_str(), change];
        let count = u64::try_from(instruments).unwrap_or_default();
        self.first.edge.metrics.listing_changes.with_label_values(&labels).inc_by(count);
    }

    /// The part's pipeline ends the streams. A part that does not run leaves them out at its next start.
    fn end(&self, part: PartNumber, keys: &[InstrumentKey]) {
        self.count(LISTING_CHANGES[1], keys.len());
        let symbols = named(keys.iter().map(|(symbol, _)| symbol.as_str()));
        tracing::info!(
            exchange = self.config.exchange,
            symbols,
            part,
            "instruments are not listed any more, their streams end"
        );
        let added = self.added.iter().map(|part| part.context.as_ref());
        if let Some(of) = added.chain([self.first]).find(|context| context.status.part == part) {
            of.status.end_instruments(keys);
        }
    }

    /// Stops parts without an instrument once their pipelines have ended all streams.
    async fn join_empty(&mut self) {
        let is_empty = |part: &AddedPart| self.first.parts.is_empty(part.context.status.part);
        let (empty, added) = std::mem::take(&mut self.added).into_iter().partition(is_empty);
        self.added = added;
        for part in empty {
            let part: AddedPart = part;
            part.context.status.ended_instruments().await;
            self.leave(part).await;
        }
    }

    /// If there are as many parts as may be, the newest ends, and the new part gets its instruments too.
    async fn make_room(&mut self, number: PartNumber) -> Option<(Vec<Instrument>, AuditFeed)> {
        if self.added.len() < ADDED_PARTS_MAX {
            return None;
        }
        let newest = self.added.pop()?;
        let part = newest.context.status.part;
        tracing::warn!(
            exchange = self.config.exchange,
            part,
            limit = ADDED_PARTS_MAX,
            "as many parts as may be: the newest starts again with the new instruments"
        );
        let context = Arc::clone(&newest.context);
        join(newest).await;
        self.roster.remove(&context.status);
        self.first.parts.merge(part, number);
        // The new part goes on with the old one's streams in the audits.
        Some((self.first.parts.of(number), context.audit_feed))
    }

    async fn leave(&self, part: AddedPart) {
        let context = Arc::clone(&part.context);
        join(part).await;
        self.roster.remove(&context.status);
        context.edge.auditor.release(context.audit_feed, clock::now_ns());
    }

    fn add(&mut self, number: PartNumber, instruments: Vec<Instrument>, audit_feed: AuditFeed) {
        let FeedContext { edge, lane, parts, reader, status, stop, .. } = self.first;
        let exchange = self.config.exchange.as_str();
        let status =
            FeedStatus::new(exchange, &self.config.data_types, status.adapter.clone()).with_part(number);
        let status = Arc::new(status);
        self.roster.add(Arc::clone(&status));
        let context = Arc::new(FeedContext {
            edge: Arc::clone(edge),
            audit_feed,
            lane: *lane,
            status,
            observer: None,
            parts: Arc::clone(parts),
            reader: Arc::clone(reader),
            stop: stop.child_token(),
        });
        let (of_task, config) = (Arc::clone(&context), self.config.clone());
        let task = tokio::spawn(async move { run_part(&of_task, &config, Some(instruments)).await });
        self.added.push(AddedPart { context, task });
    }
}

async fn join(part: AddedPart) {
    part.context.stop.cancel();
    if part.task.await.is_err() {
        tracing::error!(exchange = part.context.status.exchange, "a part of the feed panicked");
    }
}

/// A tenth less to a tenth more, so that the edges of a venue do not ask at one moment.
fn jittered(interval: Duration) -> Duration {
    interval * 9 / 10 + jitter(interval / 5)
}

fn named<'s>(symbols: impl ExactSizeIterator<Item = &'s str>) -> String {
    let count = symbols.len();
    let mut text = symbols.take(SYMBOLS_NAMED_MAX).collect::<Vec<_>>().join(", ");
    if count > SYMBOLS_NAMED_MAX {
        text.push_str(&format!(" and {} more", count - SYMBOLS_NAMED_MAX));
    }
    text
}
