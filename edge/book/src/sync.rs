//! Snapshots: alignment with buffered deltas, replacement and extension of a LIVE book.

use crate::book::{Book, BookPhase, LiveBook, UpdateRun};
use crate::contents::BookContents;
use crate::outcome::{ResyncReason, UpdateOutcome};
use crate::pending::PendingDeltas;
use crate::sequence::{self, SequenceVerdict};
use crate::settings::{BookSettings, SequenceRule, SnapshotSource};
use crate::update::BookUpdate;

/// Relation of an unrequested snapshot to a LIVE book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SnapshotSuccession {
    /// A state before the book's, as from a second, overlapping connection.
    Older,
    Same,
    /// No update lies between the book and the snapshot.
    Continues,
    /// Updates may be missing, or the venue restarted its numbering: the epoch increments.
    Breaks,
}

fn succession(
    live: &LiveBook,
    contents: &BookContents,
    update: &BookUpdate<'_>,
    settings: &BookSettings,
) -> SnapshotSuccession {
    let book = &live.contents;
    let agrees = book.ladder.agrees_with(&contents.ladder, settings.depth);
    match settings.rule {
        // Without numbers only a lost connection or a checksum shows a missing update, and both restart the book.
        SequenceRule::Unnumbered => SnapshotSuccession::Continues,
        _ if update.last_id == book.last_id => {
            if agrees {
                SnapshotSuccession::Same
            } else {
                SnapshotSuccession::Breaks
            }
        }
        // Smaller ids are old, unless the venue's time shows that its numbering restarted.
        _ if update.last_id < book.last_id
            && update.time_us.zip(book.time_us).is_some_and(|(theirs, ours)| theirs <= ours) =>
        {
            SnapshotSuccession::Older
        }
        SequenceRule::Chained if update.previous_id == Some(book.last_id) => SnapshotSuccession::Continues,
        SequenceRule::Contiguous if Some(update.last_id) == book.last_id.checked_add(1) => {
            SnapshotSuccession::Continues
        }
        SequenceRule::Contiguous | SequenceRule::Chained => SnapshotSuccession::Breaks,
    }
}

impl Book {
    pub(crate) fn on_snapshot(&mut self, update: &BookUpdate<'_>, run: &mut UpdateRun<'_>) {
        let unaligned = self.settings.rule == SequenceRule::Unnumbered;
        match (&self.phase, self.settings.snapshot) {
            (_, SnapshotSource::InBand) => self.replace(update, run),
            (BookPhase::Waiting(_), SnapshotSource::Request) => self.sync(update, run),
            (BookPhase::Live(LiveBook { refresh: None, .. }), SnapshotSource::Request) if unaligned => {
                self.replace(update, run);
            }
            (BookPhase::Syncing(contents), SnapshotSource::Request) => {
                if update.last_id > contents.last_id {
                    self.stats.snapshots += 1;
                    self.phase = BookPhase::Syncing(BookContents::from_snapshot(update, &self.settings));
                } else {
                    self.stats.snapshots_ignored += 1;
                }
            }
            (BookPhase::Live(_), SnapshotSource::Request) => self.extend(update, run),
        }
    }

    /// The snapshot needs no alignment and becomes the LIVE book, subject to [`succession`].
    fn replace(&mut self, update: &BookUpdate<'_>, run: &mut UpdateRun<'_>) {
        let contents = BookContents::from_snapshot(update, &self.settings);
        let mismatch = contents.checksum_mismatch(update, &self.settings);
        if self.checksum_failed(mismatch, update, &mut run.outcome) {
            return;
        }
        let succession = match &self.phase {
            BookPhase::Live(live) => succession(live, &contents, update, &self.settings),
            BookPhase::Waiting(_) | BookPhase::Syncing(_) => SnapshotSuccession::Continues,
        };
        match succession {
            SnapshotSuccession::Older => {
                self.stats.snapshots_ignored += 1;
                return;
            }
            SnapshotSuccession::Same => {
                self.stats.snapshots += 1;
                return;
            }
            SnapshotSuccession::Continues => {}
            SnapshotSuccession::Breaks => {
                self.stats.replaced += 1;
                self.epoch = self.epoch.wrapping_add(1);
            }
        }
        self.snapshot_requested = false;
        self.crossed_since_ns = None;
        self.stats.snapshots += 1;
        self.stats.applied += 1;
        run.outcome.applied += 1;
        self.phase = BookPhase::Live(LiveBook { contents, refresh: None });
        self.notify(run);
        self.check_after_update(update.received_at_ns, &mut run.outcome);
    }

