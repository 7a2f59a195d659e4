//! State machine of one order book.

use crate::contents::{BookContents, BookView};
use crate::outcome::{BookAction, BookGap, BookGapCause, BookState, BookStats, ResyncReason, UpdateOutcome};
use crate::pending::PendingDeltas;
use crate::sequence::{self, SequenceVerdict};
use crate::settings::{BookSettings, Checksum, SequenceRule, SnapshotSource};
use crate::update::{BookUpdate, Change, UpdateError};

/// One call of [`Book::apply_each`].
pub(crate) struct UpdateRun<'a> {
    pub(crate) outcome: UpdateOutcome,
    each: &'a mut dyn FnMut(BookView<'_>),
}

#[derive(Debug)]
pub(crate) enum BookPhase {
    Waiting(PendingDeltas),
    Syncing(BookContents),
    Live(LiveBook),
}

#[derive(Debug)]
pub(crate) struct LiveBook {
    pub(crate) contents: BookContents,
    /// A second book with deeper levels: a requested snapshot and every delta applied since the request.
    pub(crate) refresh: Option<Box<Book>>,
}

#[derive(Debug)]
pub struct Book {
    pub(crate) settings: BookSettings,
    pub(crate) phase: BookPhase,
    pub(crate) epoch: u32,
    pub(crate) snapshot_requested: bool,
    pub(crate) crossed_since_ns: Option<i64>,
    pub(crate) stats: BookStats,
}

impl Book {
    /// An empty book in WAIT_SNAPSHOT. It requests its first snapshot at the first delta: an earlier one
    /// would be older than the stream.
    pub fn new(settings: BookSettings) -> Self {
        Book {
            phase: BookPhase::Waiting(PendingDeltas::new(&settings.limits)),
            settings,
            epoch: 0,
            snapshot_requested: false,
            crossed_since_ns: None,
            stats: BookStats::default(),
        }
    }

    /// A book whose snapshot is requested by its owner.
    pub(crate) fn for_refresh(settings: BookSettings) -> Box<Self> {
        Box::new(Book { snapshot_requested: true, ..Book::new(settings) })
    }

    pub fn apply(&mut self, update: &BookUpdate<'_>) -> UpdateOutcome {
        self.apply_each(update, &mut |_| {})
    }

    /// Like [`Book::apply`]; `each` sees the LIVE book after each update, including buffered ones that a
    /// snapshot releases.
    pub fn apply_each(
        &mut self,
        update: &BookUpdate<'_>,
        each: &mut dyn FnMut(BookView<'_>),
    ) -> UpdateOutcome {
        let mut run = UpdateRun { outcome: UpdateOutcome::default(), each };
        match (self.check(update), update.change) {
            (Err(error), _) => self.reject(update.change, error, &mut run.outcome),
            (Ok(()), Change::Snapshot) => self.on_snapshot(update, &mut run),
            (Ok(()), Change::Delta) => self.on_delta(update, &mut run),
        }
        run.outcome
    }

    /// Discards the book and requests a snapshot: its connection was replaced, or the stream demands it.
    pub fn restart(&mut self) -> BookAction {
        let mut outcome = UpdateOutcome::default();
        if let BookPhase::Waiting(pending) = &mut self.phase {
            self.stats.discarded += pending.len() as u64;
            pending.clear();
        }
        self.discard(ResyncReason::Restart, None, &mut outcome);
        BookAction::Resync { reason: ResyncReason::Restart }
    }

    /// Discards a book that is crossed for too long at `now_ns` (nanoseconds since 1970 UTC). Updates do
    /// this too; call it for silent streams.
    pub fn check_crossed(&mut self, now_ns: i64) -> Option<BookAction> {
        let BookPhase::Live(live) = &self.phase else {
            return None;
        };
        if !live.contents.ladder.is_crossed() {
            self.crossed_since_ns = None;
            return None;
        }
        let since = *self.crossed_since_ns.get_or_insert_with(|| {
            self.stats.crossed += 1;
            now_ns
        });
        if now_ns.saturating_sub(since) <= self.settings.limits.crossed_ns {
            return None;
        }
        let mut outcome = UpdateOutcome::default();
        self.discard(ResyncReason::Crossed, None, &mut outcome);
        outcome.action
    }

    /// Bytes of the deltas that wait for a snapshot.
    pub fn pending_bytes(&self) -> usize {
        match &self.phase {
            BookPhase::Waiting(pending) => pending.bytes(),
            BookPhase::Syncing(_) => 0,
            BookPhase::Live(live) => live.refresh.as_ref().map_or(0, |refresh| refresh.pending_bytes()),
        }
    }

    /// Frees `bytes` of them, the oldest first: the snapshot must be newer than those, else another one is requested.
    pub fn drop_pending(&mut self, bytes: usize) {
        match &mut self.phase {
            BookPhase::Waiting(pending) => self.stats.dropped += pending.shrink(bytes),
            BookPhase::Syncing(_) => {}
            BookPhase::Live(live) => {
                if let Some(refresh) = &mut live.refresh {
                    refresh.drop_pending(bytes);
                }
            }
        }
    }

    /// A requested snapshot has not come: that of a book without a valid state, or of a refresh.
    pub fn awaits_snapshot(&self) -> bool {
        match &self.phase {
            BookPhase::Waiting(_) => self.snapshot_requested,
            BookPhase::Syncing(_) => false,
            BookPhase::Live(live) => live.refresh.as_ref().is_some_and(|refresh| refresh.awaits_snapshot()),
        }
    }

    pub fn state(&self) -> BookState {
        match self.phase {
            BookPhase::Waiting(_) => BookState::WaitSnapshot,
            BookPhase::Syncing(_) => BookState::Syncing,
            BookPhase::Live(_) => BookState::Live,
        }
    }

    /// `None` unless LIVE.
    pub fn view(&self) -> Option<BookView<'_>> {
        match &self.phase {
            BookPhase::Live(live) => Some(BookView::new(&live.contents, self.epoch, self.settings.depth)),
            _ => None,
        }
    }

