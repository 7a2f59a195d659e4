//! Reads segments of raw frames by time.

use std::fs;
use std::io::{self, BufRead, ErrorKind};
use std::path::{Path, PathBuf};

use super::segment::blocks;
use crate::journal::SegmentDamage;

const EXTENSION: &str = ".jsonl.zst";

/// Frames of several connections are not in exact order: a segment may end with a frame older than the first one of the next.
const DISORDER_NS: i64 = 60 * 1_000_000_000;

/// Half-open; nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSpan {
    pub from_ns: i64,
    pub to_ns: i64,
}

impl TimeSpan {
    pub const ALL: Self = Self { from_ns: i64::MIN, to_ns: i64::MAX };

    pub const fn contains(&self, at_ns: i64) -> bool {
        self.from_ns <= at_ns && at_ns < self.to_ns
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawSegment {
    pub path: PathBuf,
    pub number: u64,
    /// Time at which it began.
    pub first_ns: i64,
    pub bytes: u64,
}

pub(super) fn segment_path(folder: &Path, number: u64, first_ns: i64) -> PathBuf {
    folder.join(format!("{number:010}-{first_ns:019}{EXTENSION}"))
}

/// Segments of a folder, in order; none if there is no such folder.
pub(super) fn all_segments(folder: &Path) -> io::Result<Vec<RawSegment>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(EXTENSION)?.split_once('-'));
        let Some((number, first_ns)) = name else { continue };
        if let (Ok(number), Ok(first_ns)) = (number.parse(), first_ns.parse()) {
            let bytes = fs::metadata(&path)?.len();
            found.push(RawSegment { path, number, first_ns, bytes });
        }
    }
    found.sort_unstable_by_key(|segment| segment.number);
    Ok(found)
}

/// Segments of a folder that may have frames of this time, in order.
pub fn raw_segments(folder: &Path, span: TimeSpan) -> io::Result<Vec<RawSegment>> {
    let all = all_segments(folder)?;
    let ends: Vec<i64> = all.iter().skip(1).map(|next| next.first_ns).chain([i64::MAX]).collect();
    let is_wanted = |segment: &RawSegment, end_ns: i64| {
        segment.first_ns.saturating_sub(DISORDER_NS) < span.to_ns
            && end_ns.saturating_add(DISORDER_NS) >= span.from_ns
    };
    let wanted = all.into_iter().zip(ends).filter(|(segment, end_ns)| is_wanted(segment, *end_ns));
    Ok(wanted.map(|(segment, _)| segment).collect())
}

/// Lines of a block.
pub struct RawBlock<'a> {
    /// State from before the segment, repeated: no frames.
    pub is_head: bool,
    pub lines: Box<dyn BufRead + 'a>,
}

impl RawSegment {
    /// Calls `show` for each whole block that may have lines of this time, and for the head. Gives what was damaged.
    pub fn read<E: From<io::Error>>(
        &self,
        span: TimeSpan,
        mut show: impl FnMut(RawBlock<'_>) -> Result<(), E>,
    ) -> Result<SegmentDamage, E> {
        let bytes = fs::read(&self.path)?;
        let mut scanner = blocks(&bytes);
        for block in scanner.by_ref() {
            let (entry, is_head) = (block.entry, block.entry.is_head);
            if is_head || (entry.first_ns < span.to_ns && entry.last_ns >= span.from_ns) {
                let decoder = zstd::stream::read::Decoder::with_buffer(block.data)?;
                show(RawBlock { is_head, lines: Box::new(io::BufReader::new(decoder)) })?;
            }
        }
        Ok(scanner.damage())
    }
}