    fn extend(&mut self, update: &BookUpdate<'_>, run: &mut UpdateRun<'_>) {
        let BookPhase::Live(live) = &mut self.phase else {
            return;
        };
        if live.refresh.is_none() && update.last_id <= live.contents.last_id {
            self.stats.snapshots_ignored += 1;
            return;
        }
        live.refresh.get_or_insert_with(|| Book::for_refresh(self.settings));
        let epoch = self.epoch;
        self.update_refresh(update, &mut run.outcome);
        if self.epoch != epoch {
            self.notify(run);
        }
    }

    /// A requested snapshot in WAIT_SNAPSHOT: applies the buffered deltas to it.
    fn sync(&mut self, update: &BookUpdate<'_>, run: &mut UpdateRun<'_>) {
        let unaligned = self.settings.rule == SequenceRule::Unnumbered;
        let BookPhase::Waiting(mut pending) = self.take_phase() else {
            return;
        };
        if unaligned && pending.is_incomplete() {
            self.stats.discarded += pending.len() as u64;
            return self.request_snapshot(ResyncReason::BufferOverflow, &mut run.outcome);
        }
        let contents = BookContents::from_snapshot(update, &self.settings);
        let mismatch = contents.checksum_mismatch(update, &self.settings);
        if self.checksum_failed(mismatch, update, &mut run.outcome) {
            // The buffered deltas may still join the next snapshot.
            self.phase = BookPhase::Waiting(pending);
            return;
        }
        self.snapshot_requested = false;
        self.stats.snapshots += 1;
        self.phase = BookPhase::Syncing(contents);
        if unaligned && pending.len() == 0 {
            return self.go_live(run);
        }
        while let Some(delta) = pending.pop() {
            // A delta that breaks the book is buffered by the book itself; the rest of the buffer stays behind it.
            let stale = self.apply_pending(&delta.update(), run);
            if stale {
                pending.push_front(delta);
            }
            if stale || matches!(self.phase, BookPhase::Waiting(_)) {
                return self.keep_waiting(pending, stale, &mut run.outcome);
            }
        }
    }

    /// Without sequence ids no bridging delta is needed.
    fn go_live(&mut self, run: &mut UpdateRun<'_>) {
        if let BookPhase::Syncing(contents) = self.take_phase() {
            run.outcome.applied += 1;
            self.stats.applied += 1;
            self.phase = BookPhase::Live(LiveBook { contents, refresh: None });
            self.notify(run);
        }
    }

    /// Applies a buffered delta. True if the snapshot is too old for it.
    fn apply_pending(&mut self, update: &BookUpdate<'_>, run: &mut UpdateRun<'_>) -> bool {
        if let BookPhase::Syncing(contents) = &self.phase
            && let SequenceVerdict::Gap { .. } =
                sequence::first(self.settings.rule, contents.position(), update)
        {
            return true;
        }
        self.on_delta(update, run);
        false
    }

    /// Returns to WAIT_SNAPSHOT with the rest of the buffer.
    fn keep_waiting(&mut self, mut rest: PendingDeltas, stale: bool, outcome: &mut UpdateOutcome) {
        if stale {
            let reason =
                if rest.is_incomplete() { ResyncReason::BufferOverflow } else { ResyncReason::StaleSnapshot };
            self.request_snapshot(reason, outcome);
        } else if let BookPhase::Waiting(head) = &mut self.phase
            && let Some(delta) = head.pop()
        {
            rest.push_front(delta);
        }
        self.phase = BookPhase::Waiting(rest);
    }
}
