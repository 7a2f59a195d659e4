//! How snapshots become or extend a LIVE book.

use crate::base::Base;
use crate::book::{Book, Each, Live, Phase};
use crate::outcome::{Outcome, ResyncReason};
use crate::pending::Pending;
use crate::refresh::Refresh;
use crate::sequence::{self, Verdict};
use crate::settings::{BookSettings, SequenceRule, SnapshotSource};
use crate::update::BookUpdate;

/// What an unasked snapshot is to a LIVE book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Succession {
    /// It shows a state that the book has passed, as the snapshot of a second connection that overlaps with the first.
    Older,
    /// It shows the book as it stands.
    Same,
    /// No update lies between the book and it.
    Continues,
    /// Updates may lie between, or the venue started its numbering anew: the epoch rises.
    Breaks,
}

fn succession(live: &Live, base: &Base, update: &BookUpdate<'_>, settings: &BookSettings) -> Succession {
    let book = &live.base;
    let agrees = book.ladder.agrees_with(&base.ladder, settings.depth);
    match settings.rule {
        // Without numbers nothing says that an update is missing; what does (a lost connection, a checksum) restarts the book.
        SequenceRule::Unnumbered => Succession::Continues,
        _ if update.last_id == book.last_id => {
            if agrees {
                Succession::Same
            } else {
                Succession::Breaks
            }
        }
        // Smaller ids are old unless the venue's clock says otherwise: then its numbering started anew.
        _ if update.last_id < book.last_id
            && update.time_us.zip(book.time_us).is_some_and(|(theirs, ours)| theirs <= ours) =>
        {
            Succession::Older
        }
        SequenceRule::Chained if update.previous_id == Some(book.last_id) => Succession::Continues,
        SequenceRule::Contiguous if Some(update.last_id) == book.last_id.checked_add(1) => {
            Succession::Continues
        }
        SequenceRule::Contiguous | SequenceRule::Chained => Succession::Breaks,
    }
}

impl Book {
    pub(crate) fn take_snapshot(
        &mut self,
        update: &BookUpdate<'_>,
        outcome: &mut Outcome,
        each: &mut Each<'_>,
    ) {
        let unaligned = self.settings.rule == SequenceRule::Unnumbered;
        match (&self.phase, self.settings.snapshot) {
            (_, SnapshotSource::InBand) => self.replace(update, outcome, each),
            (Phase::Waiting(_), SnapshotSource::Request) => self.sync(update, outcome, each),
            (Phase::Live(Live { refresh: None, .. }), SnapshotSource::Request) if unaligned => {
                self.replace(update, outcome, each);
            }
            (Phase::Syncing(base), SnapshotSource::Request) => {
                if update.last_id > base.last_id {
                    self.stats.snapshots += 1;
                    self.phase = Phase::Syncing(Base::from_snapshot(update, &self.settings));
                } else {
                    self.stats.snapshots_ignored += 1;
                }
            }
            (Phase::Live(_), SnapshotSource::Request) => self.extend(update, outcome, each),
        }
    }

    /// A snapshot that needs no alignment becomes the LIVE book at once. Where the book is LIVE already, see [`succession`].
    fn replace(&mut self, update: &BookUpdate<'_>, outcome: &mut Outcome, each: &mut Each<'_>) {
        let base = Base::from_snapshot(update, &self.settings);
        let differs = base.differs(update, &self.settings);
        if self.checksum_failed(differs, update, outcome) {
            return;
        }
        let succession = match &self.phase {
            Phase::Live(live) => succession(live, &base, update, &self.settings),
            Phase::Waiting(_) | Phase::Syncing(_) => Succession::Continues,
        };
        match succession {
            Succession::Older => {
                self.stats.snapshots_ignored += 1;
                return;
            }
            Succession::Same => {
                self.stats.snapshots += 1;
                return;
            }
            Succession::Continues => {}
            Succession::Breaks => {
                self.stats.replaced += 1;
                self.epoch = self.epoch.wrapping_add(1);
            }
        }
        self.asked = false;
        self.crossed_since_ns = None;
        self.stats.snapshots += 1;
        self.stats.applied += 1;
        outcome.applied += 1;
        self.phase = Phase::Live(Live { base, refresh: None });
        self.show(each);
        self.watch(update.received_at_ns, outcome);
    }

