//! Explains changed verdicts, writes them and logs what needs attention.

use std::collections::BTreeSet;

use anyhow::Context as _;
use xxhash_rust::xxh3::xxh3_64;

use super::evidence::Evidence;
use super::feed_problems::FeedProblems;
use super::queries::WindowKey;
use super::verdict::{VERDICT_COLUMNS, WindowVerdict};
use crate::context::CentralContext;
use crate::ledger::insert::insert;
use crate::ledger::verdict_state::VerdictState;
use crate::ledger::windows::{WindowGrid, WindowRange};
use crate::{clock, limits};

const TABLE: &str = "verdicts";
/// Most mismatches logged one by one; the rest is counted.
const LINES: usize = 10;
/// Separates a reason from its explanations.
const EXPLAINED_BY: &str = "; ";

pub struct VerdictChange {
    pub key: WindowKey,
    pub verdict: WindowVerdict,
    /// The missing event, where it is a single one.
    pub event: Option<u128>,
    /// The verdict stored so far.
    pub before: Option<WindowVerdict>,
}

/// Equal, explanations apart.
pub fn says_the_same(stored: &WindowVerdict, verdict: &WindowVerdict) -> bool {
    let unexplained =
        WindowVerdict { reason: verdict.reason.clone(), causes: verdict.causes.clone(), ..stored.clone() };
    let explained = |reason: &str| reason.starts_with(EXPLAINED_BY);
    let same_reason = stored.reason == verdict.reason
        || is_explained(verdict.state)
            && stored.reason.strip_prefix(verdict.reason.as_str()).is_some_and(explained);
    let same_causes = verdict.state == VerdictState::Mismatch || stored.causes == verdict.causes;
    same_reason && same_causes && unexplained == *verdict
}

const fn is_explained(state: VerdictState) -> bool {
    matches!(state, VerdictState::Mismatch | VerdictState::Unverifiable)
}

pub async fn write(
    shared: &CentralContext,
    grid: WindowGrid,
    range: WindowRange,
    mut changes: Vec<VerdictChange>,
) -> anyhow::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    explain(shared, grid, range, &mut changes).await?;
    let judged_ms = clock::now_ns() / 1_000_000;
    for some in changes.chunks(limits::VERDICTS_AN_INSERT) {
        let mut rows = Vec::new();
        for VerdictChange { key: (window, edge_stream), verdict, .. } in some {
            verdict.encode((*window, edge_stream), grid.seconds(), judged_ms, &mut rows);
        }
        let token = format!("{TABLE}:{:016x}", xxh3_64(&rows));
        insert(&shared.storage, TABLE, VERDICT_COLUMNS, rows.into(), &token)
            .await
            .context("cannot write verdicts")?;
    }
    log(shared, &changes);
    Ok(())
}

async fn explain(
    shared: &CentralContext,
    grid: WindowGrid,
    range: WindowRange,
    changes: &mut [VerdictChange],
) -> anyhow::Result<()> {
    let is_short = |change: &VerdictChange| change.verdict.state == VerdictState::Mismatch;
    if !changes.iter().any(|change| is_explained(change.verdict.state)) {
        return Ok(());
    }
    let feeds = FeedProblems::read(&shared.storage, grid, range).await.context("cannot read feed audits")?;
    let streams: BTreeSet<_> =
        changes.iter().filter(|change| is_short(change)).map(|change| &change.key.1.stream).collect();
    let evidence = if streams.is_empty() {
        Evidence::default()
    } else {
        Evidence::read(&shared.storage, range, &streams)
            .await
            .context("cannot read dead letters and losses")?
    };
    for change in changes.iter_mut().filter(|change| is_explained(change.verdict.state)) {
        let (window, edge_stream) = &change.key;
        let (mut explanations, mut causes) = (Vec::new(), Vec::new());
        if is_short(change) {
            (explanations, causes) = evidence.explain(&edge_stream.stream, grid.range(*window), change.event);
        }
        explanations.extend(feeds.explain(*window, edge_stream));
        for explanation in explanations {
            change.verdict.reason.push_str(EXPLAINED_BY);
            change.verdict.reason.push_str(&explanation);
        }
        let all: BTreeSet<String> = change.verdict.causes.drain(..).chain(causes).collect();
        change.verdict.causes = all.into_iter().collect();
    }
    Ok(())
}

/// Once per change of state.
fn log(shared: &CentralContext, changes: &[VerdictChange]) {
    let turned = |state: VerdictState| {
        let was =
            move |change: &&VerdictChange| change.before.as_ref().is_none_or(|before| before.state != state);
        changes.iter().filter(move |change| change.verdict.state == state).filter(was)
    };
    let mismatches: Vec<&VerdictChange> = turned(VerdictState::Mismatch).collect();
    shared.metrics.ledger.mismatches.inc_by(u64::try_from(mismatches.len()).unwrap_or(u64::MAX));
    for change in mismatches.iter().take(LINES) {
        let (window, edge_stream) = &change.key;
        let (window_start, reason) = (window / 1_000_000_000, change.verdict.reason.as_str());
        if change.verdict.lost() > 0 {
            tracing::error!(window_start, stream = %edge_stream, reason, "mismatch: rows are missing in hot");
        } else {
            tracing::warn!(window_start, stream = %edge_stream, reason, "mismatch: hot has other rows than the edge published");
        }
    }
    if mismatches.len() > LINES {
        tracing::error!(more = mismatches.len() - LINES, "further mismatches");
    }
    let mut unverifiable = turned(VerdictState::Unverifiable);
    if let Some(first) = unverifiable.next() {
        let (edge_stream, reason) = (&first.key.1, first.verdict.reason.as_str());
        let windows = 1 + unverifiable.count();
        tracing::warn!(windows, stream = %edge_stream, reason, "windows cannot be verified; stream and reason are of the first");
    }
    let is_resolved = |change: &&VerdictChange| {
        change.before.as_ref().is_some_and(|before| before.state == VerdictState::Mismatch)
    };
    let resolved =
        changes.iter().filter(|c| c.verdict.state == VerdictState::Verified).filter(is_resolved).count();
    if resolved > 0 {
        tracing::info!(windows = resolved, "mismatches are resolved: windows are verified now");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_that_differs_in_explanations_only_is_unchanged() {
        let verdict = WindowVerdict {
            state: VerdictState::Mismatch,
            reason: "1 missing".into(),
            expected: 2,
            found: 1,
            duplicates: 0,
            conflated: 0,
            gaps: 0,
            missing: 0,
            causes: vec![],
        };
        let reason = format!("1 missing{EXPLAINED_BY}the event is in dead_letters");
        let stored = WindowVerdict { reason, causes: vec!["ours".into()], ..verdict.clone() };
        assert!(says_the_same(&stored, &verdict) && says_the_same(&verdict, &verdict));
        let unverifiable =
            |verdict: &WindowVerdict| WindowVerdict { state: VerdictState::Unverifiable, ..verdict.clone() };
        let explained = WindowVerdict { causes: vec![], ..unverifiable(&stored) };
        assert!(says_the_same(&explained, &unverifiable(&verdict)));
        assert!(!says_the_same(&unverifiable(&stored), &unverifiable(&verdict)));
        assert!(!says_the_same(&stored, &WindowVerdict { found: 0, ..verdict.clone() }));
        assert!(!says_the_same(&stored, &WindowVerdict { state: VerdictState::Verified, ..verdict.clone() }));
        assert!(!says_the_same(&stored, &WindowVerdict { reason: "1 missi".into(), ..verdict }));
    }
}
