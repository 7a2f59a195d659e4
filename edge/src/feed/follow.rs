//! Follows the venue's listings: reads its lists again on schedule, collects what is new in parts of its own, and ends what is delisted. No other
//! stream is touched: its connections, its books and their epochs stay. A reload changes the selection by the same parts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marketprism_adapter_host::contract::Instrument;
use marketprism_schema::{DowntimeReason, StreamId};
use marketprism_service::{clock, error_text, jitter};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::context::{FeedContext, FeedSetup};
use super::listing::FeedListing;
use super::listing_changes::AppliedListing;
use super::opened::{OpenedPart, PartStart};
use super::parts::{FeedRoster, InstrumentKey, KeysByPart, ListingChange, PartNumber, key_of, named};
use super::ranking::FeedRanking;
use super::remark_log::LISTING;
use super::status::{FeedPhase, InstrumentEnd};
use super::supervise::run_part;
use crate::audit::AuditFeed;
use crate::limits::{ADDED_PARTS_MAX, HALT_LISTING, OVERLAP_INPUTS_MAX, RANKING_RETRY, STREAMS_END};
use crate::telemetry::ANY;

/// Runs a feed with all its parts until it is stopped.
pub async fn run_feed(parts: Arc<Mutex<PartSet>>, start: PartStart) {
    let first = Arc::clone(&parts.lock().await.first);
    tokio::join!(run_part(&first, start), follow(&first, &parts));
}

async fn follow(first: &FeedContext, parts: &Mutex<PartSet>) {
    // A recording keeps the instruments of its start: its frames are numbered by them.
    while first.recorder.is_none() && !first.stop.is_cancelled() {
        // A feed that does not run reads the lists at its next start.
        if pause(first).await && first.status.phase() == FeedPhase::Running {
            read(first, parts).await;
        }
    }
    first.stop.cancelled().await;
    let added = std::mem::take(&mut parts.lock().await.added);
    for part in added {
        join(part).await;
    }
}

/// True once the interval has passed, or the lists are needed now; false at the stop, or when the interval may have changed.
async fn pause(first: &FeedContext) -> bool {
    let mut setup = first.setup.subscribe();
    let interval = setup.borrow_and_update().config.listing_interval;
    let is_ranked = first.status.ranking_problem().is_none();
    let interval = if is_ranked { interval } else { interval.min(RANKING_RETRY) };
    let has_halt = first.parts.has_new_halt(Instant::now());
    let interval = if has_halt { interval.min(HALT_LISTING) } else { interval };
    tokio::select! {
        () = sleep(jittered(interval)) => true,
        () = first.relist.notified() => true,
        _ = setup.changed() => false,
        () = first.stop.cancelled() => false,
    }
}

async fn read(first: &FeedContext, parts: &Mutex<PartSet>) {
    let (setup, collected) = (first.setup(), first.parts.keys());
    let observer = first.observer(&setup.config);
    let read = tokio::select! {
        read = setup.reader.read(&collected, observer.as_deref()) => read,
        () = first.stop.cancelled() => return,
    };
    let mut parts = parts.lock().await;
    if !Arc::ptr_eq(&setup, &first.setup()) {
        // The listing of the reload that came meanwhile is newer.
        return;
    }
    match read {
        Ok(listing) => {
            parts.apply(listing).await.report(first);
        }
        Err(error) => {
            let (exchange, error) = (&first.status.exchange, error_text(error.as_ref()));
            tracing::warn!(
                exchange,
                error,
                "the venue's lists cannot be read again, the feed stays as it is"
            );
            parts.count_error();
        }
    }
}

/// The first part of a feed, and those that were added to it.
pub struct PartSet {
    pub first: Arc<FeedContext>,
    roster: Arc<FeedRoster>,
    /// Oldest first.
    added: Vec<AddedPart>,
    last_number: PartNumber,
}

struct AddedPart {
    context: Arc<FeedContext>,
    task: JoinHandle<()>,
}

impl PartSet {
    pub fn new(first: FeedContext, roster: Arc<FeedRoster>) -> Self {
        roster.add(Arc::clone(&first.status));
        Self { first: Arc::new(first), roster, added: Vec::new(), last_number: 0 }
    }

    fn contexts(&self) -> impl Iterator<Item = &Arc<FeedContext>> {
        std::iter::once(&self.first).chain(self.added.iter().map(|part| &part.context))
    }

    pub fn audit_feeds(&self) -> Vec<AuditFeed> {
        self.contexts().map(|context| context.audit_feed).collect()
    }

    /// Takes all parts out of the pages.
    pub fn leave_roster(&self) {
        self.contexts().for_each(|context| self.roster.remove(&context.status));
    }

