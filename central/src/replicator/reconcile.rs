//! Reconciliation of copied windows with their log.

use futures_util::future::try_join3;

use super::evaluate::{Reference, WindowCondition, WindowFacts, evaluate};
use super::queries::CopyError;
use super::window::{Digests, TimeRange, WindowDigest};
use super::window_log::{LoggedWindow, WindowState};
use super::window_ops::{WindowOps, all_starts};

#[derive(Debug, Clone)]
pub struct EvaluatedWindow {
    pub start_ms: i64,
    pub facts: WindowFacts,
    pub condition: WindowCondition,
    pub logged: Option<LoggedWindow>,
}

/// Result of a comparison row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowComparison {
    /// Hot has rows that cold lacks, and nothing else differs.
    LateRows(usize),
    /// Hot lacks rows that may have expired there, and nothing else differs.
    HotExpired,
    /// The reason.
    Modified(String),
}

impl WindowOps<'_> {
    /// Compares hot, cold and the log. Returns the windows that need an action.
    pub async fn examine(&self, span: TimeRange) -> Result<Vec<EvaluatedWindow>, CopyError> {
        let mut windows = self.evaluate_windows(span).await?;
        windows.retain(EvaluatedWindow::needs_something);
        Ok(windows)
    }

    /// As [`Self::examine`], if content changes only together with ids. Windows that differ by their ids are compared by content too.
    pub async fn examine_by_ids(&self, span: TimeRange) -> Result<Vec<EvaluatedWindow>, CopyError> {
        let (table, width_ms) = (self.table, self.width_ms);
        let (log, hot, cold) = try_join3(
            self.logged(span),
            self.pair.hot.id_digests(table, span, width_ms),
            self.pair.cold.id_digests(table, span, width_ms),
        )
        .await?;
        let mut differing = Vec::new();
        for start_ms in all_starts(&log, &hot, &cold) {
            let of = |digests: &Digests| digests.get(&start_ms).copied().unwrap_or_default();
            if !self.is_as_logged(log.get(&start_ms), &of(&hot), &of(&cold)) {
                differing.extend(self.examine(TimeRange::window(start_ms, width_ms)).await?);
            }
        }
        Ok(differing)
    }

    /// By ids. What hot lacks may have expired or been removed.
    fn is_as_logged(&self, logged: Option<&LoggedWindow>, hot: &WindowDigest, cold: &WindowDigest) -> bool {
        logged.is_some_and(|logged| {
            let is_gone = hot.rows == 0 && !self.is_hot_whole(logged.start_ms, Some(logged), hot);
            logged.state == WindowState::Verified
                && logged.columns_hash == self.table.columns_hash
                && cold.has_same_ids(&logged.reference)
                && (is_gone || hot.has_same_ids(&logged.reference))
        })
    }

    /// Compares hot, cold and the log in every window of a range that one of them holds.
    pub async fn evaluate_windows(&self, span: TimeRange) -> Result<Vec<EvaluatedWindow>, CopyError> {
        let (log, hot, cold) =
            try_join3(self.logged(span), self.hot_digests(span), self.cold_digests(span, false)).await?;
        let evaluated = all_starts(&log, &hot, &cold).into_iter().map(|start_ms| {
            let logged = log.get(&start_ms).cloned();
            let hot = hot.get(&start_ms).copied().unwrap_or_default();
            let cold = cold.get(&start_ms).copied().unwrap_or_default();
            let reference = logged.as_ref().map(|logged| Reference {
                state: logged.reference,
                has_same_columns: logged.columns_hash == self.table.columns_hash,
                is_open: logged.state == WindowState::Open || logged.was_never_verified(),
            });
            let facts = WindowFacts {
                log: reference,
                hot,
                cold,
                is_hot_whole: self.is_hot_whole(start_ms, logged.as_ref(), &hot),
                is_cold_whole: self.is_cold_whole(logged.as_ref()),
            };
            EvaluatedWindow { start_ms, condition: evaluate(&facts), facts, logged }
        });
        Ok(evaluated.collect())
    }

    /// Logs a difference, or copies the window again. Returns true if the window is sound now.
    pub async fn reconcile(&self, examined: &EvaluatedWindow) -> Result<bool, CopyError> {
        let EvaluatedWindow { start_ms, facts, condition, logged } = examined;
        match condition {
            WindowCondition::Sound => self.refresh_log(examined).await.map(|()| true),
            WindowCondition::New => self.copy_again(*start_ms, None).await,
            WindowCondition::CompareRows => match self.compare_rows(examined).await? {
                RowComparison::LateRows(rows) => {
                    self.copy_again(*start_ms, logged.as_ref().map(|l| (l, rows))).await
                }
                RowComparison::HotExpired => {
                    if facts.log.is_some_and(|log| log.is_open) {
                        self.write(&[self.verified(*start_ms, &facts.cold, logged.as_ref(), 1)]).await?;
                    }
                    Ok(true)
                }
                RowComparison::Modified(reason) => self.log_mismatch(examined, reason).await,
            },
            _ => self.log_mismatch(examined, self.modification(examined).await?).await,
        }
    }

    /// Modified side of a window that the digests alone decide, as text.
    pub async fn modification(&self, examined: &EvaluatedWindow) -> Result<String, CopyError> {
        let EvaluatedWindow { facts: WindowFacts { cold, .. }, condition, logged, .. } = examined;
        Ok(match condition {
            WindowCondition::ColdModified => {
                format!("cold was modified, hot is as verified; {}", self.describe(examined).await?)
            }
            WindowCondition::ColdModifiedHotGone => format!(
                "cold was modified: {} rows now, {} verified; hot no longer holds the window",
                cold.rows,
                logged.as_ref().map_or(0, |logged| logged.reference.rows)
            ),
            WindowCondition::BothModifiedAlike => {
                "hot and cold are equal but differ from the verified state: both were modified".to_owned()
            }
            WindowCondition::NeverCopied => {
                format!("cold holds {} rows of a window that was never copied; hot holds none", cold.rows)
            }
            _ => format!(
                "hot, cold and the verified state all differ; cannot decide which side is right; {}",
                self.describe(examined).await?
            ),
        })
    }

    /// Hot differs from the log, or the window is open: compares row by row.
    pub async fn compare_rows(&self, examined: &EvaluatedWindow) -> Result<RowComparison, CopyError> {
        let EvaluatedWindow { start_ms, facts, .. } = examined;
        let WindowFacts { hot, cold, is_hot_whole, log, .. } = facts;
        let Some(diff) = self.diff(*start_ms, hot, cold).await? else {
            return Ok(RowComparison::Modified(format!(
                "hot differs from the verified state: {} rows in hot, {} in cold",
                hot.rows, cold.rows
            )));
        };
        let late_only = diff.is_cold_within_hot() || (!is_hot_whole && diff.differing.is_empty());
        if late_only && (*is_hot_whole || !diff.only_hot.is_empty()) {
            return Ok(RowComparison::LateRows(diff.only_hot.len()));
        }
        if !is_hot_whole && diff.is_hot_within_cold() {
            return Ok(RowComparison::HotExpired);
        }
        let is_cold_as_logged = log.is_some_and(|log| cold.is_same(&log.state));
        Ok(RowComparison::Modified(if is_cold_as_logged {
            format!("hot was modified, cold is as verified; {diff}")
        } else {
            format!("hot, cold and the verified state all differ; cannot decide which side is right; {diff}")
        }))
    }

    /// Copies a window again. It is logged as open first, so that the next lease holder does not take a partial copy for a modification.
    pub async fn copy_again(
        &self,
        start_ms: i64,
        earlier: Option<(&LoggedWindow, usize)>,
    ) -> Result<bool, CopyError> {
        if let Some((logged, late)) = earlier {
            let open = LoggedWindow {
                state: WindowState::Open,
                reason: logged.reason_after(&format!("{late} late rows")),
                ..logged.clone()
            };
            self.write(&[open]).await?;
        }
        let logged = self.replicate(TimeRange::window(start_ms, self.width_ms)).await?;
        Ok(logged.iter().all(|window| window.state == WindowState::Verified))
    }

    /// Logs a sound window whose log entry is outdated in state or columns.
    async fn refresh_log(&self, examined: &EvaluatedWindow) -> Result<(), CopyError> {
        let EvaluatedWindow { start_ms, facts, logged, .. } = examined;
        let Some(logged) = logged else { return Ok(()) };
        let state = if facts.is_hot_whole { facts.hot } else { facts.cold };
        let mut entry = self.verified(*start_ms, &state, Some(logged), 0);
        entry.reference.oldest_us = entry.reference.oldest_us.min(logged.reference.oldest_us);
        self.write(&[entry]).await
    }

    async fn describe(&self, examined: &EvaluatedWindow) -> Result<String, CopyError> {
        let WindowFacts { hot, cold, .. } = &examined.facts;
        let diff = self.diff(examined.start_ms, hot, cold).await?;
        Ok(diff.map_or_else(|| format!("{} rows in hot, {} in cold", hot.rows, cold.rows), |d| d.to_string()))
    }

    /// Logs a mismatch unless the log says so already. Returns false: the window is not sound.
    async fn log_mismatch(&self, examined: &EvaluatedWindow, reason: String) -> Result<bool, CopyError> {
        let EvaluatedWindow { start_ms, facts: WindowFacts { hot, cold, .. }, logged, .. } = examined;
        let entry = self.unsound(*start_ms, WindowState::Mismatch, reason, hot, cold, logged.as_ref());
        let same = |logged: &LoggedWindow| {
            (logged.state, &logged.reason, logged.cold_rows) == (entry.state, &entry.reason, entry.cold_rows)
        };
        if !logged.as_ref().is_some_and(same) {
            self.write(&[entry]).await?;
        }
        Ok(false)
    }
}

impl EvaluatedWindow {
    fn needs_something(&self) -> bool {
        let is_settled = self.logged.as_ref().is_none_or(|logged| logged.state == WindowState::Verified);
        let has_same_columns = self.facts.log.is_none_or(|log| log.has_same_columns);
        let is_being_corrected = self.logged.as_ref().is_some_and(LoggedWindow::is_being_corrected);
        !is_being_corrected && (self.condition != WindowCondition::Sound || !is_settled || !has_same_columns)
    }
}
