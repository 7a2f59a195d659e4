//! Raw frames on disk: by time, within bounds, behind damage, and on disks that fail.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use marketprism_edge::journal::{DiskFiles, JournalFiles, SegmentDamage};
use marketprism_edge::raw::{
    AdapterInUse, COMPONENTS, RawDeletion, RawLine, RawLoss, RawOptions, RawStatus, RawStore, RawStores,
    TimeSpan, raw_segments,
};
use marketprism_schema::{Line, RecordingKind};
use marketprism_service::clock;
use marketprism_tests::wait::{PATIENCE, eventually, until_blocking};

use crate::disks::{BadDisk, FailingDisk, FaultyDisk, FullDisk};

const OPTIONS: RawOptions =
    RawOptions { max_bytes: 4 << 20, max_age: Duration::from_secs(3_600), segment_bytes: 1 << 20 };

const LIST: &str = "http://venue/list";

fn open_on(folder: &Path, files: impl JournalFiles + 'static) -> RawStore {
    RawStore::start("sim_spot", folder.to_owned(), OPTIONS, Arc::new(files))
}

fn open(folder: &Path) -> RawStore {
    open_on(folder, DiskFiles)
}

fn frame(at_ns: i64, data: impl Into<Bytes>) -> RawLine {
    RawLine { at_ns, kind: RecordingKind::WsIn, conn: Some(1), url: None, data: Some(data.into()) }
}

/// More than one block has, and hardly smaller when compressed.
fn noise(seed: i64) -> String {
    let mut state = u64::try_from(seed).unwrap_or_default() | 1;
    let digit = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + u8::try_from((state >> 58) & 63).unwrap() % 64)
    };
    (0..600_000).map(digit).map(|one| if one == '\\' { '/' } else { one }).collect()
}

fn close(store: &RawStore) -> RawStatus {
    assert!(store.close(Instant::now() + Duration::from_secs(60)));
    store.status()
}

/// Times of the frames in a span, number of heads, damage.
fn read(folder: &Path, span: TimeSpan) -> (Vec<i64>, usize, u64) {
    let (mut times, mut heads, mut damaged) = (Vec::new(), 0, 0);
    for segment in raw_segments(folder, span).unwrap() {
        let damage = segment.read(span, |mut block| {
            let mut text = String::new();
            block.lines.read_to_string(&mut text)?;
            heads += usize::from(block.is_head);
            let lines = text.lines().filter(|_| !block.is_head).map(|line| Line::parse(line).unwrap().at);
            times.extend(lines);
            Ok::<_, io::Error>(())
        });
        let SegmentDamage { places, torn_bytes } = damage.unwrap();
        damaged += places + u64::from(torn_bytes > 0);
    }
    (times, heads, damaged)
}

fn segment_files(folder: &Path) -> Vec<std::path::PathBuf> {
    raw_segments(folder, TimeSpan::ALL).unwrap().into_iter().map(|segment| segment.path).collect()
}

fn lost(status: &RawStatus, loss: RawLoss) -> u64 {
    status.lost[loss as usize]
}

#[test]
fn frames_are_read_back_by_time_and_every_segment_has_the_state_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, now) = (open(dir.path()), clock::now_ns());
    store.push_state(RawLine::answer(LIST, &Bytes::from_static(b"old"), now));
    store.push_state(RawLine::answer(LIST, &Bytes::from_static(b"new"), now));
    for number in 1..=8 {
        store.push(frame(now + number, noise(number)));
    }
    store.push(frame(now + 9, vec![0xff]));
    let status = close(&store);
    assert_eq!((status.written, lost(&status, RawLoss::NotText)), (10, 1));
    let (times, heads, damaged) = read(dir.path(), TimeSpan::ALL);
    assert_eq!(times, [now, now].into_iter().chain(now + 1..=now + 8).collect::<Vec<_>>());
    let segments = segment_files(dir.path());
    assert!(segments.len() > 2, "{segments:?}");
    assert_eq!((heads, damaged), (segments.len() - 1, 0), "the newest answer only");
    let part = TimeSpan { from_ns: now + 3, to_ns: now + 5 };
    assert_eq!(read(dir.path(), part).0, [now + 3, now + 4]);
    let late = TimeSpan { from_ns: now + 3_600_000_000_000, to_ns: i64::MAX };
    assert_eq!(raw_segments(dir.path(), late).unwrap().len(), 1, "only the last one may go on");
}

