//! What changed is written down and told.

use std::collections::BTreeSet;

use anyhow::Context as _;
use xxhash_rust::xxh3::xxh3_64;

use super::evidence::Evidence;
use super::facts::Key;
use super::troubles::Troubles;
use super::verdict::{VERDICTS, Verdict};
use crate::context::CentralContext;
use crate::ledger::state::State;
use crate::ledger::store::insert;
use crate::ledger::windows::{Span, Windows};
use crate::{clock, limits};

/// Name of the table.
const TABLE: &str = "verdicts";
/// Lines of the log that one writing may cause; the rest is summed up.
const LINES: usize = 10;
/// Between a reason and what explains it.
const EXPLAINED_BY: &str = "; ";

/// A verdict that is not what stands.
pub struct Change {
    /// Window and source.
    pub key: Key,
    /// The new verdict.
    pub verdict: Verdict,
    /// The missing event, where it is a single one.
    pub event: Option<u128>,
    /// What stands.
    pub before: Option<Verdict>,
}

/// Whether a verdict says what stands already, explanations apart.
pub fn says_the_same(standing: &Verdict, verdict: &Verdict) -> bool {
    let unexplained =
        Verdict { reason: verdict.reason.clone(), causes: verdict.causes.clone(), ..standing.clone() };
    let explained = |reason: &str| reason.starts_with(EXPLAINED_BY);
    let same_reason = standing.reason == verdict.reason
        || is_explained(verdict.state)
            && standing.reason.strip_prefix(verdict.reason.as_str()).is_some_and(explained);
    let same_causes = verdict.state == State::Mismatch || standing.causes == verdict.causes;
    same_reason && same_causes && unexplained == *verdict
}

/// Whether verdicts of a state get explanations.
const fn is_explained(state: State) -> bool {
    matches!(state, State::Mismatch | State::Unverifiable)
}

/// Explains verdicts, writes them, and tells what somebody should know.
pub async fn settle(
    shared: &CentralContext,
    windows: Windows,
    span: Span,
    mut changes: Vec<Change>,
) -> anyhow::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    explain(shared, windows, span, &mut changes).await?;
    let judged_ms = clock::now_ns() / 1_000_000;
    for some in changes.chunks(limits::VERDICTS_AN_INSERT) {
        let mut rows = Vec::new();
        for Change { key: (window, source), verdict, .. } in some {
            verdict.encode((*window, source), windows.seconds(), judged_ms, &mut rows);
        }
        let token = format!("{TABLE}:{:016x}", xxh3_64(&rows));
        insert(&shared.storage, TABLE, VERDICTS, rows.into(), &token).await.context("writing verdicts")?;
    }
    tell(shared, &changes);
    Ok(())
}

async fn explain(
    shared: &CentralContext,
    windows: Windows,
    span: Span,
    changes: &mut [Change],
) -> anyhow::Result<()> {
    let is_short = |change: &Change| change.verdict.state == State::Mismatch;
    if !changes.iter().any(|change| is_explained(change.verdict.state)) {
        return Ok(());
    }
    let feeds = Troubles::read(&shared.storage, windows, span).await.context("reading feeds")?;
    let subjects: BTreeSet<String> =
        changes.iter().filter(|change| is_short(change)).map(|change| change.key.1.subject()).collect();
    let evidence = if subjects.is_empty() {
        Evidence::default()
    } else {
        Evidence::read(&shared.storage, span, &subjects).await.context("reading evidence")?
    };
    for change in changes.iter_mut().filter(|change| is_explained(change.verdict.state)) {
        let (window, source) = &change.key;
        let (mut words, mut causes) = (Vec::new(), Vec::new());
        if is_short(change) {
            (words, causes) = evidence.explain(source, windows.span(*window), change.event);
        }
        words.extend(feeds.of(*window, source));
        for word in words {
            change.verdict.reason.push_str(EXPLAINED_BY);
            change.verdict.reason.push_str(&word);
        }
        let all: BTreeSet<String> = change.verdict.causes.drain(..).chain(causes).collect();
        change.verdict.causes = all.into_iter().collect();
    }
    Ok(())
}

/// A mismatch is told once, when the window turns into it.
fn tell(shared: &CentralContext, changes: &[Change]) {
    let turned = |state: State| {
        let was = move |change: &&Change| change.before.as_ref().is_none_or(|before| before.state != state);
        changes.iter().filter(move |change| change.verdict.state == state).filter(was)
    };
    let mismatches: Vec<&Change> = turned(State::Mismatch).collect();
    shared.metrics.ledger.mismatches.inc_by(u64::try_from(mismatches.len()).unwrap_or(u64::MAX));
    for change in mismatches.iter().take(LINES) {
        let (window, source) = &change.key;
        let (window_start, reason) = (window / 1_000_000_000, change.verdict.reason.as_str());
        if change.verdict.lost() > 0 {
            tracing::error!(window_start, %source, reason, "rows are missing in hot");
        } else {
            tracing::warn!(window_start, %source, reason, "hot holds other rows than the edge stored");
        }
    }
    if mismatches.len() > LINES {
        tracing::error!(more = mismatches.len() - LINES, "further windows turned into mismatches");
    }
    let mut unverifiable = turned(State::Unverifiable);
    if let Some(first) = unverifiable.next() {
        let (source, reason) = (&first.key.1, first.verdict.reason.as_str());
        let windows = 1 + unverifiable.count();
        tracing::warn!(windows, %source, reason, "windows cannot be verified; the first one is named");
    }
    let mended =
        |change: &&Change| change.before.as_ref().is_some_and(|before| before.state == State::Mismatch);
    let mended = changes.iter().filter(|c| c.verdict.state == State::Verified).filter(mended).count();
    if mended > 0 {
        tracing::info!(windows = mended, "windows that were mismatches are verified now");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an explanation that was added is no change, another number or state is.
    #[test]
    fn explanations_are_no_change() {
        let verdict = Verdict {
            state: State::Mismatch,
            reason: "1 missing".into(),
            expected: 2,
            found: 1,
            duplicates: 0,
            conflated: 0,
            gaps: 0,
            missing: 0,
            causes: vec![],
        };
        let reason = format!("1 missing{EXPLAINED_BY}it is in dead_letters");
        let standing = Verdict { reason, causes: vec!["ours".into()], ..verdict.clone() };
        assert!(says_the_same(&standing, &verdict) && says_the_same(&verdict, &verdict));
        let unverifiable = |verdict: &Verdict| Verdict { state: State::Unverifiable, ..verdict.clone() };
        let explained = Verdict { causes: vec![], ..unverifiable(&standing) };
        assert!(says_the_same(&explained, &unverifiable(&verdict)));
        assert!(!says_the_same(&unverifiable(&standing), &unverifiable(&verdict)));
        assert!(!says_the_same(&standing, &Verdict { found: 0, ..verdict.clone() }));
        assert!(!says_the_same(&standing, &Verdict { state: State::Verified, ..verdict.clone() }));
        assert!(!says_the_same(&standing, &Verdict { reason: "1 missi".into(), ..verdict }));
    }
}
