//! The watched folder: each content of a component's file in it is loaded once, also one that ran before. What was tried is on disk as long as
//! its file is there, so that a restart repeats nothing and no history has to reach back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use marketprism_adapter_host::component_digest;
use marketprism_service::{FileStamp, read_file, replace_file};
use tokio::task::block_in_place;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::swaps::{AdapterSwaps, FileAttempt};
use crate::limits::{COMPONENT_BYTES_MAX, WATCH_EVERY, WATCH_RETRY, WATCHED_FILES_MAX};

/// Looks into the folder until `stop`. `state` is the file of what was tried.
pub(super) async fn watch_folder(
    folder: &Path,
    state: PathBuf,
    swaps: &AdapterSwaps,
    stop: &CancellationToken,
) {
    let mut watched = block_in_place(|| WatchedFolder::open(folder, state, WATCH_RETRY.0));
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
    state: PathBuf,
    /// Digest of the content that was tried last, by file.
    tried: BTreeMap<PathBuf, String>,
    /// `None`: before the first look.
    files: Option<BTreeMap<PathBuf, WatchedFile>>,
    first_pause: Duration,
    is_readable: bool,
    is_bounded: bool,
}

/// A content of a file.
struct WatchedFile {
    /// One that is equal twice in a row is that of a complete file.
    stamp: FileStamp,
    /// Changes of adapters from this number on may be its own.
    since: u64,
    /// Tried, or not readable.
    is_done: bool,
    /// A feed that starts may have kept it from its trial: time of the next try, and the pause after it.
    again: Option<Instant>,
    pause: Duration,
}

impl<'a> WatchedFolder<'a> {
    fn open(folder: &'a Path, state: PathBuf, first_pause: Duration) -> Self {
        let tried = read_file(&state, COMPONENT_BYTES_MAX).map(|bytes| serde_json::from_slice(&bytes));
        let tried = match tried {
            Ok(Ok(tried)) => tried,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            unreadable => {
                let file = state.display().to_string();
                tracing::error!(file, ?unreadable, "files tried before not readable: each is tried again");
                BTreeMap::new()
            }
        };
        Self { folder, state, tried, files: None, first_pause, is_readable: true, is_bounded: true }
    }

    fn look(&mut self, swaps: &AdapterSwaps) {
        let mut found = match components(self.folder) {
            Ok(found) => found,
            Err(error) => {
                if std::mem::replace(&mut self.is_readable, false) {
                    let folder = self.folder.display().to_string();
                    tracing::warn!(folder, %error, "adapters.watch_dir not readable, it is looked into again");
                }
                return;
            }
        };
        self.is_readable = true;
        self.bound(&mut found);
        self.forget(|path| found.contains_key(path));
        let (before, next) = (self.files.take(), swaps.next_number());
        // Changes before the start may be of the files that are there then.
        let since = if before.is_some() { next } else { 0 };
        let (mut before, mut files) = (before.unwrap_or_default(), BTreeMap::new());
        for (path, stamp) in found {
            let known = before.remove(&path).filter(|file| file.stamp == stamp);
            let is_complete = known.is_some();
            let new = || WatchedFile { stamp, since, is_done: false, again: None, pause: self.first_pause };
            let mut file = known.unwrap_or_else(new);
            let is_early = file.again.is_some_and(|next| Instant::now() < next);
            if is_complete && !is_early && !file.is_done && !swaps.is_running() {
                self.load(&path, &mut file, swaps);
            }
            files.insert(path, file);
        }
        self.files = Some(files);
    }

    /// The first files by name are looked at.
    fn bound(&mut self, found: &mut BTreeMap<PathBuf, FileStamp>) {
        let count = found.len();
        while found.len() > WATCHED_FILES_MAX {
            found.pop_last();
        }
        let was_bounded = std::mem::replace(&mut self.is_bounded, count <= WATCHED_FILES_MAX);
        if was_bounded && !self.is_bounded {
            let (folder, allowed) = (self.folder.display().to_string(), WATCHED_FILES_MAX);
            tracing::warn!(
                folder,
                count,
                allowed,
                "too many files in adapters.watch_dir, the last by name are not loaded"
            );
        }
    }

    fn load(&mut self, path: &Path, file: &mut WatchedFile, swaps: &AdapterSwaps) {
        let source = path.display().to_string();
        let component = match read_file(path, COMPONENT_BYTES_MAX) {
            Ok(component) => component,
            Err(error) => {
                tracing::warn!(file = source, %error, "new adapter not readable");
                file.is_done = true;
                return;
            }
        };
        let digest = component_digest(&component);
        if self.tried.get(path) == Some(&digest) {
            file.is_done = true;
        } else if swaps.attempt(&source, &digest, file.since) == FileAttempt::Ended {
            file.is_done = true;
            self.tried.insert(path.to_owned(), digest);
            self.write();
        } else if swaps.load(component.into(), BTreeSet::new(), &source).is_ok() {
            file.again = Some(Instant::now() + file.pause);
            file.pause = file.pause.saturating_mul(2).min(WATCH_RETRY.1);
        }
    }

    /// A removed file may come again.
    fn forget(&mut self, is_there: impl Fn(&PathBuf) -> bool) {
        let count = self.tried.len();
        self.tried.retain(|path, _| is_there(path));
        if self.tried.len() < count {
            self.write();
        }
    }

