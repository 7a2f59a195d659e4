//! Copies of the components whose frames are kept: `replay` can take the version that normalized them after the edge has a newer one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use marketprism_adapter_host::component_digest;
use marketprism_service::read_file;

use super::shared::AdapterInUse;
use crate::limits::{COMPONENT_BYTES_MAX, RAW_COMPONENTS_MAX};

/// Folder inside that of an exchange.
pub const COMPONENTS: &str = "adapters";

pub fn component_path(folder: &Path, digest: &str) -> PathBuf {
    folder.join(COMPONENTS).join(format!("{digest}.wasm"))
}

/// False: none of the files is the component.
pub(super) fn keep_component(folder: &Path, adapter: &AdapterInUse) -> io::Result<bool> {
    let kept = component_path(folder, &adapter.digest);
    if kept.exists() {
        return Ok(true);
    }
    let read = |path: &PathBuf| read_file(path, COMPONENT_BYTES_MAX).ok();
    let mut components = adapter.components.iter().filter_map(read);
    let Some(component) = components.find(|bytes| component_digest(bytes) == adapter.digest) else {
        return Ok(false);
    };
    fs::create_dir_all(folder.join(COMPONENTS))?;
    // A kill must not leave a part of it under its name.
    let partial = kept.with_extension("partial");
    fs::write(&partial, component)?;
    fs::rename(&partial, &kept)?;
    remove_oldest(&folder.join(COMPONENTS))?;
    Ok(true)
}

fn remove_oldest(folder: &Path) -> io::Result<()> {
    let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        kept.push((entry.metadata()?.modified()?, entry.path()));
    }
    kept.sort_unstable();
    let surplus = kept.len().saturating_sub(RAW_COMPONENTS_MAX);
    for (_, path) in kept.into_iter().take(surplus) {
        tracing::warn!(?path, kept = RAW_COMPONENTS_MAX, "the oldest component of the raw frames is deleted");
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_kept_by_its_digest_and_the_oldest_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let (source, folder) = (dir.path().join("a.wasm"), dir.path().join("raw"));
        for number in 0..RAW_COMPONENTS_MAX + 2 {
            let bytes = number.to_string().into_bytes();
            let digest = component_digest(&bytes);
            let adapter =
                AdapterInUse { id: String::new(), digest: digest.clone(), components: vec![source.clone()] };
            assert!(!keep_component(&folder, &adapter).unwrap(), "the file is another one yet");
            fs::write(&source, &bytes).unwrap();
            assert!(keep_component(&folder, &adapter).unwrap());
            assert_eq!(fs::read(component_path(&folder, &digest)).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(folder.join(COMPONENTS)).unwrap().count(), RAW_COMPONENTS_MAX);
    }
}
