//! The state machine of one order book.

use crate::base::Base;
use crate::outcome::{Action, Gap, GapCause, Outcome, ResyncReason, State};
use crate::pending::Pending;
use crate::refresh::{Progress, Refresh};
use crate::sequence::{self, Verdict};
use crate::settings::{BookSettings, Checksum, SequenceRule, SnapshotSource};
use crate::stats::BookStats;
use crate::update::{BookUpdate, Change, UpdateError};
use crate::view::BookView;

/// Called with the LIVE book after each update that changed it.
pub(crate) type Each<'a> = dyn FnMut(BookView<'_>) + 'a;

#[derive(Debug)]
pub(crate) enum Phase {
    Waiting(Pending),
    Syncing(Base),
    Live(Live),
}

#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) base: Base,
    pub(crate) refresh: Option<Box<Refresh>>,
}

/// One order book. See the crate's documentation for its states.
#[derive(Debug)]
pub struct Book {
    pub(crate) settings: BookSettings,
    pub(crate) phase: Phase,
    pub(crate) epoch: u32,
    /// A new starting state was asked for and did not come yet.
    pub(crate) asked: bool,
    pub(crate) crossed_since_ns: Option<i64>,
    pub(crate) stats: BookStats,
}

impl Book {
    /// An empty book in WAIT_SNAPSHOT. It asks for its first snapshot when the first delta is here, because
    /// an earlier snapshot would be older than the stream.
    #[must_use]
    pub fn new(settings: BookSettings) -> Self {
        Book {
            phase: Phase::Waiting(Pending::new(&settings.limits)),
            settings,
            epoch: 0,
            asked: false,
            crossed_since_ns: None,
            stats: BookStats::default(),
        }
    }

    /// Applies an update.
    pub fn apply(&mut self, update: &BookUpdate<'_>) -> Outcome {
        self.apply_each(update, &mut |_| {})
    }

