//! Windows that an audit arrived for, from the intake to the comparison.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::windows::Span;

/// Windows that an audit arrived for and that were not compared since. Bounded by the windows within the reach of the AUDIT stream.
#[derive(Debug, Default)]
pub struct Touched(Mutex<BTreeSet<i64>>);

impl Touched {
    /// Audits for these windows are stored.
    pub fn add(&self, windows: impl IntoIterator<Item = i64>) {
        self.lock().extend(windows);
    }

    /// Takes out all of them.
    pub fn take(&self) -> BTreeSet<i64> {
        std::mem::take(&mut *self.lock())
    }

    /// Whether an audit arrived for a part of a span since the last taking.
    pub fn is_any_in(&self, span: Span) -> bool {
        self.lock().range(span.from..span.to).next().is_some()
    }

    // The set is whole at every moment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, BTreeSet<i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
