//! Windows with new audits, handed from the intake to the reconciliation.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::windows::WindowRange;

/// Bounded by the windows within the retention of the AUDIT stream.
#[derive(Debug, Default)]
pub struct DirtyWindows(Mutex<BTreeSet<i64>>);

impl DirtyWindows {
    pub fn add(&self, windows: impl IntoIterator<Item = i64>) {
        self.lock().extend(windows);
    }

    pub fn take(&self) -> BTreeSet<i64> {
        std::mem::take(&mut *self.lock())
    }

    pub fn is_any_in(&self, range: WindowRange) -> bool {
        self.lock().range(range.from..range.to).next().is_some()
    }

    // The set is consistent at every moment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, BTreeSet<i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