    /// Increments each time that a LIVE book is discarded or replaced.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    pub fn stats(&self) -> &BookStats {
        &self.stats
    }

    pub fn settings(&self) -> &BookSettings {
        &self.settings
    }

    fn check(&self, update: &BookUpdate<'_>) -> Result<(), UpdateError> {
        update.check()?;
        let BookUpdate { first_id, last_id, change, .. } = *update;
        let ranged = change == Change::Delta && self.settings.rule == SequenceRule::Contiguous;
        if ranged && first_id > last_id { Err(UpdateError::Range { first_id, last_id }) } else { Ok(()) }
    }

    /// An update that cannot be applied leaves a gap, as if it had not come.
    fn reject(&mut self, change: Change, error: UpdateError, outcome: &mut UpdateOutcome) {
        self.stats.rejected += 1;
        outcome.rejected = Some(error);
        match (&mut self.phase, change, self.settings.snapshot) {
            (BookPhase::Waiting(pending), Change::Delta, _) => pending.mark_incomplete(),
            (BookPhase::Waiting(_), Change::Snapshot, _) => {
                self.request_snapshot(ResyncReason::InvalidUpdate, outcome)
            }
            (BookPhase::Live(live), Change::Snapshot, SnapshotSource::Request) => live.refresh = None,
            _ => self.discard(ResyncReason::InvalidUpdate, None, outcome),
        }
    }

    /// Leaves SYNCING or LIVE for WAIT_SNAPSHOT. `first` is the first update to buffer.
    pub(crate) fn discard(
        &mut self,
        reason: ResyncReason,
        first: Option<&BookUpdate<'_>>,
        outcome: &mut UpdateOutcome,
    ) {
        if matches!(self.phase, BookPhase::Live(_)) {
            self.epoch = self.epoch.wrapping_add(1);
            self.stats.breaks[reason] += 1;
        }
        self.phase = BookPhase::Waiting(PendingDeltas::new(&self.settings.limits));
        self.crossed_since_ns = None;
        self.request_snapshot(reason, outcome);
        if let Some(update) = first {
            self.buffer(update, outcome);
        }
    }

    pub(crate) fn request_snapshot(&mut self, reason: ResyncReason, outcome: &mut UpdateOutcome) {
        self.snapshot_requested = true;
        self.stats.resyncs[reason] += 1;
        outcome.action = Some(BookAction::Resync { reason });
    }

    fn buffer(&mut self, update: &BookUpdate<'_>, outcome: &mut UpdateOutcome) {
        if let BookPhase::Waiting(pending) = &mut self.phase {
            match self.settings.snapshot {
                // An in-band snapshot contains everything sent before it.
                SnapshotSource::InBand => self.stats.discarded += 1,
                SnapshotSource::Request => {
                    self.stats.buffered += 1;
                    self.stats.dropped += pending.push(update);
                }
            }
        }
        if !self.snapshot_requested {
            self.request_snapshot(ResyncReason::Start, outcome);
        }
    }

    pub(crate) fn on_delta(&mut self, update: &BookUpdate<'_>, run: &mut UpdateRun<'_>) {
        let rule = self.settings.rule;
        let (verdict, live) = match &self.phase {
            BookPhase::Waiting(_) => return self.buffer(update, &mut run.outcome),
            BookPhase::Syncing(contents) => (sequence::first(rule, contents.position(), update), false),
            BookPhase::Live(live) => (sequence::next(rule, live.contents.position(), update), true),
        };
        match verdict {
            SequenceVerdict::Old => self.stats.outdated += 1,
            SequenceVerdict::Heartbeat => self.stats.heartbeats += 1,
            SequenceVerdict::Gap { expected, got } if live => {
                self.record_gap(expected, got, update.received_at_ns, &mut run.outcome);
                self.discard(ResyncReason::Gap, Some(update), &mut run.outcome);
            }
            SequenceVerdict::Gap { .. } => {
                self.discard(ResyncReason::StaleSnapshot, Some(update), &mut run.outcome)
            }
            SequenceVerdict::Apply => self.apply_delta(update, run),
        }
    }

    fn record_gap(&mut self, expected: i64, got: i64, at_ns: i64, outcome: &mut UpdateOutcome) {
        self.stats.gaps += 1;
        outcome.gap = Some(BookGap { cause: BookGapCause::Sequence, expected, got, at_ns });
    }

    /// True if the book does not match the venue's checksum: it is discarded.
    pub(crate) fn checksum_failed(
        &mut self,
        mismatch: Option<(i64, i64)>,
        update: &BookUpdate<'_>,
        outcome: &mut UpdateOutcome,
    ) -> bool {
        let Some((expected, got)) = mismatch else {
            let verified = self.settings.checksum != Checksum::Unchecked && update.checksum.is_some();
            self.stats.checksums_verified += u64::from(verified);
            return false;
        };
        self.stats.checksum_mismatches += 1;
        let at_ns = update.received_at_ns;
        outcome.gap = Some(BookGap { cause: BookGapCause::Checksum, expected, got, at_ns });
        self.discard(ResyncReason::Checksum, None, outcome);
        true
    }

    /// Applies a delta that continues the SYNCING or LIVE book, which is LIVE afterwards.
    fn apply_delta(&mut self, update: &BookUpdate<'_>, run: &mut UpdateRun<'_>) {
        let contents = match &mut self.phase {
            BookPhase::Waiting(_) => return,
            BookPhase::Syncing(contents) => contents,
            BookPhase::Live(live) => &mut live.contents,
        };
        let restarted = self.settings.rule == SequenceRule::Chained && update.last_id < contents.last_id;
        if let Err(error) = contents.apply(update, &self.settings) {
            self.stats.rejected += 1;
            run.outcome.rejected = Some(error);
            return self.discard(ResyncReason::InvalidUpdate, None, &mut run.outcome);
        }
        let (mismatch, exhausted) =
            (contents.checksum_mismatch(update, &self.settings), contents.ladder.is_exhausted());
        if self.checksum_failed(mismatch, update, &mut run.outcome) {
            return;
        }
        if exhausted {
            return self.discard(ResyncReason::Exhausted, None, &mut run.outcome);
        }
        self.stats.sequence_resets += u64::from(restarted);
        self.stats.applied += 1;
        run.outcome.applied += 1;
        if let BookPhase::Syncing(_) = self.phase
            && let BookPhase::Syncing(contents) = self.take_phase()
        {
            self.phase = BookPhase::Live(LiveBook { contents, refresh: None });
        } else {
            self.update_refresh(update, &mut run.outcome);
        }
        self.notify(run);
        self.check_after_update(update.received_at_ns, &mut run.outcome);
    }

    pub(crate) fn take_phase(&mut self) -> BookPhase {
        std::mem::replace(&mut self.phase, BookPhase::Waiting(PendingDeltas::new(&self.settings.limits)))
    }

    /// Passes a snapshot or an applied delta to the second book, which replaces this one once both have the same id.
    pub(crate) fn update_refresh(&mut self, update: &BookUpdate<'_>, outcome: &mut UpdateOutcome) {
        let BookPhase::Live(live) = &mut self.phase else { return };
        let Some(refresh) = &mut live.refresh else { return };
        let needs_snapshot = matches!(refresh.apply(update).action, Some(BookAction::Resync { .. }));
        let mut refreshed = match refresh.take_phase() {
            BookPhase::Live(LiveBook { contents, .. }) => contents,
            BookPhase::Syncing(contents)
                if update.change == Change::Snapshot && contents.last_id == live.contents.last_id =>
            {
                contents
            }
            unfinished => {
                refresh.phase = unfinished;
                if needs_snapshot {
                    self.stats.refreshes += 1;
                    outcome.action = Some(BookAction::Refresh);
                }
                return;
            }
        };
        if !live.contents.ladder.agrees_with(&refreshed.ladder, self.settings.depth) {
            self.stats.refresh_mismatches += 1;
            self.epoch = self.epoch.wrapping_add(1);
        }
        self.stats.snapshots += 1;
        // The second book may have gone LIVE, and shown its levels, on its own.
        refreshed.ladder.mark_new();
        *live = LiveBook { contents: refreshed, refresh: None };
    }

    pub(crate) fn notify(&mut self, run: &mut UpdateRun<'_>) {
        if let Some(view) = self.view() {
            (run.each)(view);
        }
        if let BookPhase::Live(live) = &mut self.phase {
            live.contents.ladder.mark_shown();
        }
    }

    pub(crate) fn check_after_update(&mut self, now_ns: i64, outcome: &mut UpdateOutcome) {
        if let Some(action) = self.check_crossed(now_ns) {
            outcome.action = Some(action);
        }
        if let BookPhase::Live(live) = &mut self.phase
            && live.refresh.is_none()
            && live.contents.ladder.is_thin()
        {
            live.refresh = Some(Book::for_refresh(self.settings));
            self.stats.refreshes += 1;
            outcome.action = Some(BookAction::Refresh);
        }
    }
}
