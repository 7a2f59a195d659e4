//! A check in progress.

use crate::report::{Check, CheckOutcome};

/// Causes that are listed; more are counted.
const CAUSES_MAX: usize = 8;

/// Longest cause in bytes: a cause may quote what an adapter or a venue wrote.
const CAUSE_BYTES: usize = 1_200;

#[derive(Debug)]
pub(crate) struct Findings {
    id: &'static str,
    promise: &'static str,
    causes: Vec<String>,
    more: u64,
}

impl Findings {
    pub(crate) fn new(id: &'static str, promise: &'static str) -> Self {
        Findings { id, promise, causes: Vec::new(), more: 0 }
    }

    pub(crate) fn cause(&mut self, cause: impl Into<String>) {
        if self.causes.len() >= CAUSES_MAX {
            self.more += 1;
            return;
        }
        let mut cause = cause.into();
        if cause.len() > CAUSE_BYTES {
            let end = (0..=CAUSE_BYTES).rev().find(|end| cause.is_char_boundary(*end)).unwrap_or_default();
            cause.truncate(end);
            cause.push_str(" ...");
        }
        self.causes.push(cause);
    }

    /// True when further causes would only be counted.
    pub(crate) fn is_full(&self) -> bool {
        self.causes.len() >= CAUSES_MAX
    }

    pub(crate) fn done(self, detail: impl Into<String>) -> Check {
        let outcome = if self.causes.is_empty() { CheckOutcome::Passed } else { CheckOutcome::Failed };
        self.check(outcome, detail.into())
    }

    /// The promise could not be checked; failed when there is a cause all the same.
    pub(crate) fn skipped(self, reason: impl Into<String>) -> Check {
        let outcome = if self.causes.is_empty() { CheckOutcome::Skipped } else { CheckOutcome::Failed };
        self.check(outcome, reason.into())
    }

    fn check(self, outcome: CheckOutcome, detail: String) -> Check {
        let Findings { id, promise, causes, more } = self;
        Check { id, promise, outcome, detail, causes, more_causes: more }
    }
}
