//! Current problems by part, for `/health` and `/ready`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use marketprism_service::mask;

/// The part that fails while ClickHouse takes no rows.
pub const CLICKHOUSE: &str = "clickhouse";

/// Begin of the parts that copy a table to cold.
pub const COPYING: &str = "copying ";
/// The part that fails while clocks differ: nothing is copied to cold then.
pub const CLOCKS: &str = "clocks";
/// The part that fails while no verdicts can be given.
pub const LEDGER: &str = "ledger";

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
        self.texts(|_| true)
    }

    /// Of parts without which messages are not received and stored.
    pub fn not_ready(&self) -> Vec<String> {
        self.texts(|part| !part.starts_with(COPYING) && ![CLOCKS, LEDGER].contains(&part))
    }

    fn texts(&self, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
        let reasons = self.lock();
        let meant = reasons.iter().filter(|(part, _)| is_meant(part));
        meant.map(|(part, reason)| format!("{part}: {reason}")).collect()
    }

    // The map is consistent at every moment, so a panic of another holder does not matter.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that leaves out what is not ready would have no central at all while cold's clock is wrong.
    #[test]
    fn a_central_that_stores_messages_is_ready_whatever_else_fails() {
        let status = Status::starting([]);
        for part in ["copying trades", CLOCKS, LEDGER] {
            status.fail(part, "failed");
        }
        assert_eq!((status.reasons().len(), status.not_ready()), (3, vec![]));
        for part in [CLICKHOUSE, "audits", "MARKET_DATA", "layout", "cold layout"] {
            status.fail(part, "failed");
            assert_eq!(status.not_ready(), [format!("{part}: failed")]);
            status.clear(part);
        }
    }
}
