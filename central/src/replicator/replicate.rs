//! Copy of a range of windows: copied, read again on both sides, verified, logged.

use std::collections::BTreeMap;

use futures_util::future::try_join;
use futures_util::{StreamExt as _, stream};
use marketprism_traces::tracer;

use super::queries::CopyError;
use super::window::{Digests, TimeRange, WindowDigest};
use super::window_log::{LoggedWindow, LoggedWindows, NEVER_VERIFIED, WindowState};
use super::window_ops::{WindowOps, all_starts, is_verified};
use crate::limits;
use crate::time::Time;

/// Input of one insert: a window, or neighbouring ones that cold holds nothing of.
struct CopyBatch {
    span: TimeRange,
    windows: Vec<i64>,
    hot: WindowDigest,
    cold: WindowDigest,
    salt: i64,
}

impl CopyBatch {
    fn takes(&mut self, next: &Self, rows_max: u64) -> bool {
        let rows = self.hot.rows + next.hot.rows;
        let is_empty = self.cold.rows + next.cold.rows == 0;
        if !is_empty || self.span.to_ms != next.span.from_ms || rows > rows_max {
            return false;
        }
        self.span.to_ms = next.span.to_ms;
        self.windows.extend(&next.windows);
        self.hot.rows = rows;
        // Grows when the salt of any window does.
        self.salt = self.salt.wrapping_add(next.salt);
        true
    }
}

impl WindowOps<'_> {
    /// Copies, verifies and logs every window of a range that has rows in hot. Returns the log entries.
    pub async fn replicate(&self, span: TimeRange) -> Result<Vec<LoggedWindow>, CopyError> {
        let counts = self.hot_counts(span).await?;
        if counts.is_empty() {
            return Ok(Vec::new());
        }
        self.replicate_counted(span, counts, &self.logged(span).await?).await
    }

    /// As [`Self::replicate`], with the rows of hot counted and the log read before.
    pub async fn replicate_counted(
        &self,
        span: TimeRange,
        mut counts: Digests,
        log: &LoggedWindows,
    ) -> Result<Vec<LoggedWindow>, CopyError> {
        if self.delete_late_duplicates(&counts).await? > 0 {
            counts = self.hot_counts(span).await?;
        }
        if counts.is_empty() {
            return Ok(Vec::new());
        }
        let before = self.cold_digests(span, false).await?;
        let mut failed = self.copy_missing(span, &counts, &before, log).await?;
        let (hot, after) = try_join(self.hot_digests(span), self.cold_digests(span, true)).await?;
        let mut logged = Vec::new();
        for start_ms in all_starts(&counts, &hot, &failed) {
            let of = |states: &Digests| states.get(&start_ms).copied().unwrap_or_default();
            let (state, held) = (of(&hot), of(&after));
            let earlier = log.get(&start_ms);
            let rows_before = before.get(&start_ms).map_or(0, |digest| digest.rows);
            self.context.metrics.copied(self.table.name, rows_before, held.rows);
            let window = match failed.remove(&start_ms) {
                Some(reason) => self.unsound(start_ms, WindowState::Failed, reason, &state, &held, earlier),
                None if is_verified(&state, &held) => self.verified(start_ms, &state, earlier, 1),
                None => self.retry_window(start_ms, earlier).await?,
            };
            logged.push(window);
        }
        self.write(&logged).await?;
        Ok(logged)
    }

    /// Copies rows that cold lacks. Returns the windows that cold refused, with the reason.
    async fn copy_missing(
        &self,
        span: TimeRange,
        counts: &Digests,
        before: &Digests,
        log: &LoggedWindows,
    ) -> Result<BTreeMap<i64, String>, CopyError> {
        let is_begun = counts.keys().any(|start_ms| before.contains_key(start_ms));
        let hot = if is_begun { self.hot_digests(span).await? } else { BTreeMap::new() };
        let mut batches: Vec<CopyBatch> = Vec::new();
        for (&start_ms, &counted) in counts {
            let next = CopyBatch {
                span: TimeRange::window(start_ms, self.width_ms),
                windows: vec![start_ms],
                hot: hot.get(&start_ms).copied().unwrap_or(counted),
                cold: before.get(&start_ms).copied().unwrap_or_default(),
                salt: log.get(&start_ms).map_or(0, |logged| logged.logged_ms),
            };
            if !batches.last_mut().is_some_and(|last| last.takes(&next, self.slice_rows)) {
                batches.push(next);
            }
        }
        let copies = stream::iter(batches).map(|batch| self.copy_batch(batch));
        // All to their end, even if one fails: an abandoned copy may continue on the server.
        let copied: Vec<Result<_, CopyError>> =
            copies.buffer_unordered(limits::COPIES_AT_ONCE).collect().await;
        let mut failed = BTreeMap::new();
        for refused in copied {
            failed.extend(refused?);
        }
        Ok(failed)
    }

    /// Copies a batch. If cold refuses it, each window is copied alone, so that only the offending one fails.
    async fn copy_batch(&self, batch: CopyBatch) -> Result<BTreeMap<i64, String>, CopyError> {
        let trace = tracer().operation("copy windows");
        trace.text("db.collection.name", self.table.name).number("marketprism.windows", batch.windows.len());
        trace.text("marketprism.from", &Time(batch.span.from_ms).to_string());
        trace.number("marketprism.rows", batch.hot.rows);
        let copied = self.copy_or_split(batch).await;
        trace.end(&copied);
        copied
    }

    async fn copy_or_split(&self, batch: CopyBatch) -> Result<BTreeMap<i64, String>, CopyError> {
        let CopyBatch { span, windows, hot, cold, salt } = batch;
        let mut failed = BTreeMap::new();
        let Some(refusal) = refused(self.copy_span(span, &hot, &cold, salt).await)? else {
            return Ok(failed);
        };
        if let [window] = windows[..] {
            failed.insert(window, refusal);
            return Ok(failed);
        }
        for start_ms in windows {
            let (hot, cold) = self.both_digests(start_ms).await?;
            let window = TimeRange::window(start_ms, self.width_ms);
            if let Some(refusal) = refused(self.copy_span(window, &hot, &cold, salt).await)? {
                failed.insert(start_ms, refusal);
            }
        }
        Ok(failed)
    }

    /// Compares one window again and copies again, a few times: rows may have arrived in hot meanwhile.
    async fn retry_window(
        &self,
        start_ms: i64,
        earlier: Option<&LoggedWindow>,
    ) -> Result<LoggedWindow, CopyError> {
        let window = TimeRange::window(start_ms, self.width_ms);
        let mut salt = earlier.map_or(0, |logged| logged.logged_ms);
        let tries = self.context.config.replication.retries.max(1);
        let (mut hot, mut cold) = self.both_digests(start_ms).await?;
        for attempt in 0..tries {
            if is_verified(&hot, &cold) {
                return Ok(self.verified(start_ms, &hot, earlier, attempt + 2));
            }
            self.copy_span(window, &hot, &cold, salt).await?;
            let (hot_now, cold_now) = self.both_digests(start_ms).await?;
            // Nothing was stored although rows are missing: an earlier insert had the same token, and its rows were removed.
            salt += i64::from(cold_now == cold);
            (hot, cold) = (hot_now, cold_now);
        }
        if is_verified(&hot, &cold) {
            return Ok(self.verified(start_ms, &hot, earlier, tries + 1));
        }
        let diff = self.diff(start_ms, &hot, &cold).await?;
        // The age of rows that hot no longer holds is known only from cold.
        let may_be_gone =
            !self.is_hot_whole(start_ms, earlier, &hot) || !self.is_hot_whole(start_ms, None, &cold);
        if let Some(diff) = diff.as_ref().filter(|_| may_be_gone)
            && diff.is_hot_within_cold()
            && cold.distinct == cold.rows
        {
            return Ok(self.verified(start_ms, &cold, earlier, tries + 1));
        }
        let differ = diff.map_or_else(
            || format!("{} rows in cold, {} in hot", cold.rows, hot.rows),
            |diff| diff.to_string(),
        );
        let mut reason = format!("cold differs from hot after copying: {differ}");
        if earlier.is_none_or(LoggedWindow::was_never_verified) {
            reason = format!("{NEVER_VERIFIED}; {reason}");
        }
        Ok(self.unsound(start_ms, WindowState::Mismatch, reason, &hot, &cold, earlier))
    }
}

