//! The quarantine directory stays within its bounds, and nothing leaves it uncounted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

use marketprism_adapter_host::{Fault, FaultCause, Frame, Origin, Quarantine, Suspect};

fn keep(quarantine: &Quarantine, at: i64, bytes: &[u8]) -> bool {
    let fault = Fault { cause: FaultCause::Trap, detail: "it trapped".into() };
    let origin = Origin::Rest { url: "http://venue/depth".into() };
    let frame = Frame { bytes, source: 3, received_at_ns: at };
    let suspect =
        Suspect { frame, origin: &origin, fault: &fault, adapter: "sim@1.0.0+0", exchange: "sim_spot" };
    quarantine.keep(&suspect).is_ok()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

// Goal: at most the set number of files, the oldest go first and are counted, also over a restart.
// Method: five frames into room for three, then a new quarantine with room for two over the same directory.
#[test]
fn the_oldest_files_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = Quarantine::open(dir.path(), 3, 1 << 20).unwrap();
    for at in 0..5 {
        assert!(keep(&quarantine, at, b"frame"));
    }
    assert!(keep(&quarantine, 4, b"frame"), "the same frame again");
    assert_eq!((quarantine.stored(), quarantine.deleted(), quarantine.files()), (6, 2, 3));
    assert!(names(dir.path())[0].starts_with("0000000000000000002-trap-"));
    std::fs::write(dir.path().join("half.part"), "x").unwrap();
    std::fs::write(dir.path().join("unrelated.txt"), "x").unwrap();
    let quarantine = Quarantine::open(dir.path(), 2, 1 << 20).unwrap();
    assert_eq!((quarantine.deleted(), quarantine.files()), (1, 2));
    assert!(keep(&quarantine, 9, b"frame"));
    let names = names(dir.path());
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names[0].starts_with("0000000000000000004-") && names[1].starts_with("0000000000000000009-"));
    assert_eq!(names[2], "unrelated.txt");
}

// Goal: the bytes of all files stay within the bound; a frame that alone is too large is refused and deletes
// nothing.
// Method: frames of a kilobyte into three kilobytes, then one of four.
#[test]
fn bytes_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = Quarantine::open(dir.path(), 100, 3_000).unwrap();
    for at in 0..10 {
        assert!(keep(&quarantine, at, &[b'x'; 1_000]));
        let total: u64 = names(dir.path()).iter().map(|n| dir.path().join(n).metadata().unwrap().len()).sum();
        assert!(total <= 3_000);
    }
    let before = names(dir.path());
    assert!(!keep(&quarantine, 11, &[b'x'; 4_000]));
    assert_eq!(names(dir.path()), before);
}

// Goal: a frame that is not text is kept exactly. Method: bytes that are not UTF-8 and their digits in the
// file.
#[test]
fn binary_frames_are_kept_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = Quarantine::open(dir.path(), 100, 1 << 20).unwrap();
    assert!(keep(&quarantine, 1, &[0xff, 0x00, 0x41]));
    let file = dir.path().join(&names(dir.path())[0]);
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!((&record["data_hex"], &record["kind"]), (&"ff0041".into(), &"rest".into()));
    assert_eq!((&record["url"], &record["at"]), (&"http://venue/depth".into(), &1.into()));
    assert_eq!((&record["cause"], &record["detail"]), (&"trap".into(), &"it trapped".into()));
}
