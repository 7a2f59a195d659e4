//! The watched folder: each component that appears or changes in it is loaded once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use marketprism_adapter_host::component_digest;
use marketprism_service::read_file;
use tokio::task::block_in_place;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::swaps::AdapterSwaps;
use crate::limits::{COMPONENT_BYTES_MAX, WATCH_EVERY, WATCH_RETRY};

/// Time and size of a file: equal ones are an equal file, and one that is equal twice in a row is complete.
type FileState = (SystemTime, u64);

/// Looks into the folder until `stop`.
pub(super) async fn watch_folder(folder: &Path, swaps: &AdapterSwaps, stop: &CancellationToken) {
    let mut watched = WatchedFolder::new(folder, WATCH_RETRY.0);
    while !stop.is_cancelled() {
        block_in_place(|| watched.look(swaps));
        tokio::select! {
            () = sleep(WATCH_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}

struct WatchedFolder<'a> {
    folder: &'a Path,
    seen: BTreeMap<PathBuf, FileState>,
    /// Files that were tried, or cannot be read.
    done: BTreeMap<PathBuf, FileState>,
    /// Files that were loaded, with the time of the next try: a feed that starts may have kept one from its trial.
    again: BTreeMap<PathBuf, (FileState, Instant, Duration)>,
    first_pause: Duration,
    is_readable: bool,
}

impl<'a> WatchedFolder<'a> {
    fn new(folder: &'a Path, first_pause: Duration) -> Self {
        let (seen, done, again) = Default::default();
        Self { folder, seen, done, again, first_pause, is_readable: true }
    }

    fn look(&mut self, swaps: &AdapterSwaps) {
        let files = match components(self.folder) {
            Ok(files) => files,
            Err(error) => {
                if std::mem::replace(&mut self.is_readable, false) {
                    let folder = self.folder.display().to_string();
                    tracing::warn!(folder, %error, "adapters.watch_dir not readable, it is looked into again");
                }
                return;
            }
        };
        self.is_readable = true;
        let before = std::mem::replace(&mut self.seen, files.clone());
        self.done.retain(|path, _| files.contains_key(path));
        self.again.retain(|path, (state, ..)| files.get(path) == Some(state));
        for (path, state) in &files {
            let is_complete = before.get(path) == Some(state);
            let is_early = self.again.get(path).is_some_and(|(_, next, _)| Instant::now() < *next);
            if is_complete && !is_early && self.done.get(path) != Some(state) {
                self.load(path, *state, swaps);
            }
        }
    }

    fn load(&mut self, path: &Path, state: FileState, swaps: &AdapterSwaps) {
        if swaps.is_running() {
            return;
        }
        let file = path.display().to_string();
        match read_file(path, COMPONENT_BYTES_MAX) {
            // Tried before: an outcome changes with the file only.
            Ok(component) if swaps.knows(&component_digest(&component)) => {
                self.done.insert(path.to_owned(), state);
            }
            Ok(component) => {
                if swaps.load(component.into(), BTreeSet::new(), &file).is_ok() {
                    let pause = self.again.get(path).map_or(self.first_pause, |(.., pause)| *pause);
                    let longer = pause.saturating_mul(2).min(WATCH_RETRY.1);
                    self.again.insert(path.to_owned(), (state, Instant::now() + pause, longer));
                }
            }
            Err(error) => {
                tracing::warn!(file, %error, "new adapter not readable");
                self.done.insert(path.to_owned(), state);
            }
        }
    }
}

fn components(folder: &Path) -> io::Result<BTreeMap<PathBuf, FileState>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            let data = fs::metadata(&path)?;
            files.insert(path, (data.modified()?, data.len()));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::super::record::{SwapOutcome, SwapStep};
    use super::*;

    #[test]
    fn a_file_without_a_running_feed_is_tried_again_and_a_refused_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("new.wasm"), "new").unwrap();
        let (swaps, mut requests) = AdapterSwaps::with_history(Vec::new());
        let mut watched = WatchedFolder::new(folder.path(), Duration::ZERO);
        let end = |step| {
            swaps.update(|record| record.step = step);
            swaps.end(swaps.ended(SwapOutcome::Refused, None).unwrap());
        };
        watched.look(&swaps);
        for step in [SwapStep::Feeds, SwapStep::Feeds, SwapStep::Shadow] {
            watched.again.values_mut().for_each(|(_, next, _)| *next = Instant::now());
            watched.look(&swaps);
            requests.try_recv().unwrap();
            end(step);
        }
        watched.again.values_mut().for_each(|(_, next, _)| *next = Instant::now());
        watched.look(&swaps);
        assert!(requests.try_recv().is_err(), "a refused component is not tried again");
        assert_eq!(swaps.history().len(), 1, "the tries without a feed are one record");
    }
}
