//! Explains changed verdicts, writes them, logs what needs attention, and keeps the gauges of verdicts by state.
//!
//! Explanations come from dead letters, messages discarded before ingest, and problems of whole feeds.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use marketprism_schema::{StreamId, stream_of};

use super::queries::{self, DeadLetterRow, FeedProblemRow, LossRow, WindowKey};
use super::verdict::{VERDICT_COLUMNS, VerdictState, WindowVerdict};
use crate::context::CentralContext;
use crate::ledger::insert::insert;
use crate::ledger::windows::{EdgeStream, WindowGrid, WindowRange};
use crate::row::TableRows;
use crate::storage::{Storage, StorageError};
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
        let mut rows = TableRows::new(VERDICT_COLUMNS);
        for VerdictChange { key: (window, edge_stream), verdict, .. } in some {
            verdict.encode((*window, edge_stream), grid.seconds(), judged_ms, &mut rows);
        }
        insert(&shared.storage, TABLE, &rows).await.context("cannot write verdicts")?;
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
        shared.metrics.ledger.unverifiable.inc_by(u64::try_from(windows).unwrap_or(u64::MAX));
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

const DAY_NS: i64 = 86_400_000_000_000;
/// About as often as windows end.
const EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct VerdictGauges {
    last_set: Option<Instant>,
}

impl VerdictGauges {
    /// Does nothing within [`EVERY`] after the last time.
    pub async fn set(&mut self, shared: &CentralContext) -> Result<(), StorageError> {
        if self.last_set.is_some_and(|last| last.elapsed() < EVERY) {
            return Ok(());
        }
        let counts = queries::counts_by_state(&shared.storage, clock::now_ns() - DAY_NS).await?;
        for state in VerdictState::ALL.map(VerdictState::as_str) {
            let windows = counts.get(state).copied().unwrap_or_default();
            let gauge = shared.metrics.ledger.windows.with_label_values(&[state]);
            gauge.set(i64::try_from(windows).unwrap_or(i64::MAX));
        }
        self.last_set = Some(Instant::now());
        Ok(())
    }
}

/// Longest delay of a dead letter or loss after its window: messages may have waited for ClickHouse or the broker.
const LATEST_NS: i64 = 3_600_000_000_000;
/// Characters of a reason that are quoted.
const QUOTE: usize = 160;

#[derive(Debug, Default)]
pub struct Evidence {
    letters: HashMap<String, Vec<DeadLetterRow>>,
    losses: Vec<LossRow>,
}

impl Evidence {
    pub async fn read(
        storage: &Storage,
        range: WindowRange,
        streams: &BTreeSet<&StreamId>,
    ) -> Result<Self, StorageError> {
        let range = WindowRange { to: range.to.saturating_add(LATEST_NS), ..range };
        let mut letters: HashMap<String, Vec<DeadLetterRow>> = HashMap::new();
        for letter in queries::dead_letters(storage, range, streams.iter().copied()).await? {
            letters.entry(letter.subject.clone()).or_default().push(letter);
        }
        Ok(Self { letters, losses: queries::losses(storage, range).await? })
    }

    /// Explanations and causes of missing rows; `event` is the missing one where it is a single one.
    pub fn explain(
        &self,
        stream: &StreamId,
        window: WindowRange,
        event: Option<u128>,
    ) -> (Vec<String>, Vec<String>) {
        let (mut explanations, mut causes) = (Vec::new(), Vec::new());
        let belongs =
            |at_ms: i64| (window.from..window.to + LATEST_NS).contains(&at_ms.saturating_mul(1_000_000));
        let letters = self.letters.get(&stream.to_string()).map(Vec::as_slice).unwrap_or_default();
        let of_window: Vec<&DeadLetterRow> = letters.iter().filter(|letter| belongs(letter.at_ms)).collect();
        let message_id = event.map(|id| format!("{id:032x}"));
        if let Some(letter) = of_window.iter().find(|letter| Some(&letter.message_id) == message_id.as_ref())
        {
            explanations.push(format!("the event is in dead_letters: {}", shorten(&letter.reason)));
            causes.push("ours".to_owned());
        } else if let Some(letter) = of_window.first() {
            let (count, reason) = (of_window.len(), shorten(&letter.reason));
            explanations
                .push(format!("{count} messages of this stream in dead_letters since then: {reason}"));
        }
        let stream = stream_of(stream.data_type);
        for loss in self.losses.iter().filter(|loss| loss.stream == stream && belongs(loss.at_ms)).take(3) {
            let LossRow { messages, from_seq, to_seq, cause, .. } = loss;
            explanations.push(format!(
                "{messages} messages of {stream} ({from_seq} to {to_seq}) were discarded before ingest: {cause}"
            ));
            causes.push(cause.clone());
        }
        (explanations, causes)
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(QUOTE).collect()
}

/// By window, edge and exchange.
#[derive(Debug, Default)]
pub struct FeedProblems(HashMap<(i64, String, String), FeedProblemRow>);

impl FeedProblems {
    pub async fn read(storage: &Storage, grid: WindowGrid, range: WindowRange) -> Result<Self, StorageError> {
        let mut problems = Self::default();
        for row in queries::feed_problems(storage, range).await? {
            let window = grid.of(row.window_ms.saturating_mul(1_000_000));
            let key = (window, row.edge.clone(), row.exchange.clone());
            problems.0.entry(key).and_modify(|problem| problem.add(&row)).or_insert(row);
        }
        Ok(problems)
    }

    pub fn explain(&self, window: i64, edge_stream: &EdgeStream) -> Option<String> {
        let (edge, exchange) = (&edge_stream.edge, &edge_stream.stream.exchange);
        let problem = self.0.get(&(window, edge.clone(), exchange.clone()))?;
        Some(format!("feed {exchange} of edge {edge}: {}", problem.as_text()))
    }
}

impl FeedProblemRow {
    /// Several runs of an edge in one window add up.
    fn add(&mut self, row: &Self) {
        self.malformed = self.malformed.saturating_add(row.malformed);
        self.reconnects = self.reconnects.saturating_add(row.reconnects);
        self.adapter_faults = self.adapter_faults.saturating_add(row.adapter_faults);
        self.not_running = row.not_running.clone().or(self.not_running.take());
    }

    fn as_text(&self) -> String {
        let stopped = self.not_running.as_ref().map(|reason| format!("not running ({})", shorten(reason)));
        let counted = [
            (self.malformed, "malformed frames"),
            (self.adapter_faults, "adapter faults"),
            (self.reconnects, "reconnects"),
        ];
        let counted = counted.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> =
            stopped.into_iter().chain(counted.map(|(count, what)| format!("{count} {what}"))).collect();
        parts.join(", ")
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
            capability: marketprism_schema::Capability::UNNUMBERED,
            stored_ids: vec![],
            is_early: false,
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

    #[test]
    fn runs_add_up_and_zero_counts_are_left_out() {
        let row = |malformed, not_running: Option<&str>| FeedProblemRow {
            window_ms: 0,
            edge: "e1".into(),
            exchange: "sim".into(),
            malformed,
            reconnects: 0,
            adapter_faults: 1,
            not_running: not_running.map(str::to_owned),
        };
        let mut problem = row(2, Some("refused"));
        problem.add(&row(3, None));
        assert_eq!(problem.as_text(), "not running (refused), 5 malformed frames, 2 adapter faults");
    }
}
