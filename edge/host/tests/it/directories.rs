//! The directories of compiled adapters and of quarantined frames stay within their bounds.

use std::path::Path;

use marketprism_adapter_host::fixtures::{FixtureKind, component};
use marketprism_adapter_host::{
    Adapter, Engine, Fault, FaultCause, Frame, Limits, Quarantine, QuarantinedFrame,
};

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
fn compiled_adapters_of_earlier_builds_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let former = folder.path().join("modules/wasmtime-47.0.0");
    std::fs::create_dir_all(&former).unwrap();
    std::fs::write(former.join("compiled"), "x").unwrap();
    for _ in 0..2 {
        let engine = Engine::new(Some(folder.path())).unwrap();
        Adapter::from_bytes(&engine, &component(FixtureKind::WellBehaved), &Limits::default()).unwrap();
    }
    assert_eq!(
        names(folder.path()).len(),
        2,
        "the engine's folder and one digest: {:?}",
        names(folder.path())
    );
}

/// The engine trusts its files: damaged code ended the process with a segmentation fault, at each start.
#[test]
fn a_damaged_compiled_adapter_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = component(FixtureKind::WellBehaved);
    let load = || {
        let engine = Engine::new(Some(folder.path())).unwrap();
        Adapter::from_bytes(&engine, &bytes, &Limits::default()).unwrap();
        compiled(folder.path()).unwrap()
    };
    let whole = std::fs::read(load()).unwrap();
    let damage = |at: usize| {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x5a;
        damaged
    };
    let cut = whole[..whole.len() / 2].to_vec();
    for damaged in [damage(whole.len() / 2), damage(whole.len() - 100), cut, Vec::new()] {
        std::fs::write(compiled(folder.path()).unwrap(), damaged).unwrap();
        assert!(std::fs::read(load()).unwrap() == whole, "the damaged file was used");
    }
    // Written before a crash of the machine, its digest not.
    let mut entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let digest = entries.find(|path| path.extension().is_some()).unwrap();
    std::fs::remove_file(&digest).unwrap();
    std::fs::write(compiled(folder.path()).unwrap(), damage(100)).unwrap();
    assert!(std::fs::read(load()).unwrap() == whole && digest.exists());
}

/// The engine's file of the only component.
fn compiled(folder: &Path) -> Option<std::path::PathBuf> {
    std::fs::read_dir(folder).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        let is_file = path.is_file() && path.extension().is_none();
        if path.is_dir() { compiled(&path) } else { Some(path).filter(|_| is_file) }
    })
}

/// `check` once as root made a folder that the service could not use: it never started, for the sake of a second of compiling.
#[test]
fn a_cache_that_cannot_be_opened_or_cleaned_costs_compiling_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    // An entry in place of a compiled adapter that cannot be removed like one.
    let unclean = dir.path().join("unclean");
    let entry = unclean.join("engine/a/b/c/d");
    std::fs::create_dir_all(&entry).unwrap();
    for cache in [file, unclean] {
        let engine = Engine::new(Some(&cache)).unwrap();
        Adapter::from_bytes(&engine, &component(FixtureKind::WellBehaved), &Limits::default()).unwrap();
    }
    assert!(entry.is_dir());
}

fn store(quarantine: &Quarantine, at: i64, bytes: &[u8]) -> bool {
    let fault = Fault { cause: FaultCause::Trap, detail: "it trapped".into() };
    let frame = Frame { bytes, source: 3.into(), received_at_ns: at };
    let suspect = QuarantinedFrame {
        frame,
        connection: None,
        url: "http://venue/depth",
        fault: &fault,
        adapter: "sim@1.0.0+0",
        exchange: "sim_spot",
    };
    quarantine.store(&suspect).is_ok()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_oldest_files_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = Quarantine::open(dir.path(), 3, 1 << 20).unwrap();
    for at in 0..5 {
        assert!(store(&quarantine, at, b"frame"));
    }
    assert!(store(&quarantine, 4, b"frame"), "the same frame again");
    assert_eq!((quarantine.stored(), quarantine.deleted(), quarantine.files()), (6, 2, 3));
    assert!(names(dir.path())[0].starts_with("0000000000000000002-trap-"));
    std::fs::write(dir.path().join("half.part"), "x").unwrap();
    std::fs::write(dir.path().join("unrelated.txt"), "x").unwrap();
    let quarantine = Quarantine::open(dir.path(), 2, 1 << 20).unwrap();
    assert_eq!((quarantine.deleted(), quarantine.files()), (1, 2));
    assert!(store(&quarantine, 9, b"frame"));
    let names = names(dir.path());
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names[0].starts_with("0000000000000000004-") && names[1].starts_with("0000000000000000009-"));
    assert_eq!(names[2], "unrelated.txt");
}

#[test]
fn bytes_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = Quarantine::open(dir.path(), 100, 3_000).unwrap();
    for at in 0..10 {
        assert!(store(&quarantine, at, &[b'x'; 1_000]));
        let total: u64 = names(dir.path()).iter().map(|n| dir.path().join(n).metadata().unwrap().len()).sum();
        assert!(total <= 3_000);
    }
    let before = names(dir.path());
    assert!(!store(&quarantine, 11, &[b'x'; 4_000]));
    // Six bytes each in JSON: written up to the bound, and nothing of it stays.
    assert!(!store(&quarantine, 12, &[1; 600]));
    assert_eq!(names(dir.path()), before);
}

#[test]
fn binary_frames_are_kept_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = Quarantine::open(dir.path(), 100, 1 << 20).unwrap();
    assert!(store(&quarantine, 1, &[0xff, 0x00, 0x41]));
    let file = dir.path().join(&names(dir.path())[0]);
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!((&record["data_hex"], &record["kind"]), (&"ff0041".into(), &"rest".into()));
    assert_eq!((&record["url"], &record["at"]), (&"http://venue/depth".into(), &1.into()));
    assert_eq!((&record["cause"], &record["detail"]), (&"trap".into(), &"it trapped".into()));
}