    /// Changes the selection: what it does not include ends, and the feed's next lists are read by it. Gives the symbols that ended.
    pub async fn select(&mut self, setup: Arc<FeedSetup>) -> Vec<String> {
        self.first.edge.readers.set(&setup.config.exchange, &setup.reader);
        self.first.setup.send_replace(Arc::clone(&setup));
        let removed = self.first.parts.deselect(setup.reader.selection());
        self.end_configured(&removed, &|stream| setup.config.selects(stream)).await;
        self.join_empty(&KeysByPart::new()).await;
        removed.into_values().flatten().map(|(symbol, _)| symbol).collect()
    }

    /// Ends all streams, in the order of their frames.
    pub async fn end_all(&mut self) {
        let mut all = KeysByPart::new();
        for context in self.contexts() {
            let keys = context
                .status
                .instruments()
                .iter()
                .map(|one| (one.symbol.clone(), one.market_type))
                .collect();
            all.insert(context.status.part, keys);
        }
        self.end_configured(&all, &|_| false).await;
    }

    /// A pipeline ends its streams behind the frames that it has. What does not run, or takes too long, ends now.
    async fn end_configured(&self, keys: &KeysByPart, is_selected: &(dyn Fn(&StreamId) -> bool + Sync)) {
        for (part, keys) in keys {
            self.end(*part, keys, InstrumentEnd::Downtime(DowntimeReason::Removed));
        }
        self.wait_for_ends().await;
        for context in self.contexts() {
            context.edge.auditor.end_unselected(context.audit_feed, is_selected, clock::now_ns());
        }
    }

    async fn wait_for_ends(&self) {
        for context in self.contexts() {
            if timeout(STREAMS_END, context.status.ended_instruments()).await.is_err() {
                let (exchange, limit) = (&context.status.exchange, STREAMS_END);
                tracing::warn!(exchange, ?limit, "the pipeline did not end streams in time");
            }
        }
    }

    /// The streams of instruments with changed terms go on in another part.
    fn move_streams(&self, changed: &KeysByPart, to: AuditFeed, at_ns: i64) {
        for context in self.contexts() {
            let Some(keys) = changed.get(&context.status.part) else { continue };
            let is_moved = |stream: &StreamId| {
                keys.iter().any(|(symbol, market)| *symbol == stream.symbol && *market == stream.market_type)
            };
            let why = "the venue changed the instrument's terms (tick, step or contract size): it is subscribed again by them";
            context.edge.auditor.move_streams((context.audit_feed, to), &is_moved, at_ns, why);
        }
    }

    fn count_error(&self) {
        let labels = [self.first.status.exchange.as_str(), ANY, LISTING];
        self.first.edge.metrics.collector_errors.with_label_values(&labels).inc();
    }

