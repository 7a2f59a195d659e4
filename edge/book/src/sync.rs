//! How snapshots become or extend a LIVE book.

use crate::base::Base;
use crate::book::{Book, Each, Live, Phase};
use crate::outcome::{Outcome, ResyncReason};
use crate::pending::Pending;
use crate::refresh::Refresh;
use crate::sequence::{self, Verdict};
use crate::settings::{SequenceRule, SnapshotSource};
use crate::update::BookUpdate;

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

    /// A snapshot that needs no alignment becomes the LIVE book at once.
    fn replace(&mut self, update: &BookUpdate<'_>, outcome: &mut Outcome, each: &mut Each<'_>) {
        if matches!(self.phase, Phase::Live(_)) {
            self.epoch = self.epoch.wrapping_add(1);
        }
        self.asked = false;
        self.crossed_since_ns = None;
        self.stats.snapshots += 1;
        self.stats.applied += 1;
        outcome.applied += 1;
        self.phase = Phase::Live(Live { base: Base::from_snapshot(update, &self.settings), refresh: None });
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
