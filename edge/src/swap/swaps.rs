//! Requests for changes of adapters, and their history. Shared by HTTP, the watched folder and the task that works them off.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use marketprism_adapter_host::{DifferenceKind, component_digest};
use marketprism_schema::FollowedAdapter;
use marketprism_service::clock;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use super::record::{SwapOutcome, SwapRecord, SwapStep};
use crate::limits::SWAPS_KEPT;

/// Labels of ended changes.
pub const SWAP_OUTCOMES: [&str; 4] = ["promoted", "refused", "rolled_back", "stopped"];

/// Rejection of a request before it runs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SwapRefused {
    #[error("change {0} of an adapter runs; wait for its end, or roll it back")]
    Busy(u64),
    #[error("the edge stops")]
    Stopping,
}

pub(super) struct SwapRequest {
    pub(super) number: u64,
    pub(super) action: SwapAction,
    /// Ends a running change: it is rolled back.
    pub(super) cancel: CancellationToken,
}

pub(super) enum SwapAction {
    Load {
        component: Bytes,
        accepted: BTreeSet<DifferenceKind>,
    },
    /// To the version before, of the adapter of this name.
    RollBack {
        adapter: String,
    },
}

/// State of a file in the watched folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileAttempt {
    /// To be loaded.
    Open,
    /// Its change has ended.
    Ended,
}

#[derive(Debug)]
struct SwapBoard {
    next: u64,
    running: Option<(SwapRecord, CancellationToken)>,
    /// Adapter that the running change is of, while a rollback of it ends the change.
    cancellable: Option<String>,
    /// Newest last.
    ended: VecDeque<SwapRecord>,
    /// Digest of the version before the running one, by name of the adapter.
    previous: BTreeMap<String, String>,
    /// State of central's wishes, once they were read.
    followed: Option<Vec<FollowedAdapter>>,
}

impl SwapBoard {
    /// Forgets the oldest changes, but the newest of a wish that stays: it would be tried again.
    fn trim(&self, ended: &mut VecDeque<SwapRecord>) {
        let is_followed = |record: &SwapRecord| match &self.followed {
            None => record.is_of_wish(),
            Some(all) => all.iter().any(|one| SwapRecord::source_of_wish(&one.wish) == record.source),
        };
        while ended.len() > SWAPS_KEPT {
            let mut older = (0..ended.len() - 1).zip(ended.iter());
            let is_newest = |place: usize, source: &str| {
                !ended.iter().skip(place + 1).any(|later| later.source == source)
            };
            let oldest = older.find(|(place, one)| !is_followed(one) || !is_newest(*place, &one.source));
            let Some((place, _)) = oldest else { return };
            ended.remove(place);
        }
    }
}

#[derive(Debug)]
pub struct AdapterSwaps {
    board: Mutex<SwapBoard>,
    requests: Sender<SwapRequest>,
    /// Wakes who waits for the end of a change.
    ended: Notify,
    /// Wakes the writer of the heartbeat: central waits for the state of its wishes.
    followed_changed: Notify,
}

/// Without history, and without anybody who works requests off.
impl Default for AdapterSwaps {
    fn default() -> Self {
        Self::with_history(Vec::new()).0
    }
}

impl AdapterSwaps {
    /// With the history of earlier runs. The receiver is for the executor.
    pub(super) fn with_history(ended: Vec<SwapRecord>) -> (Self, Receiver<SwapRequest>) {
        // One change runs at a time, so one request waits at most.
        let (requests, receiver) = channel(1);
        let next = ended.iter().map(|record| record.number + 1).max().unwrap_or(1);
        let (previous, followed) = Default::default();
        let board =
            SwapBoard { next, running: None, cancellable: None, ended: ended.into(), previous, followed };
        (
            Self {
                board: Mutex::new(board),
                requests,
                ended: Notify::new(),
                followed_changed: Notify::new(),
            },
            receiver,
        )
    }

    fn lock(&self) -> MutexGuard<'_, SwapBoard> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to load a component; returns the number of the change.
    pub fn load(
        &self,
        component: Bytes,
        accepted: BTreeSet<DifferenceKind>,
        source: &str,
    ) -> Result<u64, SwapRefused> {
        let names = accepted.iter().map(ToString::to_string).collect();
        let digest = component_digest(&component);
        self.begin(source, digest, names, SwapAction::Load { component, accepted })
    }

