//! Current problems by part, for `/health` and `/ready`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use marketprism_service::mask;

/// The part that fails while ClickHouse takes no rows.
pub const CLICKHOUSE: &str = "clickhouse";

/// Begin of the parts that copy a table to cold: while one fails, messages are received and stored all the same.
pub const COPYING: &str = "copying ";

/// One reason per part that does not work; empty means ready.
#[derive(Debug)]
pub struct Status {
    pub started: Instant,
    reasons: Mutex<BTreeMap<String, String>>,
}

impl Status {
    /// All given parts are not ready yet.
    pub fn starting(parts: impl IntoIterator<Item = String>) -> Self {
        let reasons = parts.into_iter().map(|part| (part, "starting".to_owned())).collect();
        Self { started: Instant::now(), reasons: Mutex::new(reasons) }
    }

    /// Sets the reason of a part, without secrets of addresses; true when it worked before.
    pub fn fail(&self, part: &str, reason: impl Into<String>) -> bool {
        let reason = mask(&reason.into()).into_owned();
        self.lock().insert(part.to_owned(), reason).is_none()
    }

    pub fn set(&self, part: &str, reason: Option<String>) {
        match reason {
            Some(reason) => self.fail(part, reason),
            None => self.clear(part),
        };
    }

    /// Clears the reason of a part; true when it had one.
    pub fn clear(&self, part: &str) -> bool {
        self.lock().remove(part).is_some()
    }

    pub fn reasons(&self) -> Vec<String> {
        self.lock().iter().map(|(part, reason)| format!("{part}: {reason}")).collect()
    }

    /// Without those of copying, which keeps no message from being stored.
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = self.reasons();
        reasons.retain(|reason| !reason.starts_with(COPYING));
        reasons
    }

    // The map is consistent at every moment, so a panic of another holder does not matter.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
