//! The segments of earlier runs: found by name, read in order, cut behind their last valid frame.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use marketprism_service::host_limit;

use super::checked::SegmentDamage;
use super::event_state::EventState;
use super::files::JournalFiles;
use super::frame::{Frame, FrameScanner};
use super::index::JournalIndex;
use super::killed_runs::KilledRunScan;
use super::segment_index::SegmentIndex;
use super::status::JournalStatus;

const EXTENSION: &str = "journal";

/// Positions that a segment which cannot be read may have used.
const UNREADABLE_POSITIONS: u64 = 1 << 32;

pub(super) fn path_of(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:020}.{EXTENSION}"))
}

/// First positions of all segments on disk, in order.
fn segments(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            found.extend(number);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Behind every position that is on disk.
pub(super) fn next_position(folder: &Path) -> u64 {
    let last = segments(folder).unwrap_or_else(|error| {
        tracing::error!(%error, ?folder, "journal not readable: events of earlier runs are not sent");
        Vec::new()
    });
    let Some(first) = last.last().copied() else { return 1 };
    let bytes = fs::read(path_of(folder, first)).ok().filter(|bytes| other_form(bytes).is_none());
    let Some(bytes) = bytes else { return first.saturating_add(UNREADABLE_POSITIONS) };
    let positions = FrameScanner::new(&bytes, 0).filter_map(|frame| match frame {
        Frame::Event(event) => Some(event.position),
        _ => None,
    });
    positions.max().unwrap_or(first).max(first).saturating_add(1)
}

/// Syncs what a killed run had only written: its loss in a later power cut would be that of older events than the newest.
pub(super) fn sync(folder: &Path, files: &dyn JournalFiles) {
    for path in segments(folder).unwrap_or_default().into_iter().map(|first| path_of(folder, first)) {
        if let Err(error) = files.sync(&path) {
            tracing::error!(%error, ?path, "segment of an earlier run not synced: a power cut may lose its newest events");
        }
    }
}

/// Reads until no limit of the host is in the way, which says nothing about the disk, or `wait` returns false.
fn read_patiently<T>(
    path: &Path,
    wait: &mut impl FnMut(&Path, &io::Error) -> bool,
    mut read: impl FnMut(&Path) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match read(path) {
            Err(error) if host_limit(&error).is_some() && wait(path, &error) => {}
            read => return read,
        }
    }
}

/// Reads every segment before `upto`: what was not known to be stored is to be sent again. `wait`: a limit of the host kept a file from being
/// read; false to go on without it.
pub(super) fn recover(
    folder: &Path,
    upto: u64,
    killed: &mut KilledRunScan,
    status: &mut JournalStatus,
    wait: &mut impl FnMut(&Path, &io::Error) -> bool,
) -> JournalIndex {
    let mut index = JournalIndex::new(upto);
    let found = read_patiently(folder, wait, segments).unwrap_or_else(|error| {
        tracing::error!(%error, ?folder, "journal not readable: events of earlier runs are not sent");
        status.read_errors += 1;
        Vec::new()
    });
    for first in found.into_iter().filter(|first| *first < upto) {
        let path = path_of(folder, first);
        match read_patiently(&path, wait, |path| fs::read(path)).map(|bytes| (other_form(&bytes), bytes)) {
            Ok((Some(form), _)) => {
                status.read_errors += 1;
                tracing::error!(
                    ?path,
                    form,
                    "journal segment of another version: its events are not sent and the file stays; the edge's README, Journal, says how they are sent"
                );
            }
            Ok((None, bytes)) => {
                let damage = replay(&mut index, killed, first, &bytes);
                note_damage(&path, damage, bytes.len(), status);
            }
            Err(error) => {
                status.read_errors += 1;
                tracing::error!(%error, ?path, "segment of the journal not readable, its events are not sent");
            }
        }
    }
    status.recovered = index.segments.iter().map(SegmentIndex::to_send).sum();
    index
}

/// Form of a file that another version wrote.
fn other_form(bytes: &[u8]) -> Option<String> {
    let mut scanner = FrameScanner::new(bytes, 0);
    let form = scanner.next().map_or_else(|| scanner.other_magic(), |_| None)?;
    Some(form.escape_ascii().to_string())
}

/// Frames in order: a note of stored events is for events before it.
fn replay(index: &mut JournalIndex, killed: &mut KilledRunScan, first: u64, bytes: &[u8]) -> SegmentDamage {
    let mut scanner = FrameScanner::new(bytes, 0);
    index.segments.push_back(SegmentIndex::new(first, 0));
    let (mut run_ns, mut places) = (0, 0);
    while let Some(frame) = scanner.next() {
        let is_damaged = std::mem::replace(&mut places, scanner.damage().places) != scanner.damage().places;
        let Some(segment) = index.segments.back_mut() else { break };
        match &frame {
            Frame::Segment { run_ns: of_segment, .. } => {
                (run_ns, segment.run_ns) = (*of_segment, *of_segment);
                killed.begin_segment(run_ns, first);
            }
            Frame::Event(event) => {
                segment.insert(event.position, event.data_type, event.received_at_ns, EventState::Unaudited);
            }
            other => index.replay(other),
        }
        killed.frame(run_ns, &frame, is_damaged);
    }
    let damage = scanner.damage();
    if let Some(segment) = index.segments.back_mut() {
        segment.bytes = u64::try_from(scanner.position()).unwrap_or(u64::MAX);
    }
    damage
}

