//! Comparison of hot with the edges' audits as they are now, read-only: the rows are counted and digested again, whatever the stored
//! verdicts say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use anyhow::Context as _;
use marketprism_schema::Table;

use super::inputs::RowsToRead;
use super::queries::WindowKey;
use super::reconciler::{Reconciler, ranges};
use super::verdict::{VerdictState, WindowVerdict};
use crate::context::CentralContext;
use crate::ledger::windows::{DirtyWindows, WindowRange};

/// Evaluation of a period, range by range.
pub struct AuditComparison {
    reconciler: Reconciler,
    left: VecDeque<(WindowRange, Vec<Table>)>,
}

/// A window whose stored verdict is not what was found now.
#[derive(Debug, Clone)]
pub struct ChangedWindow {
    pub key: WindowKey,
    pub verdict: WindowVerdict,
    pub before: Option<VerdictState>,
}

/// Windows of a range, and those whose verdict changed.
#[derive(Debug)]
pub struct ComparedRange {
    pub states: BTreeMap<WindowKey, VerdictState>,
    pub changed: Vec<ChangedWindow>,
}

impl AuditComparison {
    /// Reads the ranges of the period that have anything to compare.
    pub async fn begin(shared: Arc<CentralContext>, period: WindowRange) -> anyhow::Result<Self> {
        let mut reconciler = Reconciler::new(shared, Arc::new(DirtyWindows::default()));
        let grid = reconciler.grid;
        let aligned = |ns: i64| grid.of(ns.saturating_add(grid.length_ns() - 1));
        let period = WindowRange { from: aligned(period.from), to: aligned(period.to) };
        let within = |(range, tables): (WindowRange, Vec<Table>)| {
            let range = WindowRange { from: range.from.max(period.from), to: range.to.min(period.to) };
            (range.from < range.to).then_some((range, tables))
        };
        let left = ranges(&mut reconciler).await?.into_iter().filter_map(within).collect();
        Ok(Self { reconciler, left })
    }

    pub fn ranges_left(&self) -> usize {
        self.left.len()
    }

    pub fn window_seconds(&self) -> u16 {
        self.reconciler.grid.seconds()
    }

    /// Evaluates the next range; `None` at the end.
    pub async fn next(&mut self) -> anyhow::Result<Option<ComparedRange>> {
        let Some((range, tables)) = self.left.pop_front() else { return Ok(None) };
        let evaluated = self.reconciler.evaluate_now(range, RowsToRead::All(&tables)).await;
        let evaluated = evaluated.context("cannot compare hot with the audits")?;
        let changed = evaluated.changes.into_iter().map(|change| ChangedWindow {
            key: change.key,
            verdict: change.verdict,
            before: change.before.map(|before| before.state),
        });
        Ok(Some(ComparedRange { states: evaluated.states, changed: changed.collect() }))
    }
}
