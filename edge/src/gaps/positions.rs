//! The newest trade id of each instrument on disk, so that a later run finds the trades between. One file per edge name, always replaced as a
//! whole; after a kill it is two seconds old, or as old as the newest trade that broker or journal took: it never claims a trade that is only in
//! memory. Older ids are harmless: a trade has one event id, however often it comes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use marketprism_service::{LogLimit, clock, read_file, replace_file};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::clocks::nanos;
use crate::limits::{TRADE_POSITION_AGE_MAX, TRADE_POSITIONS_BYTES, TRADE_POSITIONS_EVERY};
use crate::records::TradePosition;

/// Folder of the files inside the data folder.
const POSITIONS: &str = "positions";

/// Positions by `exchange/market type/venue symbol`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PositionFile {
    trades: BTreeMap<String, TradePosition>,
}

/// Where the trades before the positions are.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryState {
    /// Receive time of the oldest event that the broker has not stored.
    pub oldest_pending_ns: Option<i64>,
    /// Failed writes and trades that found no place. `None`: there is no journal, or its disk fails.
    pub journal_errors: Option<u64>,
}

#[derive(Debug, Default)]
struct PositionState {
    newest: PositionFile,
    /// As of an interval ago, or longer: written once its trades are in the broker or the journal.
    settled: PositionFile,
    settled_ns: i64,
    written: PositionFile,
    /// Since when the journal takes everything.
    journaled_since_ns: i64,
    journal_errors: u64,
}

impl PositionState {
    /// The settled positions, if nothing before them is in memory only.
    fn settle(&mut self, delivery: DeliveryState, now_ns: i64) -> Option<PositionFile> {
        let is_stored = |to_ns| delivery.oldest_pending_ns.is_none_or(|pending_ns| pending_ns > to_ns);
        let is_journaled = delivery.journal_errors == Some(self.journal_errors);
        if !is_journaled {
            self.journaled_since_ns = now_ns;
            self.journal_errors = delivery.journal_errors.unwrap_or(self.journal_errors);
        }
        let is_safe = is_stored(self.settled_ns) || (is_journaled && is_stored(self.journaled_since_ns));
        is_safe.then(|| {
            self.settled_ns = now_ns;
            std::mem::replace(&mut self.settled, self.newest.clone())
        })
    }
}

#[derive(Debug)]
pub struct TradePositions {
    path: PathBuf,
    state: Mutex<PositionState>,
}

impl TradePositions {
    /// Reads the file. One that cannot be read is replaced: holes since the last run are then seen by central only.
    pub fn open(data_dir: &Path, edge: &str) -> Self {
        let path = data_dir.join(POSITIONS).join(format!("{edge}.json"));
        let mut newest = read(&path).unwrap_or_else(|error| {
            tracing::warn!(%error, ?path, "trade positions of the last run not readable: trades since its stop are not filled");
            PositionFile::default()
        });
        let oldest_ns = clock::now_ns().saturating_sub(nanos(TRADE_POSITION_AGE_MAX));
        let stored = newest.trades.len();
        newest.trades.retain(|_, position| position.last_venue_ns >= oldest_ns);
        let left_out = stored.saturating_sub(newest.trades.len());
        if left_out > 0 {
            tracing::warn!(
                left_out,
                stored,
                age_max = ?TRADE_POSITION_AGE_MAX,
                "trade positions are too old by this machine's clock: trades since them are not filled"
            );
        }
        let state = PositionState { settled: newest.clone(), newest, ..PositionState::default() };
        Self { path, state: Mutex::new(state) }
    }

    pub fn get(&self, key: &str) -> Option<TradePosition> {
        self.lock().newest.trades.get(key).cloned()
    }

    pub fn set(&self, key: &str, position: TradePosition) {
        self.lock().newest.trades.insert(key.to_owned(), position);
    }

