//! Hot compared with the edges' audits.

use std::sync::Arc;

use super::meter::ProgressMeter;
use crate::context::CentralContext;
use crate::ledger::{AuditComparison, ChangedWindow, VerdictState, WindowRange};
use crate::report::document::{VerifiedAudits, WindowCounts, WorstWindow};
use crate::report::inputs::WORST_MAX;
use crate::report::{ReportScope, Time};

pub async fn compare(
    shared: Arc<CentralContext>,
    scope: &ReportScope,
    rows: u64,
    meter: &mut ProgressMeter<'_>,
) -> anyhow::Result<(VerifiedAudits, Vec<WorstWindow>)> {
    let nanos = |time: Time| time.0.saturating_mul(1_000_000);
    let period = WindowRange { from: nanos(scope.from), to: nanos(scope.to) };
    meter.begin("hot against audits");
    let mut comparison = AuditComparison::begin(shared, period).await?;
    let rows_a_range = rows / u64::try_from(comparison.ranges_left()).unwrap_or(1).max(1);
    let seconds = u64::from(comparison.window_seconds());
    let wanted = scope.table.and_then(|_| scope.tables().next()).map(|table| table.data_type);
    let (mut found, mut worst) = (VerifiedAudits::default(), Vec::new());
    while let Some(range) = comparison.next().await? {
        let of_scope = |data_type| wanted.is_none_or(|wanted| wanted == data_type);
        let states = range.states.iter().filter(|((_, source), _)| of_scope(source.stream.data_type));
        for (_, state) in states {
            count(&mut found.windows, *state);
        }
        for window in range.changed.iter().filter(|window| of_scope(window.key.1.stream.data_type)) {
            judge(window, seconds, &mut found, &mut worst);
        }
        meter.add(rows_a_range);
    }
    Ok((found, worst))
}

fn count(windows: &mut WindowCounts, state: VerdictState) {
    match state {
        VerdictState::Verified => windows.verified += 1,
        VerdictState::Mismatch => windows.mismatch += 1,
        VerdictState::Open => windows.open += 1,
        VerdictState::Unverifiable => windows.unverifiable += 1,
        VerdictState::NotCollected => windows.not_collected += 1,
    }
}

/// A window that the ledger has not evaluated yet is none of its errors: only a difference counts there.
fn judge(window: &ChangedWindow, seconds: u64, found: &mut VerifiedAudits, worst: &mut Vec<WorstWindow>) {
    let ChangedWindow { key: (start_ns, source), verdict, before } = window;
    let was_sound = before.is_none_or(|state| matches!(state, VerdictState::Verified | VerdictState::Open));
    match verdict.state {
        VerdictState::Verified => {
            found.newly_verified += u64::from(before.is_some_and(|state| state != VerdictState::Verified));
            return;
        }
        VerdictState::Mismatch if *before != Some(VerdictState::Mismatch) => found.newly_mismatched += 1,
        VerdictState::Unverifiable if was_sound => {}
        VerdictState::Open if *before == Some(VerdictState::Verified) => {}
        _ => return,
    }
    found.newly_unsound += 1;
    if worst.len() < WORST_MAX {
        worst.push(WorstWindow {
            kind: "ledger".to_owned(),
            of: source.stream.to_string(),
            edge: source.edge.clone(),
            window_start: Time(start_ns / 1_000_000),
            window_seconds: seconds,
            state: verdict.state.as_str().to_owned(),
            reason: verdict.reason.clone(),
            expected: verdict.expected,
            found: verdict.found,
        });
    }
}