#[test]
fn the_oldest_frames_make_room_by_bytes_and_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let (store, now) = (open(dir.path()), clock::now_ns());
    for number in 1..=20 {
        store.push(frame(now + number, noise(number)));
    }
    let status = close(&store);
    let on_disk: u64 = segment_files(dir.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(on_disk <= OPTIONS.max_bytes && status.bytes == on_disk, "{on_disk}: {status:?}");
    assert!(status.deleted[RawDeletion::Bytes as usize] > 0, "{status:?}");
    let times = read(dir.path(), TimeSpan::ALL).0;
    assert_eq!(times, (now + 21 - i64::try_from(times.len()).unwrap()..=now + 20).collect::<Vec<_>>());
    let old = tempfile::tempdir().unwrap();
    let store = open(old.path());
    store.push(frame(now - 3_601 * 1_000_000_000, "old"));
    let status = close(&store);
    assert_eq!((status.written, status.deleted[RawDeletion::Age as usize]), (1, 1), "{status:?}");
    assert!(segment_files(old.path()).is_empty());
}

#[test]
fn a_disk_that_hangs_costs_raw_frames_only_and_each_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let disk = BadDisk::default();
    disk.is_stuck.store(true, Ordering::Release);
    let store = open_on(dir.path(), FaultyDisk(disk.clone()));
    let data = Bytes::from(vec![b'x'; 1 << 20]);
    for number in 0..100 {
        store.push(frame(clock::now_ns() + number, data.clone()));
    }
    let status = store.status();
    assert!(lost(&status, RawLoss::QueueFull) >= 30, "{status:?}");
    let problem = status.problem("sim_spot").unwrap();
    assert!(problem.contains("raw frames lost"), "{problem}");
    disk.is_stuck.store(false, Ordering::Release);
    let status = close(&store);
    assert_eq!(status.written + lost(&status, RawLoss::QueueFull), 100);
    assert_eq!(u64::try_from(read(dir.path(), TimeSpan::ALL).0.len()).unwrap(), status.written);
}

#[test]
fn a_torn_tail_is_cut_and_a_flipped_byte_costs_its_block_only() {
    let dir = tempfile::tempdir().unwrap();
    let (store, now) = (open(dir.path()), clock::now_ns());
    for number in 1..=2 {
        store.push(frame(now + number, noise(number)));
    }
    close(&store);
    let path = segment_files(dir.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole[..], &whole[..whole.len() / 3]].concat()).unwrap();
    let store = open(dir.path());
    store.push(frame(now + 3, "third"));
    until_blocking("two segments", PATIENCE, || store.status().segments == 2);
    let second = open(dir.path());
    second.push(frame(now + 4, "of another process"));
    let refused = close(&second);
    assert_eq!((refused.written, lost(&refused, RawLoss::WriteFailed)), (0, 1), "{refused:?}");
    assert!(refused.failing.unwrap().contains("used by"));
    let status = close(&store);
    assert_eq!((status.torn_tails, status.damaged), (1, 0), "{status:?}");
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert_eq!(read(dir.path(), TimeSpan::ALL), (vec![now + 1, now + 2, now + 3], 0, 0));
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    fs::write(&path, flipped).unwrap();
    assert_eq!(read(dir.path(), TimeSpan::ALL), (vec![now + 2, now + 3], 0, 1));
}

#[test]
fn a_segment_of_another_version_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (store, now) = (open(dir.path()), clock::now_ns());
    store.push(frame(now + 1, "first"));
    close(&store);
    let path = segment_files(dir.path()).pop().unwrap();
    let mut other = fs::read(&path).unwrap();
    let magic = other[..4].to_vec();
    for at in 0..other.len() - 3 {
        if other[at..].starts_with(&magic) {
            other[at] ^= 1;
        }
    }
    fs::write(&path, &other).unwrap();
    let store = open(dir.path());
    store.push(frame(now + 2, "second"));
    let status = close(&store);
    assert_eq!((status.torn_tails, status.damaged, status.segments), (0, 1, 2), "{status:?}");
    assert_eq!(fs::read(&path).unwrap(), other);
    assert_eq!(read(dir.path(), TimeSpan::ALL).0, [now + 2]);
}

