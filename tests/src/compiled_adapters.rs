//! Adapters that an edge of a test has compiled, for the edges of later tests: compiling one takes about a second of processor time. Edges
//! verify what they find, so a damaged copy, or one of another build, is compiled again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use tempfile::TempDir;

use crate::parts;

/// Copies what is kept of these adapters into the folder of compiled adapters of an edge.
pub fn take(adapters: &BTreeSet<PathBuf>, compiled: &Path) {
    for kept in adapters.iter().filter_map(|adapter| kept_folder(adapter)).filter(|kept| kept.is_dir()) {
        fs::create_dir_all(compiled).unwrap();
        copy(&kept.join("."), compiled);
    }
}

/// Keeps what an edge that runs has compiled, unless it has several adapters: files do not say of which one they are.
pub fn keep(adapters: &BTreeSet<PathBuf>, compiled: &Path) {
    let Some(adapter) = adapters.first().filter(|_| adapters.len() == 1) else { return };
    let Some(kept) = kept_folder(adapter).filter(|kept| !is_current(kept, adapter)) else { return };
    fs::create_dir_all(kept.parent().unwrap()).unwrap();
    let new = TempDir::new_in(kept.parent().unwrap()).unwrap();
    let complete = new.path().join("compiled");
    if copy(compiled, &complete) {
        // Another test may do the same at this moment; either result is complete.
        let _ = fs::remove_dir_all(&kept);
        let _ = fs::rename(complete, kept);
    }
}

/// Beside the edge's binary; `None` for an adapter that a test has made for itself.
fn kept_folder(adapter: &Path) -> Option<PathBuf> {
    let is_built = adapter.parent()? == parts::root().join("target/adapters");
    let folder = parts::binary("marketprism-edge").with_file_name("compiled-adapters");
    is_built.then(|| folder.join(adapter.file_stem().unwrap()))
}

/// Compiled by this build of the edge, from this build of the adapter.
fn is_current(kept: &Path, adapter: &Path) -> bool {
    let changed = |path: &Path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
    let edge = parts::binary("marketprism-edge");
    changed(kept).is_some_and(|kept| {
        [changed(adapter), changed(&edge)].into_iter().all(|built| built < Some(kept))
    })
}

/// Incomplete if the source is replaced meanwhile.
fn copy(from: &Path, to: &Path) -> bool {
    Command::new("cp").arg("-a").args([from, to]).stderr(Stdio::null()).status().unwrap().success()
}
