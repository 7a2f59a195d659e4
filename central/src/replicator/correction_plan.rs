//! Plan of a page of a correction: rows to insert and to delete on each side, from what both hold. Pure.
//!
//! A row by the new version is right already, whoever published it: so a page that was carried out in part is continued, and one that was carried
//! out changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use marketprism_schema::{CorrectionKind, EventId};
use serde::Deserialize;

use super::window::align;
use crate::row::{CORRECTION_SOURCE, MOVED, WITHDRAWN, WITHDRAWN_ADDITION};

/// An event of a correction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedEvent {
    pub event_id: EventId,
    pub kind: CorrectionKind,
    pub timestamp_us: i64,
    /// Of the frame.
    pub received_at_ns: i64,
    pub stream_seq: u64,
    /// JSON form of the event as the new version gives it; as the old version gave it if it is withdrawn.
    pub payload: String,
}

/// A row of an event that a correction names: what its replacement keeps.
#[derive(Debug, Clone, PartialEq, Eq, clickhouse::Row, Deserialize)]
pub struct StoredEvent {
    pub event_id: u128,
    pub created_ms: i64,
    pub stream_seq: u64,
    pub received_at_ns: i64,
    pub edge: String,
    pub region: String,
    pub adapter: String,
    pub data_source: String,
    pub symbol: String,
    pub market_type: String,
    pub timestamp_us: i64,
}

/// Event of the page by its position, and the row that it replaces.
pub type Replacement = (usize, StoredEvent);

#[derive(Debug, Default, PartialEq, Eq)]
pub struct SidePlan {
    pub replace: Vec<Replacement>,
    /// Events whose rows by other versions are deleted, once the new rows are there.
    pub remove: Vec<u128>,
    /// First and last venue time of these rows.
    pub remove_us: Option<(i64, i64)>,
}

impl SidePlan {
    fn remove<'r>(&mut self, event_id: EventId, old: impl Iterator<Item = &'r &'r StoredEvent>) {
        self.remove.push(event_id.0);
        for row in old {
            let (first, last) = self.remove_us.unwrap_or((row.timestamp_us, row.timestamp_us));
            self.remove_us = Some((first.min(row.timestamp_us), last.max(row.timestamp_us)));
        }
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CorrectionCounts {
    pub replaced: u64,
    pub added: u64,
    pub withdrawn: u64,
    pub absent: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct PagePlan {
    pub hot: SidePlan,
    pub cold: SidePlan,
    /// Events that hot gets as new rows.
    pub add: Vec<usize>,
    /// Rows of hot, or else of cold, whose messages become copies of this kind: those that are deleted without a replacement, and those whose
    /// replacement has another venue time.
    pub marked: Vec<(&'static str, StoredEvent)>,
    /// Withdrawn events without a row: they were withdrawn before, or never stored.
    pub gone: Vec<u128>,
    /// Windows of the rows.
    pub windows: BTreeSet<i64>,
    /// Those of them that hot has corrected and cold has not: unless they are open, cold was put back to an earlier state.
    pub behind_in_cold: BTreeSet<i64>,
    /// A row is in a window that is not copied yet.
    pub waits: bool,
    pub counts: CorrectionCounts,
}

#[derive(Debug, Clone, Copy)]
pub struct PlanRules<'a> {
    /// The new version, and those of later corrections of the same rows: their rows are right.
    pub adapters: &'a [&'a str],
    /// Everything before it is copied.
    pub upto_ms: i64,
    pub width_ms: i64,
}

impl PlanRules<'_> {
    fn is_right(&self, row: &StoredEvent) -> bool {
        self.adapters.contains(&row.adapter.as_str())
    }
}

