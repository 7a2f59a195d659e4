//! Blocked budgets on disk: a process that starts again while the venue bans its address must not ask before the ban ends. A file that cannot
//! be read or written costs that only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use marketprism_service::{clock, read_file};

use crate::limits::{BLOCKS_BYTES_MAX, RETRY_AFTER_MAX};

/// Ends of blocks by the wall clock, milliseconds since 1970, by budget.
type Blocks = BTreeMap<String, i64>;

#[derive(Debug)]
pub(super) struct BlockFile {
    path: PathBuf,
    /// Held from the reading of the file to its replacement.
    writing: Mutex<()>,
}

impl BlockFile {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, writing: Mutex::new(()) }
    }

    /// Blocks that have not ended, with the time left.
    pub(super) fn read(&self) -> Vec<(String, Duration)> {
        let now_ms = now_ms();
        let left =
            |until_ms: i64| Some(Duration::from_millis(u64::try_from(until_ms.saturating_sub(now_ms)).ok()?));
        let current = |(name, until_ms)| Some((name, left(until_ms)?.min(RETRY_AFTER_MAX)));
        load(&self.path).into_iter().filter_map(current).collect()
    }

    pub(super) fn add(&self, budget: &str, time: Duration) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // The lease and the journal of runs have temporary files of their own beside it.
        let (now_ms, part) = (now_ms(), self.path.with_extension("budgets.part"));
        let mut blocks = load(&self.path);
        blocks.retain(|_, until_ms| *until_ms > now_ms);
        let until_ms = now_ms.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let kept = blocks.entry(budget.to_owned()).or_insert(until_ms);
        *kept = until_ms.max(*kept);
        let written = serde_json::to_vec(&blocks)
            .map_err(std::io::Error::other)
            .and_then(|text| std::fs::write(&part, text))
            .and_then(|()| std::fs::rename(&part, &self.path));
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "blocked budgets not written: a restart asks the venue again at once");
        }
    }
}

fn load(path: &Path) -> Blocks {
    let text = read_file(path, BLOCKS_BYTES_MAX).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn now_ms() -> i64 {
    clock::now_ns() / 1_000_000
}
