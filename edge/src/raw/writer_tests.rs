use std::sync::atomic::AtomicU32;
use std::sync::{Condvar, Mutex};

use super::super::shared::RawState;
use super::super::status::RawStatus;
use super::*;
use crate::journal::DiskFiles;

fn writer(folder: &std::path::Path) -> RawWriter {
    let hour = Duration::from_secs(3_600);
    let state = RawState {
        queue: VecDeque::new(),
        queued_bytes: 0,
        options: RawOptions { max_bytes: 1 << 20, max_age: hour, segment_bytes: 1 << 20 },
        is_closing: false,
        status: RawStatus::default(),
    };
    RawWriter::new(Arc::new(RawShared {
        exchange: "sim_spot".to_owned(),
        folder: folder.to_owned(),
        files: Arc::new(DiskFiles),
        state: Mutex::new(state),
        changed: Condvar::new(),
        last_connection: AtomicU32::new(0),
    }))
}

#[test]
fn frames_do_not_age_by_a_step_of_the_wall_clock() {
    let folder = tempfile::tempdir().unwrap();
    let (now_ns, hours_ns) = (clock::now_ns(), 2 * 3_600_000_000_000);
    let kept_after = |started_ns: i64| {
        let mut writer = writer(folder.path());
        writer.started.0 = started_ns;
        let at_ns = now_ns - hours_ns;
        let path = segment_path(folder.path(), 1, at_ns);
        writer.segments.push_back(KeptSegment { path, first_ns: at_ns, last_ns: at_ns, bytes: 1 });
        writer.sweep();
        writer.segments.len()
    };
    assert_eq!(kept_after(now_ns - hours_ns), 1, "two hours ahead of the time since the start");
    assert_eq!(kept_after(now_ns), 0);
}

#[test]
fn frames_age_by_the_time_that_passes_after_a_start_with_a_clock_that_was_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (now_ns, hour_ns) = (clock::now_ns(), 3_600_000_000_000);
    let mut writer = writer(folder.path());
    writer.started.0 = now_ns - 1_000 * hour_ns;
    let entry = BlockEntry { first_ns: now_ns, last_ns: now_ns, lines: 1, is_head: false };
    writer.append(&entry, b"{}").unwrap();
    writer.sweep();
    assert_eq!(writer.segments.len(), 1);
    writer.started.0 += 2 * hour_ns;
    writer.sweep();
    assert_eq!(writer.segments.len(), 0);
}
