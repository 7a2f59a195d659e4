//! Tables of which a materialized view fails with an error that may pass, such as a lack of memory: once it lasts, rows are stored without the
//! views, and one insert a minute tries these again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits;
use crate::storage::StorageError;

/// By table.
#[derive(Debug, Default)]
pub struct FailingViews(Mutex<BTreeMap<&'static str, ViewFailure>>);

#[derive(Debug)]
struct ViewFailure {
    since: Instant,
    /// Time of the newest error.
    newest: Instant,
    error: String,
    /// Time of the last insert with the views, once rows are stored without them.
    tried: Option<Instant>,
}

impl FailingViews {
    /// The error for which an insert that begins now leaves the views out.
    pub fn ignored(&self, table: &str, now: Instant) -> Option<String> {
        let mut tables = self.lock();
        let failure = tables.get_mut(table)?;
        let tried = failure.tried.as_mut()?;
        if now.saturating_duration_since(*tried) >= limits::VIEW_PATIENCE {
            *tried = now;
            return None;
        }
        Some(failure.error.clone())
    }

    /// Notes the error of an insert with the views, the first of which this insert had at `since`. True: its rows are to be stored without them, since the
    /// error does not pass by itself, or lasts.
    pub fn give_up(
        &self,
        table: &'static str,
        error: &StorageError,
        since: &mut Option<Instant>,
        now: Instant,
    ) -> bool {
        match error {
            StorageError::View { is_passing: true, .. } => {}
            StorageError::View { .. } => return true,
            _ => return false,
        }
        let mut tables = self.lock();
        let new = || ViewFailure { since: now, newest: now, error: String::new(), tried: None };
        let failure = tables.entry(table).or_insert_with(new);
        // An insert that was dropped with its lease says of no success.
        if now.saturating_duration_since(failure.newest) > 2 * limits::VIEW_PATIENCE {
            *failure = new();
        }
        (failure.newest, failure.error) = (now, error.to_string());
        // Other inserts of the table may succeed between two errors of this one.
        let first = failure.since.min(*since.get_or_insert(now));
        let lasts = now.saturating_duration_since(first) >= limits::VIEW_PATIENCE;
        failure.tried = lasts.then_some(now).or(failure.tried);
        lasts
    }

    /// The views took the rows of an insert.
    pub fn took_rows(&self, table: &str) {
        self.lock().remove(table);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, ViewFailure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "trades";

    fn error(is_passing: bool) -> StorageError {
        StorageError::View { view: "v".into(), text: "t".into(), is_passing }
    }

    #[test]
    fn a_view_that_cannot_take_rows_holds_them_up_no_longer_than_its_error_may_pass() {
        let (views, now, mut since) = (FailingViews::default(), Instant::now(), None);
        assert!(views.give_up(TABLE, &error(false), &mut since, now));
        assert_eq!(views.ignored(TABLE, now), None, "it may take the rows of the next insert");
        assert!(!views.give_up(TABLE, &error(true), &mut since, now), "it may take them soon");
        views.took_rows(TABLE);
        let lasts = now + limits::VIEW_PATIENCE;
        assert!(views.give_up(TABLE, &error(true), &mut since, lasts), "whatever it takes of other inserts");
        let other = StorageError::TimedOut(limits::VIEW_PATIENCE);
        assert!(!FailingViews::default().give_up(TABLE, &other, &mut since, lasts));
    }

    /// Each batch would wait for a minute.
    #[test]
    fn a_table_is_held_up_once_and_its_views_are_tried_once_a_minute_until_they_take_rows() {
        let (views, start) = (FailingViews::default(), Instant::now());
        let give_up = |now| views.give_up(TABLE, &error(true), &mut None, now);
        assert!(!give_up(start));
        let lasts = start + limits::VIEW_PATIENCE;
        assert!(give_up(lasts));
        assert!(
            views.ignored(TABLE, lasts + limits::VIEW_PATIENCE / 2).is_some(),
            "the next batch does not wait"
        );
        assert_eq!(views.ignored("quotes", lasts), None);
        let due = lasts + limits::VIEW_PATIENCE;
        assert_eq!(views.ignored(TABLE, due), None, "one tries the views");
        assert!(views.ignored(TABLE, due).is_some(), "the others do not");
        assert!(give_up(due), "it has failed for long enough");
        views.took_rows(TABLE);
        assert_eq!(views.ignored(TABLE, due), None);
        assert!(!give_up(due), "another failure may pass");
        assert!(!give_up(due + 3 * limits::VIEW_PATIENCE), "so may one long after it");
    }
}