    fn write(&self) {
        let written = serde_json::to_vec(&self.tried).map_err(io::Error::from).and_then(|bytes| {
            fs::create_dir_all(self.state.parent().unwrap_or_else(|| Path::new(".")))?;
            replace_file(&self.state, &bytes)
        });
        if let Err(error) = written {
            let file = self.state.display().to_string();
            tracing::warn!(file, %error, "files tried not stored: a restart may try them again");
        }
    }
}

fn components(folder: &Path) -> io::Result<BTreeMap<PathBuf, FileStamp>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            let stamp = FileStamp::of(&path)?;
            files.insert(path, stamp);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use tokio::sync::mpsc::Receiver;

    use super::super::record::{SwapOutcome, SwapStep};
    use super::super::swaps::SwapRequest;
    use super::*;

    struct Watching<'a> {
        folder: &'a Path,
        watched: WatchedFolder<'a>,
        swaps: AdapterSwaps,
        requests: Receiver<SwapRequest>,
    }

    impl<'a> Watching<'a> {
        fn start(folder: &'a Path, history: Vec<super::super::record::SwapRecord>) -> Self {
            let (swaps, requests) = AdapterSwaps::with_history(history);
            let watched = WatchedFolder::open(folder, folder.join("watched.json"), Duration::ZERO);
            Self { folder, watched, swaps, requests }
        }

        fn restarted(self) -> Self {
            Self::start(self.folder, self.swaps.history())
        }

        fn put(&self, content: &str) {
            fs::write(self.folder.join("new.wasm"), content).unwrap();
        }

        /// Looks until a file that has changed is complete. The digest that is loaded is that of this content.
        fn loads(&mut self, content: Option<&str>) {
            for _ in 0..3 {
                self.watched.look(&self.swaps);
            }
            let running = self.swaps.history().pop().filter(|record| record.outcome == SwapOutcome::Running);
            let digest = running.map(|record| record.digest);
            assert_eq!(digest, content.map(|content| component_digest(content.as_bytes())), "{content:?}");
            assert_eq!(self.requests.try_recv().is_ok(), content.is_some());
        }

        fn end(&self, step: SwapStep, outcome: SwapOutcome) {
            self.swaps.update(|record| record.step = step);
            self.swaps.end(self.swaps.ended(outcome, None).unwrap());
        }
    }

    #[test]
    fn a_file_without_a_running_feed_is_tried_again_and_a_refused_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut watching = Watching::start(folder.path(), Vec::new());
        watching.put("new");
        for step in [SwapStep::Feeds, SwapStep::Feeds, SwapStep::Shadow] {
            watching.loads(Some("new"));
            watching.end(step, SwapOutcome::Refused);
        }
        watching.loads(None);
        assert_eq!(watching.swaps.history().len(), 1, "the tries without a feed are one record");
        watching.restarted().loads(None);
    }

    #[test]
    fn an_older_version_that_is_put_there_again_is_loaded_and_a_restart_loads_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut watching = Watching::start(folder.path(), Vec::new());
        for content in ["version 1", "version 2, longer", "version 1", "version 3 is it"] {
            watching.put(content);
            watching.loads(Some(content));
            watching.end(SwapStep::Done, SwapOutcome::Promoted);
            watching.loads(None);
        }
        // The history has nothing of it any more.
        watching = Watching::start(folder.path(), Vec::new());
        watching.loads(None);
        watching.put("version 1");
        watching.loads(Some("version 1"));
        watching.end(SwapStep::Done, SwapOutcome::Promoted);
        watching.loads(None);
        fs::remove_file(folder.path().join("new.wasm")).unwrap();
        watching.loads(None);
        watching.put("version 1");
        watching.loads(Some("version 1"));
    }

    #[test]
    fn a_change_that_the_stop_ended_is_made_after_the_restart_but_not_over_a_later_version() {
        let folder = tempfile::tempdir().unwrap();
        let mut watching = Watching::start(folder.path(), Vec::new());
        watching.put("new");
        watching.loads(Some("new"));
        watching.end(SwapStep::Shadow, SwapOutcome::Stopped);
        watching = watching.restarted();
        watching.loads(Some("new"));
        watching.end(SwapStep::Shadow, SwapOutcome::Stopped);
        watching.swaps.load(b"later".as_slice().into(), BTreeSet::new(), "http").unwrap();
        watching.end(SwapStep::Done, SwapOutcome::Promoted);
        watching = watching.restarted();
        watching.loads(None);
    }

    /// As components from archives and images without times.
    #[test]
    fn a_version_of_the_same_length_and_time_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let mut watching = Watching::start(folder.path(), Vec::new());
        for content in ["version 1", "version 2"] {
            let new = folder.path().join("new");
            fs::write(&new, content).unwrap();
            fs::File::options().write(true).open(&new).unwrap().set_modified(UNIX_EPOCH).unwrap();
            fs::rename(&new, folder.path().join("new.wasm")).unwrap();
            watching.loads(Some(content));
            watching.end(SwapStep::Done, SwapOutcome::Promoted);
            watching.loads(None);
        }
    }

    #[test]
    fn a_change_before_a_kill_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let mut watching = Watching::start(folder.path(), Vec::new());
        watching.put("new");
        watching.loads(Some("new"));
        watching.end(SwapStep::Probation, SwapOutcome::RolledBack);
        assert!(!folder.path().join("watched.json").exists(), "killed before the next look");
        watching.restarted().loads(None);
    }
}
