//! Re-evaluates everything in hot, a small share of each round's time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use marketprism_schema::Table;

use super::inputs::RowsToRead;
use super::queries;
use super::reconciler::Reconciler;
use crate::ledger::windows::{SECOND_NS, WindowRange};
use crate::{clock, limits};

/// Granularity of the search for occupied times.
const HOUR_NS: i64 = 3_600 * SECOND_NS;

pub struct Recheck {
    every: Duration,
    /// Time per round. Overtime of a range is deducted from the next rounds.
    share: Duration,
    debt: Duration,
    next: Instant,
    began: Instant,
    left: VecDeque<(WindowRange, Vec<Table>)>,
}

impl Recheck {
    pub fn new(every: Duration, interval: Duration) -> Self {
        let share = (interval / limits::RECHECK_SHARE).max(limits::RECHECK_LEAST);
        let now = Instant::now();
        Self { every, share, debt: Duration::ZERO, next: now, began: now, left: VecDeque::new() }
    }

    /// Works for its share of a round; returns the duration of a complete pass at its end.
    pub async fn step(&mut self, reconciler: &mut Reconciler) -> anyhow::Result<Option<Duration>> {
        let (began, credit) = (Instant::now(), self.share.saturating_sub(self.debt));
        self.debt = self.debt.saturating_sub(self.share);
        if credit.is_zero() || (self.left.is_empty() && began < self.next) {
            return Ok(None);
        }
        if self.left.is_empty() {
            (self.began, self.next) = (began, began + self.every);
            self.left = ranges(reconciler).await?;
        }
        while let Some((range, tables)) = self.left.front() {
            reconciler.evaluate_range(*range, RowsToRead::All(tables)).await?;
            self.left.pop_front();
            if began.elapsed() >= credit {
                break;
            }
        }
        self.debt += began.elapsed().saturating_sub(credit);
        Ok(self.left.is_empty().then(|| self.began.elapsed()))
    }
}

/// Ranges that may have something to evaluate, the newest first.
async fn ranges(reconciler: &mut Reconciler) -> anyhow::Result<VecDeque<(WindowRange, Vec<Table>)>> {
    let now = clock::now_ns();
    let storage = reconciler.shared.storage.clone();
    reconciler.expected.read(&storage).await.context("cannot read the reporting periods")?;
    let from = reconciler.oldest_kept(now);
    let mut hours =
        queries::occupied_hours(&storage, from).await.context("cannot read the occupied hours of hot")?;
    if let Some(reach) = reconciler.expected.reach() {
        let to = reach.to.min(now);
        for hour in reach.from.max(from).div_euclid(HOUR_NS)..=to.div_euclid(HOUR_NS) {
            hours.entry(hour).or_default();
        }
    }
    let grid = reconciler.grid;
    let mut ranges = VecDeque::new();
    for (hour, tables) in hours {
        // Rows may have arrived since then.
        let is_recent = hour >= now.div_euclid(HOUR_NS) - 1;
        let tables: Vec<Table> =
            Table::ALL.into_iter().filter(|table| is_recent || tables.contains(table.name)).collect();
        let range = WindowRange { from: hour * HOUR_NS, to: (hour + 1) * HOUR_NS };
        let closed = grid.within(range).filter(|&window| grid.range(window).to <= now);
        for part in grid.join(closed, limits::WINDOWS_A_SPAN) {
            ranges.push_front((part, tables.clone()));
        }
    }
    Ok(ranges)
}