    /// A requested snapshot while LIVE: it can extend the book.
    fn extend(&mut self, update: &BookUpdate<'_>, outcome: &mut Outcome, each: &mut Each<'_>) {
        let Phase::Live(live) = &mut self.phase else {
            return;
        };
        let live_id = live.base.last_id;
        if live.refresh.is_none() && update.last_id <= live_id {
            self.stats.snapshots_ignored += 1;
            return;
        }
        let refresh = live.refresh.get_or_insert_with(|| Box::new(Refresh::new(&self.settings)));
        let progress =
            refresh.start_from(Base::from_snapshot(update, &self.settings), live_id, &self.settings);
        let epoch = self.epoch;
        self.refreshed(progress, outcome);
        if self.epoch != epoch {
            self.show(each);
        }
    }

    /// A requested snapshot in WAIT_SNAPSHOT: releases the buffered deltas onto it.
    fn sync(&mut self, update: &BookUpdate<'_>, outcome: &mut Outcome, each: &mut Each<'_>) {
        let unaligned = self.settings.rule == SequenceRule::Unnumbered;
        let Phase::Waiting(mut pending) = self.empty_phase() else {
            return;
        };
        if unaligned && pending.is_holed() {
            self.stats.discarded += pending.len() as u64;
            return self.ask(ResyncReason::BufferOverflow, outcome);
        }
        let base = Base::from_snapshot(update, &self.settings);
        let differs = base.differs(update, &self.settings);
        if self.checksum_failed(differs, update, outcome) {
            // What was buffered may still join the next one.
            self.phase = Phase::Waiting(pending);
            return;
        }
        self.asked = false;
        self.stats.snapshots += 1;
        self.phase = Phase::Syncing(base);
        if unaligned && pending.len() == 0 {
            return self.replace_synced(outcome, each);
        }
        while let Some(held) = pending.pop() {
            // A live book that a released delta breaks buffers that delta itself; the rest stays with it.
            let stale = self.release(&held.update(), outcome, each);
            if stale {
                pending.unpop(held);
            }
            if stale || matches!(self.phase, Phase::Waiting(_)) {
                return self.keep_waiting(pending, stale, outcome);
            }
        }
    }

    /// Without sequence ids nothing has to bridge: the snapshot is LIVE.
    fn replace_synced(&mut self, outcome: &mut Outcome, each: &mut Each<'_>) {
        if let Phase::Syncing(base) = self.empty_phase() {
            outcome.applied += 1;
            self.stats.applied += 1;
            self.phase = Phase::Live(Live { base, refresh: None });
            self.show(each);
        }
    }

    /// Gives a buffered delta to the SYNCING or LIVE book. True when the snapshot is too old for it.
    fn release(&mut self, update: &BookUpdate<'_>, outcome: &mut Outcome, each: &mut Each<'_>) -> bool {
        if let Phase::Syncing(base) = &self.phase
            && let Verdict::Gap { .. } = sequence::first(self.settings.rule, base.position(), update)
        {
            return true;
        }
        self.take_delta(update, outcome, each);
        false
    }

    /// Goes back to WAIT_SNAPSHOT with what is left of the buffer.
    fn keep_waiting(&mut self, mut rest: Pending, stale: bool, outcome: &mut Outcome) {
        if stale {
            let reason =
                if rest.is_holed() { ResyncReason::BufferOverflow } else { ResyncReason::StaleSnapshot };
            self.ask(reason, outcome);
        } else if let Phase::Waiting(head) = &mut self.phase
            && let Some(held) = head.pop()
        {
            rest.unpop(held);
        }
        self.phase = Phase::Waiting(rest);
    }
}
