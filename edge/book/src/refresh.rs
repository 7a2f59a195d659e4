//! Extends a LIVE book with deeper levels without interrupting it.
//! From the snapshot request on, every applied delta is kept. Snapshot and deltas form a second book under
//! the same sequence rule; once both have the same id, the second replaces the first.

use crate::contents::BookContents;
use crate::pending::PendingDeltas;
use crate::sequence::{self, SequenceVerdict};
use crate::settings::{BookSettings, SequenceRule};
use crate::update::BookUpdate;

#[derive(Debug)]
pub(crate) struct BookRefresh {
    pending: PendingDeltas,
    contents: Option<BookContents>,
}

#[derive(Debug)]
pub(crate) enum RefreshProgress {
    Waiting,
    /// The second book has the id of the LIVE book.
    Ready(Box<BookContents>),
    /// The snapshot does not join the deltas: another one is needed.
    Stale,
}

impl BookRefresh {
    pub(crate) fn new(settings: &BookSettings) -> Self {
        BookRefresh { pending: PendingDeltas::new(&settings.limits), contents: None }
    }

    /// Takes a delta that the LIVE book has just applied.
    pub(crate) fn follow(&mut self, update: &BookUpdate<'_>, settings: &BookSettings) -> RefreshProgress {
        let Some(contents) = &mut self.contents else {
            self.pending.push(update);
            return RefreshProgress::Waiting;
        };
        match sequence::first(settings.rule, contents.position(), update) {
            SequenceVerdict::Old | SequenceVerdict::Heartbeat => RefreshProgress::Waiting,
            SequenceVerdict::Apply => match (contents.apply(update, settings), self.contents.take()) {
                (Ok(()), Some(contents)) => RefreshProgress::Ready(Box::new(contents)),
                _ => RefreshProgress::Stale,
            },
            SequenceVerdict::Gap { .. } => {
                self.contents = None;
                self.pending.push(update);
                RefreshProgress::Stale
            }
        }
    }

    pub(crate) fn on_snapshot(
        &mut self,
        mut contents: BookContents,
        live_id: i64,
        settings: &BookSettings,
    ) -> RefreshProgress {
        if settings.rule == SequenceRule::Unnumbered && self.pending.is_incomplete() {
            self.pending.clear();
            return RefreshProgress::Stale;
        }
        let mut joined = settings.rule == SequenceRule::Unnumbered;
        while let Some(delta) = self.pending.pop() {
            let update = delta.update();
            let check = if joined { sequence::next } else { sequence::first };
            match check(settings.rule, contents.position(), &update) {
                SequenceVerdict::Old | SequenceVerdict::Heartbeat => {}
                SequenceVerdict::Apply if contents.apply(&update, settings).is_err() => {
                    return RefreshProgress::Stale;
                }
                SequenceVerdict::Apply => joined = true,
                SequenceVerdict::Gap { .. } => {
                    self.pending.push_front(delta);
                    return RefreshProgress::Stale;
                }
            }
        }
        if joined || contents.last_id == live_id {
            return RefreshProgress::Ready(Box::new(contents));
        }
        self.contents = Some(contents);
        RefreshProgress::Waiting
    }
}