impl PagePlan {
    pub fn new(
        page: &[StagedEvent],
        hot: &[StoredEvent],
        cold: &[StoredEvent],
        rules: &PlanRules<'_>,
    ) -> Self {
        let (hot, cold) = (by_event(hot), by_event(cold));
        // Of two corrections of one event the first one counts, as over two pages.
        let mut with_content: HashMap<EventId, usize> = HashMap::new();
        for (position, event) in page.iter().enumerate().filter(|(_, event)| has_content(event)) {
            with_content.entry(event.event_id).or_insert(position);
        }
        let mut plan = Self::default();
        for (position, event) in page.iter().enumerate() {
            let (hot, cold) = (rows_of(&hot, event.event_id), rows_of(&cold, event.event_id));
            plan.note_windows(hot.iter().chain(cold), rules);
            let first = with_content.get(&event.event_id);
            if has_content(event) && first != Some(&position) {
                plan.counts.replaced += 1;
            } else if has_content(event) {
                plan.correct(position, event, (hot, cold), rules);
            } else if first.is_none() {
                plan.withdraw(event, (hot, cold), rules);
            }
        }
        plan
    }

    fn note_windows<'r>(&mut self, rows: impl Iterator<Item = &'r &'r StoredEvent>, rules: &PlanRules<'_>) {
        for row in rows {
            if row.created_ms < rules.upto_ms {
                self.windows.insert(align(row.created_ms, rules.width_ms));
            } else if !rules.is_right(row) {
                self.waits = true;
            }
        }
    }

    fn correct(
        &mut self,
        position: usize,
        event: &StagedEvent,
        (hot, cold): (&[&StoredEvent], &[&StoredEvent]),
        rules: &PlanRules<'_>,
    ) {
        for (side, rows) in [(&mut self.hot, hot), (&mut self.cold, cold)] {
            let old = || rows.iter().filter(|row| !rules.is_right(row));
            let Some(first) = old().min_by_key(|row| (row.created_ms, row.stream_seq)) else { continue };
            if old().count() == rows.len() {
                side.replace.push((position, (*first).clone()));
            }
            side.remove(event.event_id, old());
        }
        let is_new = |row: &&&StoredEvent| rules.is_right(row);
        if hot.iter().any(|row| is_new(&row)) {
            let old = cold.iter().filter(|row| !is_new(row));
            self.behind_in_cold.extend(old.map(|row| align(row.created_ms, rules.width_ms)));
        }
        let old = hot.iter().chain(cold).find(|row| !is_new(row));
        if let Some(moved) = old.filter(|row| row.timestamp_us != event.timestamp_us) {
            // The message of an added row is in no audit.
            let found = if moved.data_source == CORRECTION_SOURCE { WITHDRAWN_ADDITION } else { MOVED };
            self.marked.push((found, (*moved).clone()));
        }
        let mut rows = hot.iter().chain(cold).peekable();
        if rows.peek().is_none() {
            if event.kind == CorrectionKind::Added {
                self.add.push(position);
                self.counts.added += 1;
            } else {
                // Lost, or of an instrument that was not collected: a correction makes no row of it.
                self.counts.absent += 1;
            }
        } else if rows.any(|row| row.data_source == CORRECTION_SOURCE) {
            self.counts.added += 1;
        } else {
            self.counts.replaced += 1;
        }
    }

    fn withdraw(
        &mut self,
        event: &StagedEvent,
        (hot, cold): (&[&StoredEvent], &[&StoredEvent]),
        rules: &PlanRules<'_>,
    ) {
        let is_old = |row: &&&StoredEvent| !rules.is_right(row);
        for (side, rows) in [(&mut self.hot, hot), (&mut self.cold, cold)] {
            if rows.iter().any(|row| is_old(&row)) {
                side.remove(event.event_id, rows.iter().filter(is_old));
            }
        }
        if hot.is_empty() {
            let old = cold.iter().filter(is_old);
            self.behind_in_cold.extend(old.map(|row| align(row.created_ms, rules.width_ms)));
        }
        match hot.iter().chain(cold).find(is_old) {
            Some(row) => {
                let is_added = row.data_source == CORRECTION_SOURCE;
                let found = if is_added { WITHDRAWN_ADDITION } else { WITHDRAWN };
                self.marked.push((found, (*row).clone()));
                self.counts.withdrawn += 1;
            }
            None => self.gone.push(event.event_id.0),
        }
    }

    pub fn inserts(&self) -> bool {
        !(self.hot.replace.is_empty() && self.cold.replace.is_empty() && self.add.is_empty())
    }

    pub fn deletes(&self) -> bool {
        !(self.hot.remove.is_empty() && self.cold.remove.is_empty())
    }
}

