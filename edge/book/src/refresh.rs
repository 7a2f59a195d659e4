//! Extending a LIVE book by a snapshot without interrupting it.
//!
//! From the moment the snapshot is asked for, every applied delta is kept. The snapshot and these deltas make
//! a second book by the same rules as the first one was made; once both stand at the same id the second,
//! which knows deeper levels, takes over.

use crate::base::Base;
use crate::pending::Pending;
use crate::sequence::{self, Verdict};
use crate::settings::{BookSettings, SequenceRule};
use crate::update::BookUpdate;

/// A second book in the making.
#[derive(Debug)]
pub(crate) struct Refresh {
    pending: Pending,
    base: Option<Base>,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It needs more.
    Waiting,
    /// It stands at the id of the LIVE book.
    Ready(Box<Base>),
    /// The snapshot does not join the deltas: another one is needed.
    Stale,
}

impl Refresh {
    pub(crate) fn new(settings: &BookSettings) -> Self {
        Refresh { pending: Pending::new(&settings.limits), base: None }
    }

    /// Takes a delta that the LIVE book has just applied.
    pub(crate) fn follow(&mut self, update: &BookUpdate<'_>, settings: &BookSettings) -> Progress {
        let Some(base) = &mut self.base else {
            self.pending.push(update);
            return Progress::Waiting;
        };
        match sequence::first(settings.rule, base.position(), update) {
            Verdict::Old | Verdict::Heartbeat => Progress::Waiting,
            Verdict::Apply => match (base.apply(update, settings), self.base.take()) {
                (Ok(()), Some(base)) => Progress::Ready(Box::new(base)),
                _ => Progress::Stale,
            },
            Verdict::Gap { .. } => {
                self.base = None;
                self.pending.push(update);
                Progress::Stale
            }
        }
    }

    /// Takes the snapshot.
    pub(crate) fn start_from(&mut self, mut base: Base, live_id: i64, settings: &BookSettings) -> Progress {
        if settings.rule == SequenceRule::Unnumbered && self.pending.is_holed() {
            self.pending.clear();
            return Progress::Stale;
        }
        let mut joined = settings.rule == SequenceRule::Unnumbered;
        while let Some(held) = self.pending.pop() {
            let update = held.update();
            let judge = if joined { sequence::next } else { sequence::first };
            match judge(settings.rule, base.position(), &update) {
                Verdict::Old | Verdict::Heartbeat => {}
                Verdict::Apply if base.apply(&update, settings).is_err() => return Progress::Stale,
                Verdict::Apply => joined = true,
                Verdict::Gap { .. } => {
                    self.pending.unpop(held);
                    return Progress::Stale;
                }
            }
        }
        if joined || base.last_id == live_id {
            return Progress::Ready(Box::new(base));
        }
        self.base = Some(base);
        Progress::Waiting
    }
}
