//! Blocked budgets on disk: a process that starts again while a venue refuses its address must not ask before the block ends. A file that
//! cannot be read or written costs nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use marketprism_service::{clock, read_file};
use serde_json::Value;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::limits::{BAN_MAX, BLOCKS_BYTES_MAX, RETRY_AFTER_MAX};

/// End of a block by the wall clock, milliseconds since 1970, and its length in milliseconds: a clock that was set since makes no block longer.
type Block = (i64, u64);

/// By budget.
type Blocks = BTreeMap<String, Block>;

/// The file and the thread that writes it: callers never wait for the disk.
#[derive(Debug)]
pub(super) struct BlockFile(Arc<BlockState>);

#[derive(Debug)]
struct BlockState {
    path: PathBuf,
    pending: Mutex<PendingBlocks>,
}

#[derive(Debug, Default)]
struct PendingBlocks {
    /// Of this process.
    blocks: Blocks,
    /// The file does not have them yet.
    is_changed: bool,
    /// The last write failed.
    has_failed: bool,
    /// A thread writes, and checks for changes before it ends.
    is_writing: bool,
    writer: Option<JoinHandle<()>>,
}

impl BlockFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Arc::new(BlockState { path, pending: Mutex::default() }))
    }

    /// A disk that hangs holds up one thread; one write takes all blocks that were added meanwhile.
    pub(super) fn add(&self, budget: &str, time: Duration) {
        let now_ms = now_ms();
        let length_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut pending = self.0.pending();
        pending.blocks.retain(|_, (until_ms, _)| *until_ms > now_ms);
        raise(&mut pending.blocks, budget, (now_ms.saturating_add_unsigned(length_ms), length_ms), now_ms);
        pending.is_changed = true;
        if !std::mem::replace(&mut pending.is_writing, true) {
            let state = Arc::clone(&self.0);
            pending.writer = Some(spawn_blocking(move || state.write()));
        }
    }

    /// Waits for the writing thread, at most `limit`. False: the file does not have every block.
    pub(super) async fn written(&self, limit: Duration) -> bool {
        let writer = self.0.pending().writer.take();
        if let Some(mut writer) = writer
            && timeout(limit, &mut writer).await.is_err()
        {
            self.0.pending().writer = Some(writer);
        }
        let pending = self.0.pending();
        !(pending.is_changed || pending.is_writing || pending.has_failed)
    }
}

impl BlockState {
    fn pending(&self) -> MutexGuard<'_, PendingBlocks> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread at a time.
    fn write(&self) {
        loop {
            let mut pending = self.pending();
            pending.is_writing = std::mem::take(&mut pending.is_changed);
            if !pending.is_writing {
                return;
            }
            let blocks = pending.blocks.clone();
            drop(pending);
            let written = self.replace(&blocks);
            self.pending().has_failed = written.is_err();
            if let Err(error) = written {
                tracing::warn!(path = %self.path.display(), %error, "blocked budgets not written: a restart asks the venues again at once");
            }
        }
    }

    fn replace(&self, own: &Blocks) -> std::io::Result<()> {
        // The lease and the journal of runs have temporary files of their own next to it.
        let (now_ms, part) = (now_ms(), self.path.with_extension("budgets.part"));
        let mut blocks = load(&self.path);
        own.iter().for_each(|(budget, block)| raise(&mut blocks, budget, *block, now_ms));
        blocks.retain(|_, (until_ms, _)| *until_ms > now_ms);
        let text = serde_json::to_vec(&blocks).map_err(std::io::Error::other)?;
        std::fs::write(&part, text)?;
        std::fs::rename(&part, &self.path)
    }
}

/// Of two blocks the one that lasts longer applies: the end of one that a clock ahead gave says nothing, its length does.
fn raise(blocks: &mut Blocks, budget: &str, block: Block, now_ms: i64) {
    let kept = blocks.entry(budget.to_owned()).or_insert(block);
    if left_ms(block, now_ms) > left_ms(*kept, now_ms) {
        *kept = block;
    }
}

fn left_ms((until_ms, length_ms): Block, now_ms: i64) -> u64 {
    u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or_default().min(length_ms)
}

/// Blocks in the file that have not ended, with the time left.
pub(super) fn read(path: &Path) -> Vec<(String, Duration)> {
    let now_ms = now_ms();
    let current = |(name, block): (String, Block)| {
        let left = Duration::from_millis(left_ms(block, now_ms)).min(RETRY_AFTER_MAX);
        (!left.is_zero()).then_some((name, left))
    };
    load(path).into_iter().filter_map(current).collect()
}

fn load(path: &Path) -> Blocks {
    let text = read_file(path, BLOCKS_BYTES_MAX).unwrap_or_default();
    let stored: BTreeMap<String, Value> = serde_json::from_slice(&text).unwrap_or_default();
    stored.into_iter().filter_map(|(budget, block)| Some((budget, parsed(&block)?))).collect()
}

/// Files of earlier builds have the end only.
fn parsed(block: &Value) -> Option<Block> {
    match block.as_array().map(Vec::as_slice) {
        Some([until_ms, length_ms]) => Some((until_ms.as_i64()?, length_ms.as_u64()?)),
        Some(_) => None,
        None => Some((block.as_i64()?, u64::try_from(BAN_MAX.as_millis()).ok()?)),
    }
}

fn now_ms() -> i64 {
    clock::now_ns() / 1_000_000
}