fn has_content(event: &StagedEvent) -> bool {
    event.kind != CorrectionKind::Withdrawn
}

fn rows_of<'a, 'r>(rows: &'a HashMap<u128, Vec<&'r StoredEvent>>, id: EventId) -> &'a [&'r StoredEvent] {
    rows.get(&id.0).map(Vec::as_slice).unwrap_or_default()
}

fn by_event(rows: &[StoredEvent]) -> HashMap<u128, Vec<&StoredEvent>> {
    let mut events: HashMap<u128, Vec<&StoredEvent>> = HashMap::with_capacity(rows.len());
    for row in rows {
        events.entry(row.event_id).or_default().push(row);
    }
    events
}

/// `created_at` of a row that replaces another one: the version that wins, in the same window.
pub fn version_after(created_ms: i64, width_ms: i64) -> i64 {
    let next_ms = created_ms.saturating_add(1);
    if align(next_ms, width_ms) == align(created_ms, width_ms) { next_ms } else { created_ms }
}

impl CorrectionCounts {
    pub fn add(&mut self, other: Self) {
        self.replaced += other.replaced;
        self.added += other.added;
        self.withdrawn += other.withdrawn;
        self.absent += other.absent;
    }

    pub fn named(self) -> BTreeMap<&'static str, u64> {
        let Self { replaced, added, withdrawn, absent } = self;
        BTreeMap::from([
            ("replaced", replaced),
            ("added", added),
            ("withdrawn", withdrawn),
            ("absent", absent),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: PlanRules<'_> = PlanRules { adapters: &["new", "newer"], upto_ms: 600, width_ms: 60 };

    fn staged(id: u128, kind: CorrectionKind) -> StagedEvent {
        let (event_id, payload) = (EventId(id), String::new());
        StagedEvent { event_id, kind, timestamp_us: 7, received_at_ns: 0, stream_seq: 0, payload }
    }

    fn row(event_id: u128, created_ms: i64, adapter: &str) -> StoredEvent {
        StoredEvent {
            event_id,
            created_ms,
            stream_seq: 1,
            received_at_ns: 0,
            edge: "e".into(),
            region: "r".into(),
            adapter: adapter.into(),
            data_source: "live".into(),
            symbol: "A-B".into(),
            market_type: "spot".into(),
            timestamp_us: 7,
        }
    }

    #[test]
    fn the_plan_goes_on_from_every_point_at_which_it_was_broken_off() {
        let page = [
            staged(1, CorrectionKind::Changed),
            staged(2, CorrectionKind::Withdrawn),
            staged(3, CorrectionKind::Added),
        ];
        let (old, new) = (row(1, 10, "old"), row(1, 11, "new"));
        let mut stored = row(3, 500, "new");
        stored.data_source = CORRECTION_SOURCE.into();
        let plan = |hot: &[StoredEvent], cold: &[StoredEvent]| PagePlan::new(&page, hot, cold, &RULES);

        let first = plan(&[old.clone(), row(2, 130, "old")], &[old.clone(), row(2, 130, "old")]);
        assert_eq!(
            first.hot,
            SidePlan { replace: vec![(0, old.clone())], remove: vec![1, 2], remove_us: Some((7, 7)) }
        );
        assert_eq!((first.cold.clone_parts(), &first.add), (first.hot.clone_parts(), &vec![2]));
        assert_eq!(first.windows, BTreeSet::from([0, 120]));
        let whole = CorrectionCounts { replaced: 1, added: 1, withdrawn: 1, absent: 0 };
        assert_eq!((first.counts, first.marked.len()), (whole, 1));

        let inserted =
            plan(&[old.clone(), new.clone(), stored.clone(), row(2, 130, "old")], std::slice::from_ref(&old));
        assert_eq!(
            inserted.hot,
            SidePlan { replace: vec![], remove: vec![1, 2], remove_us: Some((7, 7)) },
            "in hot only"
        );
        assert_eq!(
            inserted.cold,
            SidePlan { replace: vec![(0, old)], remove: vec![1], remove_us: Some((7, 7)) }
        );
        assert_eq!((inserted.counts, inserted.add.is_empty()), (whole, true));
        assert_eq!(inserted.behind_in_cold, BTreeSet::from([0]));

        let done = plan(&[new.clone(), stored], std::slice::from_ref(&new));
        assert!(!done.inserts() && !done.deletes() && done.behind_in_cold.is_empty());
        assert_eq!((done.gone, done.counts.replaced, done.counts.added), (vec![2], 1, 1));
    }

    #[test]
    fn a_row_that_is_not_copied_yet_waits_and_one_that_is_nowhere_is_not_made_up() {
        let page = [staged(1, CorrectionKind::Changed)];
        assert!(PagePlan::new(&page, &[row(1, 600, "old")], &[], &RULES).waits);
        assert!(!PagePlan::new(&page, &[row(1, 600, "new")], &[], &RULES).waits);
        let nowhere = PagePlan::new(&page, &[], &[], &RULES);
        assert!(!nowhere.inserts() && nowhere.counts.absent == 1);
        // An event whose id both versions give at different times of the span.
        let both = [staged(1, CorrectionKind::Added), staged(1, CorrectionKind::Withdrawn)];
        let plan = PagePlan::new(&both, &[row(1, 10, "old")], &[], &RULES);
        assert_eq!((plan.hot.replace.len(), plan.marked.len()), (1, 0));
    }

    #[test]
    fn moved_and_withdrawn_rows_are_marked_by_kind_and_an_event_is_replaced_once() {
        let moved = StoredEvent { timestamp_us: 5, ..row(1, 10, "old") };
        let added = StoredEvent { data_source: CORRECTION_SOURCE.into(), ..row(2, 20, "old") };
        let page = [
            staged(1, CorrectionKind::Changed),
            staged(1, CorrectionKind::Changed),
            staged(2, CorrectionKind::Withdrawn),
            staged(3, CorrectionKind::Withdrawn),
        ];
        let plan = PagePlan::new(&page, &[moved, added, row(3, 30, "old")], &[], &RULES);
        let marks: Vec<&str> = plan.marked.iter().map(|(found, _)| *found).collect();
        assert_eq!(marks, [MOVED, WITHDRAWN_ADDITION, WITHDRAWN]);
        assert_eq!((plan.hot.replace.len(), plan.counts.replaced, plan.counts.withdrawn), (1, 2, 2));
    }

    #[test]
    fn a_moved_row_of_an_earlier_correction_is_in_no_audit_and_a_row_of_a_later_correction_stays() {
        let added =
            StoredEvent { data_source: CORRECTION_SOURCE.into(), timestamp_us: 5, ..row(1, 10, "old") };
        let page = [
            staged(1, CorrectionKind::Changed),
            staged(2, CorrectionKind::Changed),
            staged(3, CorrectionKind::Withdrawn),
        ];
        let plan = PagePlan::new(&page, &[added, row(2, 20, "newer"), row(3, 30, "newer")], &[], &RULES);
        assert!(matches!(&plan.marked[..], [(WITHDRAWN_ADDITION, _)]), "{:?}", plan.marked);
        assert_eq!((plan.hot.remove, plan.hot.remove_us), (vec![1], Some((5, 5))));
        assert_eq!(plan.hot.replace.len(), 1);
    }

    #[test]
    fn a_new_version_wins_and_stays_in_its_window() {
        assert_eq!([0, 58, 59, 60].map(|ms| version_after(ms, 60)), [1, 59, 59, 61]);
    }

    impl SidePlan {
        fn clone_parts(&self) -> (Vec<Replacement>, Vec<u128>) {
            (self.replace.clone(), self.remove.clone())
        }
    }
}
