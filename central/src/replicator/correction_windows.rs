//! Windows of corrections: compared and logged as open before their rows are exchanged, and judged after it by the correction that opened them.

use std::collections::{BTreeMap, BTreeSet};

use super::correction_plan::PagePlan;
use super::evaluate::WindowCondition;
use super::queries::CopyError;
use super::window::TimeRange;
use super::window_log::{LoggedWindow, WindowState};
use super::window_ops::{WindowOps, is_verified};

impl WindowOps<'_> {
    /// Compares the windows first, so that a correction hides no earlier difference, then logs them as open.
    pub async fn open_windows(&self, name: &str, plan: &PagePlan) -> Result<(), CopyError> {
        for span in self.runs(&plan.windows) {
            for examined in self.examine(span).await? {
                let is_put_back = plan.behind_in_cold.contains(&examined.start_ms)
                    && examined.condition == WindowCondition::CompareRows;
                if !is_put_back {
                    self.reconcile(&examined).await?;
                }
            }
            let logged = self.logged(span).await?;
            let open = logged.into_values().filter(|window| {
                plan.windows.contains(&window.start_ms) && window.state == WindowState::Verified
            });
            let open = open.map(|window| LoggedWindow {
                state: WindowState::Open,
                reason: window.reason_after(&LoggedWindow::correcting(name)),
                ..window
            });
            self.check_lease()?;
            self.write(&open.collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// Compares the windows and logs them with the name of the correction. A difference from before stays one; a window that another
    /// correction opened is judged by that one.
    pub async fn close_windows(&self, name: &str, windows: &BTreeSet<i64>) -> Result<(), CopyError> {
        let reason = format!("changed by correction {name}");
        for span in self.runs(windows) {
            let logged = self.logged(span).await?;
            let hot = self.hot_digests(span).await?;
            let cold = self.cold_digests(span, true).await?;
            let mut entries = Vec::new();
            for (start_ms, window) in &logged {
                let by_another = window.correction().is_some_and(|opened| opened != name);
                if !windows.contains(start_ms) || window.state == WindowState::Verified || by_another {
                    continue;
                }
                let hot = hot.get(start_ms).copied().unwrap_or_default();
                let cold = cold.get(start_ms).copied().unwrap_or_default();
                if !window.is_being_corrected() {
                    if !window.reason.contains(&reason) {
                        let reason = format!("{}; {reason}", window.reason);
                        entries.push(LoggedWindow { reason, cold_rows: cold.rows, ..window.clone() });
                    }
                    continue;
                }
                let is_hot_whole = self.is_hot_whole(*start_ms, Some(window), &hot);
                let diff =
                    if is_verified(&hot, &cold) { None } else { self.diff(*start_ms, &hot, &cold).await? };
                let holds = is_verified(&hot, &cold)
                    || !is_hot_whole
                        && cold.distinct == cold.rows
                        && diff.as_ref().is_some_and(|diff| diff.is_hot_within_cold());
                if holds {
                    let mut entry = self.verified(*start_ms, &cold, Some(window), 1);
                    entry.reason = window.reason_after(&reason);
                    entry.reference.oldest_us = entry.reference.oldest_us.min(window.reference.oldest_us);
                    entries.push(entry);
                } else if diff.as_ref().is_some_and(|diff| diff.is_cold_within_hot()) {
                    // Rows came late: the window is copied again like any other.
                    let open = self.verified(*start_ms, &cold, Some(window), 1);
                    let reason = window.reason_after(&format!("late rows; {reason}"));
                    entries.push(LoggedWindow { state: WindowState::Open, reason, ..open });
                } else {
                    let diff = diff.map_or_else(String::new, |diff| format!("; {diff}"));
                    let text = format!("{reason}: hot and cold differ{diff}");
                    entries.push(self.unsound(
                        *start_ms,
                        WindowState::Mismatch,
                        text,
                        &hot,
                        &cold,
                        Some(window),
                    ));
                }
            }
            self.check_lease()?;
            self.write(&entries).await?;
        }
        Ok(())
    }

    /// Judges the windows of corrections that do not go on: their events, or they themselves, are gone from hot, which was put back to an
    /// earlier state or has let them expire. `going_on`: names of those that do.
    pub async fn close_abandoned(&self, going_on: &BTreeSet<String>) -> Result<(), CopyError> {
        let mut abandoned: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        for (start_ms, window) in self.log.being_corrected(&self.pair.cold).await? {
            if let Some(name) = window.correction().filter(|name| !going_on.contains(*name)) {
                abandoned.entry(name.to_owned()).or_default().insert(start_ms);
            }
        }
        for (correction, windows) in abandoned {
            let (table, count) = (self.table.name, windows.len());
            tracing::warn!(
                table,
                correction,
                windows = count,
                "a correction does not go on; its windows are judged without it"
            );
            self.close_windows(&correction, &windows).await?;
        }
        Ok(())
    }

    /// Neighbouring windows together.
    fn runs(&self, windows: &BTreeSet<i64>) -> Vec<TimeRange> {
        let mut runs: Vec<TimeRange> = Vec::new();
        for start_ms in windows {
            let window = TimeRange::window(*start_ms, self.width_ms);
            match runs.last_mut() {
                Some(last) if last.to_ms == window.from_ms => last.to_ms = window.to_ms,
                _ => runs.push(window),
            }
        }
        runs
    }
}