    /// Writes what changed, until it is stopped.
    pub async fn keep(self: Arc<Self>, delivery: impl Fn() -> DeliveryState + Send, stop: CancellationToken) {
        let mut ticks = interval(TRADE_POSITIONS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lines = LogLimit::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let (positions, delivery) = (Arc::clone(&self), delivery());
            let saved = tokio::task::spawn_blocking(move || positions.save_settled(delivery)).await;
            if let Ok(Err(error)) = saved
                && let Some(held_back) = lines.allow(Instant::now())
            {
                tracing::warn!(%error, path = ?self.path, held_back, "trade positions not written: trades until a restart may not be filled");
            }
        }
    }

    fn save_settled(&self, delivery: DeliveryState) -> io::Result<()> {
        let settled = self.lock().settle(delivery, clock::now_ns());
        settled.map_or(Ok(()), |settled| self.save(settled))
    }

    /// Writes the newest positions. Their trades must be published or in the journal.
    pub fn save_newest(&self) -> io::Result<()> {
        let newest = self.lock().newest.clone();
        self.save(newest)
    }

    fn save(&self, file: PositionFile) -> io::Result<()> {
        if self.lock().written == file {
            return Ok(());
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        replace_file(&self.path, &serde_json::to_vec(&file)?)?;
        self.lock().written = file;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, PositionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> io::Result<PositionFile> {
    match read_file(path, TRADE_POSITIONS_BYTES) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(PositionFile::default()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::TradeIdRange;

    fn position(next: i64) -> TradePosition {
        let holes = vec![TradeIdRange { first: 3, last: 4 }];
        TradePosition { next, last_venue_ns: clock::now_ns(), holes }
    }

    const JOURNALED: DeliveryState = DeliveryState { oldest_pending_ns: Some(1), journal_errors: Some(0) };

    #[test]
    fn trades_that_are_only_in_memory_are_not_claimed() {
        let mut state = PositionState::default();
        let mut settle = |newest, pending_ns, journal_errors, now_ns| {
            state.newest.trades.insert("a".to_owned(), position(newest));
            let delivery = DeliveryState { oldest_pending_ns: pending_ns, journal_errors };
            let settled = state.settle(delivery, now_ns)?;
            Some(settled.trades.get("a").map_or(0, |position| position.next))
        };
        assert_eq!(settle(1, None, None, 10), Some(0));
        assert_eq!(settle(2, Some(9), None, 20), None, "no journal, and the broker has not all of it");
        assert_eq!(settle(3, Some(11), None, 30), Some(1), "what is newer may wait");
        assert_eq!(settle(4, Some(11), Some(0), 40), None, "the journal does not have what came before");
        assert_eq!(settle(5, None, Some(0), 50), Some(3));
        assert_eq!(settle(6, Some(45), Some(0), 60), Some(5), "in the journal");
        assert_eq!(settle(7, Some(45), Some(1), 70), None, "the journal did not take one");
        assert_eq!(settle(8, Some(45), Some(1), 80), None, "it takes the later ones only");
        assert_eq!(settle(9, Some(75), Some(1), 90), Some(6));
        assert_eq!(settle(10, Some(75), Some(1), 100), Some(9));
    }

    #[test]
    fn a_kill_leaves_the_positions_of_an_interval_ago_and_a_stop_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let open = || TradePositions::open(folder.path(), "edge");
        let (first, second) = (position(10), position(20));
        let positions = open();
        positions.set("a", first.clone());
        positions.save_settled(JOURNALED).unwrap();
        assert_eq!(open().get("a"), None, "its trades may not be in the journal");
        positions.set("a", second.clone());
        positions.save_settled(JOURNALED).unwrap();
        assert_eq!(open().get("a"), Some(first));
        positions.save_newest().unwrap();
        assert_eq!(open().get("a"), Some(second));
    }

    #[test]
    fn positions_that_are_old_or_cannot_be_read_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let open = || TradePositions::open(folder.path(), "edge");
        let positions = open();
        positions.set("old", TradePosition { last_venue_ns: 1, ..position(10) });
        positions.set("new", position(10));
        positions.save_newest().unwrap();
        assert!(open().get("old").is_none() && open().get("new").is_some());
        fs::write(folder.path().join(POSITIONS).join("edge.json"), "{").unwrap();
        let damaged = open();
        assert_eq!(damaged.get("new"), None);
        damaged.set("new", position(11));
        damaged.save_newest().unwrap();
        assert!(open().get("new").is_some());
    }
}
