//! The disk of an edge: what of its journal was synced, power cuts, and delays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use marketprism_tests::edge::Edge;
use marketprism_tests::journal_file;
use marketprism_tests::process::run;
use rand::Rng as _;
use rand::rngs::StdRng;

const SOURCE: &str = include_str!("sync.c");

/// A library that is preloaded into an edge and notes each sync.
#[derive(Debug)]
pub struct WatchedDisk {
    folder: PathBuf,
    library: PathBuf,
    log: PathBuf,
    delay: PathBuf,
}

impl WatchedDisk {
    /// `folder`: the edge's.
    pub fn prepare(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name);
        let (source, library) = (file("sync.c"), file("sync.so"));
        std::fs::write(&source, SOURCE).unwrap();
        run(Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]));
        let (log, delay) = (file("sync.log"), file("sync.delay"));
        std::fs::write(&log, "").unwrap();
        std::fs::write(&delay, "0").unwrap();
        Self { folder: folder.to_owned(), library, log, delay }
    }

    /// `other`: a further library to preload.
    pub fn put_under(&self, edge: &mut Edge, other: Option<&str>) {
        let libraries: Vec<&str> = self.library.to_str().into_iter().chain(other).collect();
        edge.set_variable("LD_PRELOAD", &libraries.join(":"));
        edge.set_variable("SYNC_LOG", self.log.to_str().unwrap());
        edge.set_variable("SYNC_DELAY_FILE", self.delay.to_str().unwrap());
    }

    /// Time that each sync takes longer.
    pub fn set_delay_ms(&self, delay_ms: u64) {
        let written = self.folder.join("sync.delay.new");
        std::fs::write(&written, delay_ms.to_string()).unwrap();
        std::fs::rename(written, &self.delay).unwrap();
    }

    fn syncs(&self) -> Vec<SyncNote> {
        let note = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let mut number = || words.next().unwrap().parse().unwrap();
            let (length, at_ms) = (number(), number());
            SyncNote { length: u64::try_from(length).ok(), at_ms, path: words.next().unwrap().into() }
        };
        std::fs::read_to_string(&self.log).unwrap().lines().map(note).collect()
    }

    /// Synced bytes by file.
    fn synced(&self) -> BTreeMap<PathBuf, u64> {
        let mut lengths = BTreeMap::new();
        for SyncNote { length, path, .. } in self.syncs() {
            let longest: &mut u64 = lengths.entry(path).or_default();
            *longest = length.unwrap_or_default().max(*longest);
        }
        lengths
    }

    /// Milliseconds of a time in which the disk synced something.
    pub fn syncing_ms(&self, from_ms: i64, to_ms: i64) -> i64 {
        syncing_ms(&self.syncs(), (from_ms, to_ms))
    }

    /// The edge was killed: of what it had not synced, some bytes are kept at random, and zeros may follow. Returns the files that lost
    /// bytes, with what is left of them.
    pub fn cut_power(&self, journal: &Path, random: &mut StdRng) -> Vec<(PathBuf, u64)> {
        let synced = self.synced();
        let mut cut = Vec::new();
        for path in segments(journal) {
            let length = std::fs::metadata(&path).unwrap().len();
            let durable = synced.get(&path).copied().unwrap_or(0).min(length);
            let kept = durable + random.random_range(0..=length - durable);
            let zeros = if random.random_bool(0.3) { length } else { kept };
            if kept < length {
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                file.set_len(kept).and_then(|()| file.set_len(zeros)).unwrap();
                cut.push((path, kept));
            }
        }
        cut
    }
}

/// Begin or end of a sync.
#[derive(Debug)]
struct SyncNote {
    /// At the end: what is durable.
    length: Option<u64>,
    at_ms: i64,
    path: PathBuf,
}

fn syncing_ms(syncs: &[SyncNote], (from_ms, to_ms): (i64, i64)) -> i64 {
    let (mut running, mut since, mut sum) = (BTreeSet::new(), from_ms, 0);
    for SyncNote { length, at_ms, path } in syncs {
        let at_ms = (*at_ms).clamp(from_ms, to_ms);
        sum += if running.is_empty() { 0 } else { at_ms - since };
        since = at_ms;
        if length.is_some() {
            running.remove(path);
        } else {
            running.insert(path);
        }
    }
    // The last one may have been cut off.
    sum + if running.is_empty() { 0 } else { to_ms - since }
}

