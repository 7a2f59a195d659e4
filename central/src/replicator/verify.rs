//! Comparison of hot and cold as they are now, read-only: rows are counted and digested on both sides, whatever the log says.

use super::evaluate::WindowCondition;
use super::queries::CopyError;
use super::reconcile::{EvaluatedWindow, RowComparison};
use super::window::TimeRange;
use super::window_log::{LoggedWindow, WindowState};
use super::window_ops::WindowOps;

/// One window as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedWindow {
    pub start_ms: i64,
    pub state: ComparedState,
    /// Reason of any state but `Equal` and `ColdOnly`.
    pub reason: String,
    pub hot_rows: u64,
    pub cold_rows: u64,
    /// Rows that both should have: those verified once, or those of hot.
    pub expected_rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComparedState {
    Equal,
    /// Hot no longer holds the window; cold is as verified.
    ColdOnly,
    /// The window is to be copied, or copied again for late rows.
    Waiting,
    /// Cold refused rows; the replicator retries them.
    Failed,
    Different,
}

impl WindowOps<'_> {
    /// Compares every window of a range that hot, cold or the log holds.
    pub async fn compare_now(&self, span: TimeRange) -> Result<Vec<ComparedWindow>, CopyError> {
        let mut compared = Vec::new();
        for evaluated in self.evaluate_windows(span).await? {
            compared.push(self.compared(&evaluated).await?);
        }
        Ok(compared)
    }

    async fn compared(&self, evaluated: &EvaluatedWindow) -> Result<ComparedWindow, CopyError> {
        let EvaluatedWindow { start_ms, facts, condition, logged } = evaluated;
        let (hot, cold) = (&facts.hot, &facts.cold);
        let expected_rows = logged.as_ref().map_or(hot.rows, |logged| logged.reference.rows);
        // Without a verified state one side has nothing but the other to depart from.
        let has_reference = facts.log.is_some_and(|log| !log.is_open || hot.rows < log.state.rows);
        let is_equal = hot.is_same(cold) && !has_reference;
        let (mut state, mut reason) = match condition {
            _ if logged.as_ref().is_some_and(LoggedWindow::is_being_corrected) => {
                (ComparedState::Waiting, logged.as_ref().map_or_else(String::new, |one| one.reason.clone()))
            }
            _ if is_equal => (ComparedState::Equal, String::new()),
            WindowCondition::Sound if hot.rows == 0 => (ComparedState::ColdOnly, String::new()),
            WindowCondition::Sound => (ComparedState::Equal, String::new()),
            WindowCondition::New | WindowCondition::CompareRows => {
                match self.compare_rows(evaluated).await? {
                    RowComparison::LateRows(0) => {
                        let gone = expected_rows.saturating_sub(hot.rows);
                        (
                            ComparedState::Different,
                            format!("{gone} rows verified once are gone from hot and cold"),
                        )
                    }
                    RowComparison::LateRows(rows) => {
                        (ComparedState::Waiting, format!("{rows} rows of hot are not copied yet"))
                    }
                    RowComparison::HotExpired => (ComparedState::ColdOnly, String::new()),
                    RowComparison::Modified(reason) => (ComparedState::Different, reason),
                }
            }
            _ => (ComparedState::Different, self.modification(evaluated).await?),
        };
        if let Some(logged) = logged
            && logged.state == WindowState::Failed
            && state == ComparedState::Waiting
        {
            (state, reason) = (ComparedState::Failed, logged.reason.clone());
        }
        let (hot_rows, cold_rows) = (hot.rows, cold.rows);
        Ok(ComparedWindow { start_ms: *start_ms, state, reason, hot_rows, cold_rows, expected_rows })
    }
}
