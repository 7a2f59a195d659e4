//! What is wrong at the moment, for `/health` and `/ready`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The part that fails while ClickHouse takes no rows.
pub const CLICKHOUSE: &str = "clickhouse";

/// What is wrong at the moment: one reason per part. Empty means ready.
#[derive(Debug)]
pub struct Status {
    /// When the process started.
    pub started: Instant,
    reasons: Mutex<BTreeMap<String, String>>,
}

impl Status {
    /// A status with the parts given, all of them not yet ready.
    pub fn starting(parts: impl IntoIterator<Item = String>) -> Self {
        let reasons = parts.into_iter().map(|part| (part, "starting".to_owned())).collect();
        Self { started: Instant::now(), reasons: Mutex::new(reasons) }
    }

    /// Says why a part does not work. Returns whether it worked before.
    pub fn fail(&self, part: &str, reason: impl Into<String>) -> bool {
        self.lock().insert(part.to_owned(), reason.into()).is_none()
    }

    /// Says that a part works. Returns whether it did not before.
    pub fn clear(&self, part: &str) -> bool {
        self.lock().remove(part).is_some()
    }

    /// Every reason, `part: reason`.
    pub fn reasons(&self) -> Vec<String> {
        self.lock().iter().map(|(part, reason)| format!("{part}: {reason}")).collect()
    }

    // The map is whole at every moment, so a panic of another holder does not matter.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