/// The reason for which cold refused the rows, if it did.
fn refused(copied: Result<(), CopyError>) -> Result<Option<String>, CopyError> {
    match copied {
        Err(CopyError::Storage { error, .. }) if error.is_content() => Ok(Some(error.to_string())),
        copied => copied.map(|()| None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(start_ms: i64, rows: u64, cold_rows: u64) -> CopyBatch {
        let state = |rows| WindowDigest { rows, ..WindowDigest::default() };
        let (hot, cold) = (state(rows), state(cold_rows));
        CopyBatch {
            span: TimeRange::window(start_ms, 60),
            windows: vec![start_ms],
            hot,
            cold,
            salt: start_ms,
        }
    }

    #[test]
    fn adjacent_windows_missing_in_cold_share_one_insert() {
        for (next, is_taken) in [
            (batch(60, 50, 0), true),
            (batch(60, 51, 0), false),
            (batch(60, 1, 1), false),
            (batch(120, 1, 0), false),
        ] {
            let mut first = batch(0, 50, 0);
            assert_eq!(first.takes(&next, 100), is_taken, "{} {}", next.span.from_ms, next.hot.rows);
            assert_eq!(first.windows.len(), 1 + usize::from(is_taken));
        }
        assert!(!batch(0, 50, 1).takes(&batch(60, 1, 0), 100), "cold already holds rows of the first window");
        let mut two = batch(0, 50, 0);
        assert!(two.takes(&batch(60, 50, 0), 100) && !two.takes(&batch(120, 1, 0), 100));
        assert_eq!((two.span, two.hot.rows, two.salt), (TimeRange::new(0, 120), 100, 60));
    }
}