#[tokio::test]
async fn a_full_disk_gets_the_room_of_the_oldest_raw_frames_and_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (full, now) = (Arc::new(AtomicBool::new(false)), clock::now_ns());
    let store = open_on(dir.path(), FaultyDisk(FullDisk(Arc::clone(&full))));
    for number in 1..=6 {
        store.push(frame(now + number, noise(number)));
    }
    eventually("all are written", async || store.status().written == 6).await;
    full.store(true, Ordering::Release);
    store.push(frame(now + 7, noise(7)));
    eventually("the failure is reported", async || store.status().failing).await;
    eventually("the oldest is deleted", async || store.status().deleted[RawDeletion::DiskFull as usize] >= 1)
        .await;
    full.store(false, Ordering::Release);
    eventually("the disk is used again", async || {
        store.push(frame(now + 8, "small"));
        store.status().failing.is_none()
    })
    .await;
    let status = close(&store);
    assert!(lost(&status, RawLoss::WriteFailed) >= 1 && status.write_errors >= 1, "{status:?}");
    let (times, _, damaged) = read(dir.path(), TimeSpan::ALL);
    assert!(times.contains(&(now + 8)) && !times.contains(&(now + 1)) && damaged == 0, "{times:?}");
}

#[tokio::test]
async fn a_failing_disk_is_no_problem_any_more_once_no_feed_keeps_raw_frames() {
    let dir = tempfile::tempdir().unwrap();
    let stores = RawStores::new(dir.path(), Arc::new(FaultyDisk(FailingDisk)));
    let kept = stores.open("sim_spot", OPTIONS);
    kept.push(frame(clock::now_ns(), "lost"));
    let problem = || stores.statuses().iter().find_map(|(name, status)| status.problem(name));
    let is_failing = || stores.statuses().iter().any(|(_, status)| status.failing.is_some());
    eventually("the failure is reported", async || is_failing()).await;
    assert!(problem().is_some_and(|text| text.contains("not written")), "{:?}", problem());
    drop(kept);
    assert!(!is_failing(), "a reload has switched raw frames off: {:?}", problem());
    let again = stores.open("sim_spot", OPTIONS);
    assert!(is_failing(), "the disk has not taken a frame since");
    drop(again);
    assert_eq!(stores.close(Duration::from_secs(60)), [""; 0]);
}

#[test]
fn a_failed_append_leaves_no_empty_segment_and_costs_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let now = clock::now_ns();
    let store = open(dir.path());
    store.push(frame(now + 1, "first"));
    close(&store);
    let first = segment_files(dir.path());
    let store = open_on(dir.path(), FaultyDisk(FailingDisk));
    store.push(frame(now + 2, "second"));
    let status = close(&store);
    assert_eq!((lost(&status, RawLoss::WriteFailed), status.segments), (1, 1), "{status:?}");
    assert_eq!(segment_files(dir.path()), first);
}

#[test]
fn nothing_is_written_next_to_segments_that_cannot_be_read_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (now, later) = (clock::now_ns(), dir.path().join(format!("{:010}-{:019}.jsonl.zst", 500, 1)));
    fs::create_dir(&later).unwrap();
    let store = open(dir.path());
    until_blocking("failed writes", PATIENCE, || {
        store.push(frame(now, "lost"));
        store.status().write_errors >= 3
    });
    assert_eq!((store.status().written, segment_files(dir.path())), (0, vec![later.clone()]));
    fs::remove_dir(&later).unwrap();
    until_blocking("a frame is written", PATIENCE, || {
        store.push(frame(now + 1, "kept"));
        store.status().written > 0
    });
    assert!(close(&store).failing.is_none());
}

#[test]
fn a_component_that_cannot_be_copied_costs_no_frame() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(COMPONENTS), "no folder").unwrap();
    let component = dir.path().join("a.wasm");
    fs::write(&component, "a").unwrap();
    let digest = marketprism_adapter_host::component_digest(b"a");
    let (store, now) = (open(dir.path()), clock::now_ns());
    store.set_adapter(AdapterInUse { id: "sim 1".into(), digest, components: vec![component] }, now);
    until_blocking("the failed copy", PATIENCE, || store.status().component_errors > 0);
    store.push(frame(now + 1, "kept"));
    let status = close(&store);
    assert_eq!((status.written, lost(&status, RawLoss::WriteFailed)), (2, 0), "{status:?}");
    assert!(status.failing.is_none() && segment_files(dir.path()).len() == 1, "{status:?}");
}