    /// Applies an update and shows the LIVE book after each update that changed it, those included that were
    /// buffered and are released by a snapshot.
    pub fn apply_each(&mut self, update: &BookUpdate<'_>, each: &mut Each<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        match (self.check(update), update.change) {
            (Err(error), _) => self.refuse(update.change, error, &mut outcome),
            (Ok(()), Change::Snapshot) => self.take_snapshot(update, &mut outcome, each),
            (Ok(()), Change::Delta) => self.take_delta(update, &mut outcome, each),
        }
        outcome
    }

    /// Throws the book away and asks for a new starting state: after its connection was replaced, or when the
    /// stream says so.
    pub fn restart(&mut self) -> Action {
        let mut outcome = Outcome::default();
        if let Phase::Waiting(pending) = &mut self.phase {
            self.stats.discarded += pending.len() as u64;
            pending.clear();
        }
        self.lose(ResyncReason::Restart, None, &mut outcome);
        Action::Resync { reason: ResyncReason::Restart }
    }

    /// Looks at the clock (nanoseconds since 1970 UTC): a book that is crossed for too long is thrown away.
    /// Updates do this too; a caller with a timer calls it for books whose stream is silent.
    pub fn check_crossed(&mut self, now_ns: i64) -> Option<Action> {
        let Phase::Live(live) = &self.phase else {
            return None;
        };
        if !live.base.ladder.is_crossed() {
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
        let mut outcome = Outcome::default();
        self.lose(ResyncReason::Crossed, None, &mut outcome);
        outcome.action
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Waiting(_) => State::WaitSnapshot,
            Phase::Syncing(_) => State::Syncing,
            Phase::Live(_) => State::Live,
        }
    }

    /// The book to publish; `None` unless LIVE.
    #[must_use]
    pub fn view(&self) -> Option<BookView<'_>> {
        match &self.phase {
            Phase::Live(live) => Some(BookView::new(&live.base, self.epoch, self.settings.depth)),
            _ => None,
        }
    }

    /// Rises each time that a LIVE book is thrown away or replaced.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> &BookStats {
        &self.stats
    }

    /// How the book is kept.
    #[must_use]
    pub fn settings(&self) -> &BookSettings {
        &self.settings
    }

    fn check(&self, update: &BookUpdate<'_>) -> Result<(), UpdateError> {
        update.check()?;
        let BookUpdate { first_id, last_id, change, .. } = *update;
        let ranged = change == Change::Delta && self.settings.rule == SequenceRule::Contiguous;
        if ranged && first_id > last_id { Err(UpdateError::Range { first_id, last_id }) } else { Ok(()) }
    }

    /// An update that cannot be applied leaves a hole as if it had not come.
    fn refuse(&mut self, change: Change, error: UpdateError, outcome: &mut Outcome) {
        self.stats.rejected += 1;
        outcome.rejected = Some(error);
        match (&mut self.phase, change, self.settings.snapshot) {
            (Phase::Waiting(pending), Change::Delta, _) => pending.mark_holed(),
            (Phase::Waiting(_), Change::Snapshot, _) => self.ask(ResyncReason::InvalidUpdate, outcome),
            (Phase::Live(live), Change::Snapshot, SnapshotSource::Request) => live.refresh = None,
            _ => self.lose(ResyncReason::InvalidUpdate, None, outcome),
        }
    }

    /// Leaves SYNCING or LIVE for WAIT_SNAPSHOT. `first` is the first update to buffer.
    pub(crate) fn lose(
        &mut self,
        reason: ResyncReason,
        first: Option<&BookUpdate<'_>>,
        outcome: &mut Outcome,
    ) {
        if matches!(self.phase, Phase::Live(_)) {
            self.epoch = self.epoch.wrapping_add(1);
            self.stats.count_break(reason);
        }
        self.phase = Phase::Waiting(Pending::new(&self.settings.limits));
        self.crossed_since_ns = None;
        self.ask(reason, outcome);
        if let Some(update) = first {
            self.buffer(update, outcome);
        }
    }

    pub(crate) fn ask(&mut self, reason: ResyncReason, outcome: &mut Outcome) {
        self.asked = true;
        self.stats.count_resync(reason);
        outcome.action = Some(Action::Resync { reason });
    }

    fn buffer(&mut self, update: &BookUpdate<'_>, outcome: &mut Outcome) {
        if let Phase::Waiting(pending) = &mut self.phase {
            match self.settings.snapshot {
                // What comes before an in-band snapshot is in it.
                SnapshotSource::InBand => self.stats.discarded += 1,
                SnapshotSource::Request => {
                    self.stats.buffered += 1;
                    self.stats.dropped += pending.push(update);
                }
            }
        }
        if !self.asked {
            self.ask(ResyncReason::Start, outcome);
        }
    }

    pub(crate) fn take_delta(&mut self, update: &BookUpdate<'_>, outcome: &mut Outcome, each: &mut Each<'_>) {
        let rule = self.settings.rule;
        let (verdict, live) = match &self.phase {
            Phase::Waiting(_) => return self.buffer(update, outcome),
            Phase::Syncing(base) => (sequence::first(rule, base.position(), update), false),
            Phase::Live(live) => (sequence::next(rule, live.base.position(), update), true),
        };
        match verdict {
            Verdict::Old => self.stats.outdated += 1,
            Verdict::Heartbeat => self.stats.heartbeats += 1,
            Verdict::Gap { expected, got } if live => {
                self.note_gap(expected, got, update.received_at_ns, outcome);
                self.lose(ResyncReason::Gap, Some(update), outcome);
            }
            Verdict::Gap { .. } => self.lose(ResyncReason::StaleSnapshot, Some(update), outcome),
            Verdict::Apply => self.apply_delta(update, outcome, each),
        }
    }

    fn note_gap(&mut self, expected: i64, got: i64, at_ns: i64, outcome: &mut Outcome) {
        self.stats.gaps += 1;
        outcome.gap = Some(Gap { cause: GapCause::Sequence, expected, got, at_ns });
    }

    /// Takes a verdict of [`Base::differs`]. True when the book is not the venue's: it is thrown away.
    pub(crate) fn checksum_failed(
        &mut self,
        differs: Option<(i64, i64)>,
        update: &BookUpdate<'_>,
        outcome: &mut Outcome,
    ) -> bool {
        let Some((expected, got)) = differs else {
            let verified = self.settings.checksum != Checksum::Unchecked && update.checksum.is_some();
            self.stats.checksums_verified += u64::from(verified);
            return false;
        };
        self.stats.checksum_mismatches += 1;
        let at_ns = update.received_at_ns;
        outcome.gap = Some(Gap { cause: GapCause::Checksum, expected, got, at_ns });
        self.lose(ResyncReason::Checksum, None, outcome);
        true
    }

    /// Applies a delta that continues the SYNCING or LIVE book, which is LIVE afterwards.
    fn apply_delta(&mut self, update: &BookUpdate<'_>, outcome: &mut Outcome, each: &mut Each<'_>) {
        let base = match &mut self.phase {
            Phase::Waiting(_) => return,
            Phase::Syncing(base) => base,
            Phase::Live(live) => &mut live.base,
        };
        let restarted = self.settings.rule == SequenceRule::Chained && update.last_id < base.last_id;
        if let Err(error) = base.apply(update, &self.settings) {
            self.stats.rejected += 1;
            outcome.rejected = Some(error);
            return self.lose(ResyncReason::InvalidUpdate, None, outcome);
        }
        let differs = base.differs(update, &self.settings);
        if self.checksum_failed(differs, update, outcome) {
            return;
        }
        self.stats.sequence_resets += u64::from(restarted);
        self.stats.applied += 1;
        outcome.applied += 1;
        if let Phase::Syncing(_) = self.phase
            && let Phase::Syncing(base) = self.empty_phase()
        {
            self.phase = Phase::Live(Live { base, refresh: None });
        } else {
            self.follow(update, outcome);
        }
        self.show(each);
        self.watch(update.received_at_ns, outcome);
    }

    pub(crate) fn empty_phase(&mut self) -> Phase {
        std::mem::replace(&mut self.phase, Phase::Waiting(Pending::new(&self.settings.limits)))
    }

    /// Gives an applied delta to the second book, if one is in the making.
    fn follow(&mut self, update: &BookUpdate<'_>, outcome: &mut Outcome) {
        if let Phase::Live(live) = &mut self.phase
            && let Some(refresh) = &mut live.refresh
        {
            let progress = refresh.follow(update, &self.settings);
            self.refreshed(progress, outcome);
        }
    }

    pub(crate) fn refreshed(&mut self, progress: Progress, outcome: &mut Outcome) {
        let Phase::Live(live) = &mut self.phase else {
            return;
        };
        match progress {
            Progress::Waiting => {}
            Progress::Stale => {
                self.stats.refreshes += 1;
                outcome.action = Some(Action::Refresh);
            }
            Progress::Ready(base) => {
                if !live.base.ladder.agrees_with(&base.ladder, self.settings.depth) {
                    self.stats.refresh_mismatches += 1;
                    self.epoch = self.epoch.wrapping_add(1);
                }
                self.stats.snapshots += 1;
                *live = Live { base: *base, refresh: None };
            }
        }
    }

    pub(crate) fn show(&self, each: &mut Each<'_>) {
        if let Some(view) = self.view() {
            each(view);
        }
    }

    /// After an applied update: is the book crossed for too long, or does it need deeper levels?
    pub(crate) fn watch(&mut self, now_ns: i64, outcome: &mut Outcome) {
        if let Some(action) = self.check_crossed(now_ns) {
            outcome.action = Some(action);
        }
        if let Phase::Live(live) = &mut self.phase
            && live.refresh.is_none()
            && live.base.ladder.is_thin()
        {
            live.refresh = Some(Box::new(Refresh::new(&self.settings)));
            self.stats.refreshes += 1;
            outcome.action = Some(Action::Refresh);
        }
    }
}