fn note_damage(path: &Path, damage: SegmentDamage, length: usize, status: &mut JournalStatus) {
    let SegmentDamage { places, torn_bytes } = damage;
    if places > 0 {
        status.damaged += places;
        tracing::error!(
            ?path,
            places,
            "damaged records in the journal: their events are lost if they were not sent"
        );
    }
    if torn_bytes > 0 {
        status.torn_tails += 1;
        status.torn_bytes += torn_bytes;
        let whole = u64::try_from(length).unwrap_or(u64::MAX).saturating_sub(torn_bytes);
        let cut = OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(whole));
        let is_cut = cut.is_ok();
        tracing::warn!(?path, torn_bytes, is_cut, "torn tail of a segment cut: its last write did not end");
    }
}

#[cfg(test)]
mod tests {
    use marketprism_schema::DataType;

    use super::super::frame::{StreamAck, write_event, write_note, write_segment};
    use super::super::positions::PositionRange;
    use super::*;
    use crate::queue::EventRecord;

    /// Five trades, of which the first two were stored.
    fn segment(first: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_segment(&mut bytes, 9, first);
        for position in first + 1..first + 6 {
            write_event(&mut bytes, position, &EventRecord::fixture(position, DataType::Trade, "A-B"));
        }
        let ack = StreamAck { stream: 0, created_ns: 4, sequence: 70 };
        write_note(&mut bytes, EventState::Stored, &[ack], &[PositionRange { first: first + 1, count: 2 }]);
        bytes
    }

    #[test]
    fn what_was_not_stored_is_sent_again_and_a_torn_tail_is_cut_and_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_of(folder.path(), 1);
        let whole = segment(1);
        let torn = [&whole[..], &segment(30)[..40]].concat();
        fs::write(&path, &torn).unwrap();
        fs::write(path_of(folder.path(), 30), segment(30)).unwrap();
        assert_eq!(next_position(folder.path()), 36);
        let mut status = JournalStatus::default();
        let index = recover(folder.path(), 36, &mut KilledRunScan::default(), &mut status, &mut |_, _| false);
        // The header of the torn write is whole.
        assert_eq!((status.recovered, status.torn_tails, status.damaged), (6, 1, 0));
        assert_eq!(index.segments[0].count(EventState::Stored), 2);
        assert_eq!((index.segments[1].run_ns, index.streams[0].stored_max), (9, 70));
        let mut again = JournalStatus::default();
        recover(folder.path(), 36, &mut KilledRunScan::default(), &mut again, &mut |_, _| false);
        assert_eq!((again.recovered, again.torn_tails), (6, 0));
    }

    /// It was cut to nothing and deleted as a torn tail: what an edge of the version before had left unsent at an upgrade was lost.
    #[test]
    fn a_segment_of_another_version_stays_as_it_is_and_its_positions_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let mut other = segment(1);
        let starts = other.windows(4).enumerate().filter(|(_, bytes)| bytes == b"MPJ3");
        let starts: Vec<usize> = starts.map(|(at, _)| at).collect();
        starts.into_iter().for_each(|at| other[at + 3] = b'1');
        let path = path_of(folder.path(), 1);
        fs::write(&path, &other).unwrap();
        let next = next_position(folder.path());
        assert!(next > UNREADABLE_POSITIONS, "{next}");
        // What a killed run had not written whole, and what a power cut left of it.
        let (torn, zeros) = (path_of(folder.path(), 30), path_of(folder.path(), 40));
        fs::write(&torn, &segment(30)[..7]).unwrap();
        fs::write(&zeros, [0; 64]).unwrap();
        let mut status = JournalStatus::default();
        let index =
            recover(folder.path(), next, &mut KilledRunScan::default(), &mut status, &mut |_, _| false);
        assert_eq!(fs::read(&path).unwrap(), other);
        assert!(index.segments.iter().all(|segment| segment.first != 1), "it would be deleted");
        assert_eq!((status.read_errors, status.torn_tails, status.recovered), (1, 2, 0));
        for cut in [torn, zeros] {
            assert_eq!(fs::metadata(cut).unwrap().len(), 0);
        }
    }

    #[test]
    fn a_flipped_bit_costs_one_event_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = segment(1);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(path_of(folder.path(), 1), &bytes).unwrap();
        let mut status = JournalStatus::default();
        let index = recover(folder.path(), 99, &mut KilledRunScan::default(), &mut status, &mut |_, _| false);
        assert_eq!((status.damaged, status.torn_tails, status.recovered), (1, 0, 2));
        assert_eq!(index.segments[0].count(EventState::Stored), 2);
    }

    /// A start without a free file descriptor left whole segments out for all of its run.
    #[test]
    fn a_file_that_a_limit_of_the_host_keeps_from_being_read_is_read_again_and_a_broken_one_is_not() {
        for (code, expected) in [(libc::EMFILE, 3), (libc::EIO, 0)] {
            let (mut tries, mut waits) = (0, 0);
            let mut wait = |_: &Path, _: &io::Error| {
                waits += 1;
                true
            };
            let read = read_patiently(Path::new("1.journal"), &mut wait, |_| {
                tries += 1;
                if tries > 3 { Ok(tries) } else { Err(io::Error::from_raw_os_error(code)) }
            });
            assert_eq!((waits, read.is_ok()), (expected, expected > 0), "{code}");
        }
        let limit = || Err::<(), _>(io::Error::from_raw_os_error(libc::ENFILE));
        let closing = read_patiently(Path::new("1.journal"), &mut |_, _| false, |_| limit());
        assert!(closing.is_err(), "an edge that ends waits no longer");
    }

    #[test]
    fn an_empty_folder_begins_at_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(next_position(&folder.path().join("none")), 1);
        let mut status = JournalStatus::default();
        let index = recover(folder.path(), 1, &mut KilledRunScan::default(), &mut status, &mut |_, _| false);
        assert!(index.segments.is_empty());
    }
}
