//! Reads recordings line by line.

use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use flate2::bufread::MultiGzDecoder;
use marketprism_schema::{Line, RecordingKind};
use marketprism_service::open_file;

use crate::journal::SegmentDamage;
use crate::raw::{RawSegment, TimeSpan, raw_segments};

/// Longest line: an instrument list of 64 MiB, escaped.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Files and folders of raw frames, in order.
pub struct Recordings {
    files: Vec<RecordingFile>,
    span: TimeSpan,
}

enum RecordingFile {
    Lines(PathBuf),
    Raw(RawSegment),
}

impl RecordingFile {
    fn path(&self) -> &Path {
        match self {
            Self::Lines(path) => path,
            Self::Raw(segment) => &segment.path,
        }
    }
}

/// Reads lines into one buffer.
#[derive(Default)]
struct LineReader {
    text: String,
    number: u64,
}

impl LineReader {
    /// False at the end.
    fn next(&mut self, reader: &mut dyn BufRead) -> anyhow::Result<bool> {
        self.text.clear();
        self.number += 1;
        let length = reader.take(LINE_BYTES_MAX + 1).read_line(&mut self.text)?;
        ensure!(length as u64 <= LINE_BYTES_MAX, "line is longer than {LINE_BYTES_MAX} bytes");
        Ok(length > 0)
    }
}

impl Recordings {
    /// Of a folder the segments that may have frames of the time.
    pub fn new(paths: &[PathBuf], span: TimeSpan) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for path in paths {
            if !path.is_dir() {
                files.push(RecordingFile::Lines(path.clone()));
                continue;
            }
            let segments = raw_segments(path, span).with_context(|| path.display().to_string())?;
            ensure!(!segments.is_empty(), "{}: no segment has raw frames of this time", path.display());
            files.extend(segments.into_iter().map(RecordingFile::Raw));
        }
        Ok(Self { files, span })
    }

    pub const fn span(&self) -> TimeSpan {
        self.span
    }

    /// Calls `show` for every line with the file's position and the line's number (from 1), also for those outside the time, which may hold
    /// what the others need. Lines without `wanted` are not parsed.
    pub fn each(
        &self,
        wanted: impl Fn(&str) -> bool,
        mut show: impl FnMut(usize, u64, &Line<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.scan(TimeSpan::ALL, wanted, |file, number, line, _| show(file, number, line))
    }

    /// As `each`, for the lines of the time.
    pub fn each_frame(
        &self,
        mut show: impl FnMut(usize, u64, &Line<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.scan(
            self.span,
            |_| true,
            |file, number, line, is_head| {
                if is_head || !self.span.contains(line.at) { Ok(()) } else { show(file, number, line) }
            },
        )
    }

    fn scan(
        &self,
        span: TimeSpan,
        wanted: impl Fn(&str) -> bool,
        mut show: impl FnMut(usize, u64, &Line<'_>, bool) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for (file, recording) in self.files.iter().enumerate() {
            let mut lines = LineReader::default();
            let path = recording.path().display();
            let mut read = |reader: &mut dyn BufRead, is_head: bool| -> anyhow::Result<()> {
                while lines.next(reader)? {
                    if lines.text.trim().is_empty() || !wanted(&lines.text) {
                        continue;
                    }
                    let line = Line::parse(&lines.text)?;
                    check(&line)?;
                    show(file, lines.number, &line, is_head)?;
                }
                // The end of a block is no line.
                lines.number -= 1;
                Ok(())
            };
            let scanned = match recording {
                RecordingFile::Lines(path) => open(path).and_then(|mut reader| read(&mut *reader, false)),
                RecordingFile::Raw(segment) => {
                    segment.read(span, |mut block| read(&mut *block.lines, block.is_head)).map(|damage| {
                        if damage != SegmentDamage::default() {
                            let SegmentDamage { places, torn_bytes } = damage;
                            tracing::warn!(%path, places, torn_bytes, "damaged raw frames are left out");
                        }
                    })
                }
            };
            scanned.with_context(|| format!("recording {path}:{}", lines.number))?;
        }
        Ok(())
    }

    pub fn path(&self, file: usize) -> &Path {
        self.files.get(file).map_or(Path::new("?"), RecordingFile::path)
    }
}

/// Opens a recording: plain, or compressed with gzip or Zstandard, by its first bytes.
fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    const BUFFER: usize = 1 << 20;
    let mut file = BufReader::with_capacity(BUFFER, open_file(path)?);
    // Editors put it before a text.
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    if file.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
        file.consume(BYTE_ORDER_MARK.len());
    }
    let form = match file.fill_buf()? {
        [0x1f, 0x8b, ..] => return Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            return Ok(Box::new(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(file)?)));
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
        [b'B', b'Z', b'h', ..] => "bzip2",
        // A segment of raw frames: its first frame is one that Zstandard skips.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            return Ok(Box::new(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(file)?)));
        }
        [b'P', b'K', 3, 4, ..] => "zip",
        [0x04, 0x22, 0x4d, 0x18, ..] => "lz4",
        _ => return Ok(Box::new(file)),
    };
    bail!("compressed with {form} (allowed: JSON lines, plain or compressed with gzip or Zstandard)")
}

fn check(line: &Line<'_>) -> anyhow::Result<()> {
    match line.kind {
        RecordingKind::Rest if line.url.is_none() => bail!("a rest line without url"),
        RecordingKind::WsIn | RecordingKind::Rest if line.data.is_none() => bail!("a line without data"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_may_be_compressed_and_other_forms_are_named() {
        let line = r#"{"at":1,"kind":"ws-in","conn":1,"data":"x"}"#;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, line.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        let members = [gzip.as_slice(), b"".as_slice(), gzip.as_slice()].concat();
        let zstd = zstd::encode_all(line.as_bytes(), 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let lines = |bytes: &[u8]| {
            let path = folder.path().join("recording");
            std::fs::write(&path, bytes).unwrap();
            let mut count = 0;
            let each = |_, _, _: &Line<'_>| {
                count += 1;
                Ok(())
            };
            Recordings::new(&[path], TimeSpan::ALL)?.each(|_| true, each).map(|()| count)
        };
        let marked = [b"\xef\xbb\xbf".as_slice(), line.as_bytes(), b"\r\n"].concat();
        assert_eq!([line.as_bytes(), &gzip, &zstd, &marked].map(|bytes| lines(bytes).unwrap()), [1; 4]);
        assert!(lines(&members).is_err(), "two values on one line: all members are read");
        let refusal = format!("{:#}", lines(b"PK\x03\x04...").unwrap_err());
        assert!(refusal.contains("compressed with zip (allowed: "), "{refusal}");
        assert!(lines(&gzip[..gzip.len() - 9]).is_err(), "cut off");
    }
}