    fn report_missed(&self, change: &ListingChange) {
        if change.missed.is_empty() {
            return;
        }
        let symbols = named(change.missed.iter().map(|(symbol, _)| symbol.as_str()));
        let exchange = &self.first.status.exchange;
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

    /// Takes over the venue's lists: ends what is delisted, collects what is new.
    pub async fn apply(&mut self, listing: FeedListing) -> AppliedListing {
        self.first.publish_not_listed(&listing);
        self.first.publish_ranking(&listing);
        self.first.report_terms(&listing);
        let number = self.last_number + 1;
        let outranked =
            listing.outranked().map(|keys| self.first.parts.outrank(keys, None)).unwrap_or_default();
        let change = self.first.parts.change(&listing.instruments, listing.asked_ns, number);
        self.report_missed(&change);
        let ListingChange { new, changed, resized, mut delisted, .. } = change;
        for (part, keys) in self.first.parts.end_idle(self.first.setup().reader.selection(), Instant::now()) {
            delisted.entry(part).or_default().extend(keys);
        }
        let not_trading = self.first.parts.not_trading();
        self.contexts().for_each(|context| context.status.set_not_trading(&not_trading));
        let changed_ns = clock::now_ns();
        for context in self.contexts() {
            let resized = resized.get(&context.status.part).map(Vec::as_slice).unwrap_or_default();
            context.doubt_quantities(resized, changed_ns);
        }
        for (part, keys) in &changed {
            self.end(*part, keys, InstrumentEnd::Moved);
        }
        for (part, keys) in &delisted {
            self.end(*part, keys, InstrumentEnd::Downtime(DowntimeReason::Delisted));
        }
        for (part, keys) in &outranked {
            self.end(*part, keys, InstrumentEnd::Downtime(DowntimeReason::Outranked));
        }
        self.wait_for_ends().await;
        self.join_empty(&changed).await;
        let is_changed = |one: &&Instrument| changed.values().flatten().any(|key| *key == key_of(one));
        let added = || new.iter().filter(|one| !is_changed(one));
        let ranks = listing.ranking.as_ref().map(FeedRanking::ranks).unwrap_or_default();
        let (ranked, listed): (Vec<_>, Vec<_>) = added().partition(|one| ranks.contains_key(&key_of(one)));
        let symbols =
            |instruments: Vec<&Instrument>| instruments.iter().map(|one| one.symbol.clone()).collect();
        let applied = AppliedListing {
            listed: symbols(listed),
            ranked: symbols(ranked),
            delisted: symbols_of(delisted),
            outranked: symbols_of(outranked),
            changed: symbols_of(changed.clone()),
        };
        if !new.is_empty() {
            self.last_number = number;
            let exchange = self.first.status.exchange.clone();
            let symbols = named(new.iter().map(|one| one.symbol.as_str()));
            tracing::info!(exchange, symbols, part = number, "instruments are collected by a new part");
            if self.added.len() < ADDED_PARTS_MAX {
                let audit_feed = self.first.edge.auditor.added_feed(&exchange, changed_ns);
                self.move_streams(&changed, audit_feed, changed_ns);
                self.add(self.first.part(number, audit_feed), PartStart::Instruments(new));
            } else {
                self.replace_newest(number, &changed, changed_ns).await;
            }
        }
        self.join_empty(&KeysByPart::new()).await;
        applied
    }

    /// The part's pipeline ends the streams. A part that does not run leaves them out at its next start.
    fn end(&self, part: PartNumber, keys: &[InstrumentKey], end: InstrumentEnd) {
        let symbols = named(keys.iter().map(|(symbol, _)| symbol.as_str()));
        let (exchange, why) = (&self.first.status.exchange, end.as_str());
        tracing::info!(exchange, symbols, part, why, "streams of instruments end in their part");
        if let Some(of) = self.contexts().find(|context| context.status.part == part) {
            of.status.end_instruments(keys, end);
        }
    }

    /// Stops parts without an instrument, but those whose streams another part is to take over. Their pipelines have ended all streams.
    async fn join_empty(&mut self, busy: &KeysByPart) {
        let is_empty = |part: &AddedPart| {
            let number = part.context.status.part;
            self.first.parts.is_empty(number) && !busy.contains_key(&number)
        };
        let (empty, added): (Vec<AddedPart>, Vec<AddedPart>) =
            std::mem::take(&mut self.added).into_iter().partition(is_empty);
        self.added = added;
        for part in empty {
            self.leave(part).await;
        }
    }

    /// There are as many parts as may be: the new one gets the instruments of the newest too, whose connections close once the new ones are
    /// subscribed and have settled.
    async fn replace_newest(&mut self, number: PartNumber, changed: &KeysByPart, changed_ns: i64) {
        let Some(newest) = self.added.pop() else { return };
        let (exchange, part) = (&self.first.status.exchange, newest.context.status.part);
        tracing::warn!(
            exchange,
            part,
            limit = ADDED_PARTS_MAX,
            "as many parts as may be: the newest starts again with the new instruments"
        );
        let parts = Arc::clone(&self.first.parts);
        parts.merge(part, number);
        let context = self.first.part(number, newest.context.audit_feed);
        let opened = OpenedPart::open(&context, &self.first.setup(), parts.of(number), OVERLAP_INPUTS_MAX);
        let mut start = match opened {
            Ok(opened) => {
                if let Some(late) = opened.wait_until_subscribed(&context).await {
                    tracing::warn!(exchange, part = number, late, "connections do not overlap");
                }
                parts.expect_memories();
                PartStart::Opened(Box::new(opened))
            }
            // The part's own start reports the cause, and is repeated.
            Err(_) => PartStart::Instruments(parts.of(number)),
        };
        let old = Arc::clone(&newest.context);
        join(newest).await;
        if let PartStart::Opened(opened) = &mut start {
            opened.memories = parts.take_memories();
        }
        self.roster.remove(&old.status);
        // The new part goes on with the old one's streams in the audits.
        self.move_streams(changed, context.audit_feed, changed_ns);
        self.add(context, start);
    }

    async fn leave(&self, part: AddedPart) {
        let context = Arc::clone(&part.context);
        join(part).await;
        self.roster.remove(&context.status);
        context.edge.auditor.release(context.audit_feed, clock::now_ns(), DowntimeReason::Delisted);
    }

    fn add(&mut self, context: FeedContext, start: PartStart) {
        let context = Arc::new(context);
        self.roster.add(Arc::clone(&context.status));
        let of_task = Arc::clone(&context);
        let task = tokio::spawn(async move { run_part(&of_task, start).await });
        self.added.push(AddedPart { context, task });
    }
}

fn symbols_of(keys: KeysByPart) -> Vec<String> {
    keys.into_values().flatten().map(|(symbol, _)| symbol).collect()
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
