//! The watched folder: each component that appears or changes in it is loaded once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use marketprism_adapter_host::component_digest;
use marketprism_service::read_file;
use tokio::task::block_in_place;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::swaps::AdapterSwaps;
use crate::limits::{COMPONENT_BYTES_MAX, WATCH_EVERY};

/// Time and size of a file: equal ones are an equal file, and one that is equal twice in a row is complete.
type FileState = (SystemTime, u64);

/// Looks into the folder until `stop`.
pub(super) async fn watch_folder(folder: &Path, swaps: &AdapterSwaps, stop: &CancellationToken) {
    let mut watched =
        WatchedFolder { folder, seen: BTreeMap::new(), done: BTreeMap::new(), is_readable: true };
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
    /// Files that were loaded, or cannot be read.
    done: BTreeMap<PathBuf, FileState>,
    is_readable: bool,
}

impl WatchedFolder<'_> {
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
        for (path, state) in &files {
            let is_complete = before.get(path) == Some(state);
            if is_complete && self.done.get(path) != Some(state) && self.load(path, swaps) {
                self.done.insert(path.clone(), *state);
            }
        }
    }

    /// False: to be tried again.
    fn load(&self, path: &Path, swaps: &AdapterSwaps) -> bool {
        if swaps.is_running() {
            return false;
        }
        let file = path.display().to_string();
        match read_file(path, COMPONENT_BYTES_MAX) {
            // Tried before: an outcome changes with the file only.
            Ok(component) if swaps.knows(&component_digest(&component)) => true,
            Ok(component) => swaps.load(component.into(), BTreeSet::new(), &file).is_ok(),
            Err(error) => {
                tracing::warn!(file, %error, "new adapter not readable");
                true
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
