//! The directory of compiled adapters.

use std::path::Path;

use marketprism_adapter_host::fixtures::{FixtureKind, component};
use marketprism_adapter_host::{Adapter, Engine, Limits};

/// Number of compiled adapters; files with an extension are the cache's own.
fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| entry.path())
        .map(|path| if path.is_dir() { files(&path) } else { usize::from(path.extension().is_none()) })
        .sum()
}

#[test]
fn compiled_adapters_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("new/cache");
    let bytes = component(FixtureKind::WellBehaved);
    let mut kept = Vec::new();
    for _ in 0..2 {
        let engine = Engine::new(Some(&cache)).unwrap();
        Adapter::from_bytes(&engine, &bytes, &Limits::default()).unwrap();
        kept.push(files(&cache));
    }
    assert!(kept[0] > 0 && kept[0] == kept[1], "{kept:?} files");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(cache.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn an_unusable_cache_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Engine::new(Some(&file)).err().expect("a file is no directory").to_string();
    assert!(error.starts_with(&format!("compile cache {} cannot be used: ", file.display())), "{error}");
}