    /// Begins to return to the version before; a change of the adapter that runs is rolled back instead.
    pub fn roll_back(&self, adapter: &str) -> Result<u64, SwapRefused> {
        let board = self.lock();
        if let Some((record, cancel)) = &board.running
            && board.cancellable.as_deref() == Some(adapter)
        {
            cancel.cancel();
            return Ok(record.number);
        }
        drop(board);
        self.return_to_previous(adapter, String::new(), "rollback")
    }

    /// Rolls the running change back if it is this one, of this adapter.
    pub(super) fn cancel(&self, adapter: &str, number: u64) {
        let board = self.lock();
        if let Some((record, cancel)) = &board.running
            && record.number == number
            && board.cancellable.as_deref() == Some(adapter)
        {
            cancel.cancel();
        }
    }

    /// Begins to return to the version before, which has this digest.
    pub(super) fn return_to_previous(
        &self,
        adapter: &str,
        digest: String,
        source: &str,
    ) -> Result<u64, SwapRefused> {
        let action = SwapAction::RollBack { adapter: adapter.to_owned() };
        self.begin(source, digest, Vec::new(), action)
    }

    pub(super) fn set_previous(&self, previous: BTreeMap<String, String>) {
        self.lock().previous = previous;
    }

    /// Digest of the version before the running one.
    pub(super) fn previous(&self, adapter: &str) -> Option<String> {
        self.lock().previous.get(adapter).cloned()
    }

    pub(super) fn set_followed(&self, followed: Vec<FollowedAdapter>) {
        let mut board = self.lock();
        if board.followed.as_ref() != Some(&followed) {
            board.followed = Some(followed);
            drop(board);
            self.followed_changed.notify_one();
        }
    }

    /// Returns when the state of a wish has changed.
    pub async fn followed_changed(&self) {
        self.followed_changed.notified().await;
    }

    /// State of central's wishes.
    pub fn followed(&self) -> Vec<FollowedAdapter> {
        self.lock().followed.clone().unwrap_or_default()
    }

    /// The newest change from this source, which may run.
    pub(super) fn newest_of(&self, source: &str) -> Option<SwapRecord> {
        self.history().into_iter().rev().find(|record| record.source == source)
    }

    /// Returns after the end of a change.
    pub(super) async fn ended_one(&self) {
        self.ended.notified().await;
    }