/// Segments of a journal, oldest first.
pub fn segments(folder: &Path) -> Vec<PathBuf> {
    // None before the first start.
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "journal"))
        .collect();
    found.sort();
    found
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournaledEvent {
    pub id: u128,
    pub received_at_ns: i64,
    /// End of its payload in the segment.
    end: u64,
}

/// Events in the segments of an edge that does not run.
#[derive(Debug)]
pub struct JournaledEvents {
    folder: PathBuf,
    /// By segment, deleted ones included: their events are in hot.
    segments: BTreeMap<PathBuf, (u64, Vec<JournaledEvent>)>,
}

impl JournaledEvents {
    pub const fn of(folder: PathBuf) -> Self {
        Self { folder, segments: BTreeMap::new() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn all(&self) -> impl Iterator<Item = &JournaledEvent> {
        self.segments.values().flat_map(|(_, events)| events)
    }

    /// Reads what was added.
    pub fn read(&mut self) {
        for path in segments(&self.folder) {
            let (read_to, events) = self.segments.entry(path.clone()).or_default();
            let mut bytes = Vec::new();
            let mut file = File::open(&path).unwrap();
            file.seek(SeekFrom::Start(*read_to)).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            let found: Vec<JournaledEvent> = events_in(&bytes, *read_to).collect();
            *read_to = found.last().map_or(*read_to, |event| event.end);
            events.extend(found);
        }
    }

    /// A power cut has left this much of a segment; returns what it cost.
    pub fn cut(&mut self, path: &Path, kept: u64) -> Vec<JournaledEvent> {
        let Some((read_to, events)) = self.segments.get_mut(path) else { return Vec::new() };
        *read_to = kept.min(*read_to);
        let left = events.partition_point(|event| event.end <= kept);
        events.split_off(left)
    }
}

fn events_in(bytes: &[u8], offset: u64) -> impl Iterator<Item = JournaledEvent> {
    journal_file::events_in(bytes).map(move |frame| {
        let (id, received_at_ns) = (frame.event_id, frame.received_at_ns);
        JournaledEvent { id, received_at_ns, end: offset + u64::try_from(frame.end).unwrap() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_syncs_counts_once_within_the_bounds_and_up_to_the_end_if_one_was_cut_off() {
        let note = |at_ms, path: &str, length| SyncNote { length, at_ms, path: path.into() };
        let syncs = [
            note(5, "a", None),
            note(20, "b", None),
            note(30, "a", Some(7)),
            note(40, "b", Some(9)),
            note(80, "a", None),
        ];
        let within = |from, to| syncing_ms(&syncs, (from, to));
        assert_eq!([within(0, 50), within(10, 35), within(50, 70), within(0, 100)], [35, 25, 0, 55]);
    }

    #[test]
    fn journaled_events_are_found_once_and_a_cut_takes_those_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("00001.journal");
        let event = |id: u8| {
            let mut body = vec![0; 62];
            body[0] = 1;
            body[25] = id;
            let length = u32::try_from(12 + body.len()).unwrap().to_le_bytes();
            [b"MPJ3".as_slice(), &length, &[0; 12], &body].concat()
        };
        let ids = |journaled: &JournaledEvents| journaled.all().map(|event| event.id).collect::<Vec<_>>();
        let first = [b"..", event(1).as_slice(), b"..MPJ3..", &event(2), b".."].concat();
        let mut journaled = JournaledEvents::of(folder.path().to_owned());
        std::fs::write(&path, [first.as_slice(), &event(3)[..40]].concat()).unwrap();
        journaled.read();
        assert_eq!(ids(&journaled), [1, 2]);
        std::fs::write(&path, [first.as_slice(), &event(3)].concat()).unwrap();
        journaled.read();
        assert_eq!(ids(&journaled), [1, 2, 3]);
        let lost = journaled.cut(&path, u64::try_from(first.len() + 10).unwrap());
        assert_eq!(lost.iter().map(|event| event.id).collect::<Vec<_>>(), [3]);
        assert_eq!(ids(&journaled), [1, 2]);
    }
}
