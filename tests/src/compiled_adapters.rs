//! Adapters that an edge of a test has compiled, for the edges of later tests: compiling one takes about a second of processor time. Edges
//! verify what they find, so a damaged copy, or one of another build, is compiled again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use tempfile::TempDir;

use crate::parts;

/// Copies what is kept of these adapters, together or alone, into the folder of compiled adapters of an edge.
pub fn take(adapters: &BTreeSet<PathBuf>, compiled: &Path) {
    let found =
        |adapters: &BTreeSet<PathBuf>| kept_folder(adapters).filter(|kept| is_current(kept, adapters));
    let alone = |one: &PathBuf| found(&BTreeSet::from([one.clone()]));
    let kept: Vec<PathBuf> = match found(adapters) {
        Some(kept) => vec![kept],
        None => adapters.iter().filter_map(alone).collect(),
    };
    for kept in kept {
        fs::create_dir_all(compiled).unwrap();
        copy(&kept.join("."), compiled);
    }
}

/// Keeps what an edge that runs has compiled of its adapters.
pub fn keep(adapters: &BTreeSet<PathBuf>, compiled: &Path) {
    let Some(kept) = kept_folder(adapters).filter(|kept| !is_current(kept, adapters)) else { return };
    fs::create_dir_all(kept.parent().unwrap()).unwrap();
    let new = TempDir::new_in(kept.parent().unwrap()).unwrap();
    let complete = new.path().join("compiled");
    if copy(compiled, &complete) {
        // Another test may do the same at this moment; either result is complete.
        let _ = fs::remove_dir_all(&kept);
        let _ = fs::rename(complete, kept);
    }
}

/// Beside the edge's binary; `None` with an adapter that a test has made for itself.
fn kept_folder(adapters: &BTreeSet<PathBuf>) -> Option<PathBuf> {
    let built = parts::root().join("target/adapters");
    let name = |adapter: &PathBuf| {
        let stem = adapter.file_stem()?.to_str()?;
        (adapter.parent()? == built).then(|| stem.to_owned())
    };
    let names: Vec<String> = adapters.iter().map(name).collect::<Option<_>>()?;
    let folder = parts::binary("marketprism-edge").with_file_name("compiled-adapters");
    (!names.is_empty()).then(|| folder.join(names.join("+")))
}

/// Compiled by this build of the edge, from this build of the adapters.
fn is_current(kept: &Path, adapters: &BTreeSet<PathBuf>) -> bool {
    let changed = |path: &Path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
    let edge = parts::binary("marketprism-edge");
    let mut sources = adapters.iter().chain([&edge]);
    changed(kept).is_some_and(|kept| sources.all(|source| changed(source) < Some(kept)))
}

/// Incomplete if the source is replaced meanwhile.
fn copy(from: &Path, to: &Path) -> bool {
    Command::new("cp").arg("-a").args([from, to]).stderr(Stdio::null()).status().unwrap().success()
}