    fn begin(
        &self,
        source: &str,
        digest: String,
        accepted: Vec<String>,
        action: SwapAction,
    ) -> Result<u64, SwapRefused> {
        let mut board = self.lock();
        if let Some((record, _)) = &board.running {
            return Err(SwapRefused::Busy(record.number));
        }
        let (number, cancel) = (board.next, CancellationToken::new());
        let adapter = match &action {
            SwapAction::RollBack { adapter } => Some(adapter.clone()),
            SwapAction::Load { .. } => None,
        };
        let request = SwapRequest { number, action, cancel: cancel.clone() };
        self.requests.try_send(request).map_err(|_closed| SwapRefused::Stopping)?;
        board.next += 1;
        // One that found no feed before is tried again: the newest of these says it all.
        board.ended.retain(|earlier| earlier.digest != digest || !earlier.had_no_feed());
        let mut record = SwapRecord::new(number, source, digest, accepted, clock::now_ns() / 1_000_000_000);
        record.adapter = adapter;
        board.running = Some((record, cancel));
        Ok(number)
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut SwapRecord)) {
        if let Some((record, _)) = &mut self.lock().running {
            change(record);
        }
    }

    /// From now on a rollback of this adapter ends the running change.
    pub(super) fn set_cancellable(&self, adapter: &str) {
        self.lock().cancellable = Some(adapter.to_owned());
    }

    /// The running change stays. False: a rollback came before.
    pub(super) fn keep(&self) -> bool {
        let mut board = self.lock();
        board.cancellable = None;
        board.running.as_ref().is_some_and(|(_, cancel)| !cancel.is_cancelled())
    }

    pub(super) fn step(&self) -> SwapStep {
        self.lock().running.as_ref().map_or(SwapStep::Done, |(record, _)| record.step)
    }

    pub(super) fn running(&self) -> Option<SwapRecord> {
        self.lock().running.as_ref().map(|(record, _)| record.clone())
    }

    /// The change that runs as it will be in the history.
    pub(super) fn ended(&self, outcome: SwapOutcome, reason: Option<String>) -> Option<SwapRecord> {
        let mut record = self.running()?;
        record.outcome = outcome;
        record.reason = reason;
        record.ended = Some(clock::now_ns() / 1_000_000_000);
        Some(record)
    }

    /// The history with this record, for the disk: what pages show as ended survives a kill.
    pub(super) fn history_with(&self, record: &SwapRecord) -> Vec<SwapRecord> {
        let board = self.lock();
        let mut ended: VecDeque<SwapRecord> = board.ended.iter().chain([record]).cloned().collect();
        board.trim(&mut ended);
        ended.into()
    }

    /// Ends the change that runs; another one may begin.
    pub(super) fn end(&self, record: SwapRecord) {
        let mut board = self.lock();
        (board.running, board.cancellable) = (None, None);
        let mut ended = std::mem::take(&mut board.ended);
        ended.push_back(record);
        board.trim(&mut ended);
        board.ended = ended;
        drop(board);
        self.ended.notify_one();
    }

    /// Changes that ended, oldest first, and the one that runs.
    pub fn history(&self) -> Vec<SwapRecord> {
        let board = self.lock();
        board.ended.iter().chain(board.running.as_ref().map(|(record, _)| record)).cloned().collect()
    }

    /// Number of the next change.
    pub(super) fn next_number(&self) -> u64 {
        self.lock().next
    }

    /// The last attempt of a file, if it was with this content. One that a stop or feeds that did not run kept from its trial is to be made
    /// again, but not over a version that came later.
    pub(super) fn attempt(&self, file: &str, digest: &str, since: u64) -> FileAttempt {
        let history = self.history();
        let is_of_file = |record: &SwapRecord| record.source == file && record.number >= since;
        let Some(place) = history.iter().rposition(is_of_file) else { return FileAttempt::Open };
        let Some((record, later)) = history.get(place..).and_then(<[_]>::split_first) else {
            return FileAttempt::Open;
        };
        let is_superseded = later.iter().any(|record| record.outcome == SwapOutcome::Promoted);
        match record.digest == digest && (!record.is_to_be_repeated() || is_superseded) {
            true => FileAttempt::Ended,
            false => FileAttempt::Open,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.lock().running.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_ends_a_change_of_its_own_adapter_only() {
        let (swaps, _requests) = AdapterSwaps::with_history(Vec::new());
        let number = swaps.load(Bytes::from_static(b"one"), BTreeSet::new(), "file").unwrap();
        assert_eq!(swaps.roll_back("one"), Err(SwapRefused::Busy(number)), "not known yet whose it is");
        swaps.set_cancellable("one");
        assert_eq!(swaps.roll_back("other"), Err(SwapRefused::Busy(number)));
        assert!(swaps.keep());
        assert_eq!(swaps.roll_back("one"), Err(SwapRefused::Busy(number)), "it is being kept");
        swaps.set_cancellable("one");
        assert_eq!(swaps.roll_back("one"), Ok(number));
        assert!(!swaps.keep());
    }

    #[test]
    fn the_try_of_a_wish_that_stays_is_not_forgotten() {
        let (swaps, mut requests) = AdapterSwaps::with_history(Vec::new());
        let mut change = |source: &str| {
            swaps.load(Bytes::new(), BTreeSet::new(), source).unwrap();
            requests.try_recv().unwrap();
            let record = swaps.ended(SwapOutcome::Refused, None).unwrap();
            let stored = swaps.history_with(&record);
            swaps.end(record);
            assert_eq!(stored, swaps.history());
        };
        let [kept, past] = ["kept", "past"].map(SwapRecord::source_of_wish);
        let followed = FollowedAdapter {
            adapter: "a".into(),
            wish: "kept".into(),
            digest: "d".into(),
            state: marketprism_schema::FollowState::Refused,
            cause: None,
        };
        for source in [&kept, &past, &kept] {
            change(source);
        }
        (0..SWAPS_KEPT).for_each(|_| change("file"));
        assert!(swaps.newest_of(&past).is_some(), "the wishes were not read yet");
        swaps.set_followed(vec![followed]);
        (0..2 * SWAPS_KEPT).for_each(|_| change("file"));
        assert!(swaps.newest_of(&kept).is_some());
        assert!(swaps.newest_of(&past).is_none());
        assert_eq!(swaps.history().len(), SWAPS_KEPT);
    }
}
