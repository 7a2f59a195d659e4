//! Reads recordings line by line, and matches recorded answers to requests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use flate2::bufread::MultiGzDecoder;
use marketprism_adapter_host::contract::{Answer, Feed, Request};
use marketprism_adapter_host::{InstrumentRounds, Limits, Sandbox};
use marketprism_schema::{Line, RecordingKind};
use marketprism_service::open_file;
use url::Url;

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

/// A cheap check before parsing: true for all answers to requests, and for some other lines.
pub(super) fn may_be_answer(text: &str) -> bool {
    let head = text.get(..text.len().min(512)).unwrap_or(text);
    head.contains("\"rest\"")
}

fn check(line: &Line<'_>) -> anyhow::Result<()> {
    match line.kind {
        RecordingKind::Rest if line.url.is_none() => bail!("a rest line without url"),
        RecordingKind::WsIn | RecordingKind::Rest if line.data.is_none() => bail!("a line without data"),
        _ => Ok(()),
    }
}

/// Parameters in which instrument lists of one path differ: contents, and page.
const KEY_PARAMETERS: [&str; 9] =
    ["symbol", "instId", "instrument_name", "currency", "instType", "category", "kind", "cursor", "uly"];

/// Parameters that adapters of before named otherwise, with the name of today: recordings stay readable.
const RENAMED: [(&str, &str); 1] = [("instFamily", "uly")];

pub(super) fn instrument_answers(
    adapter: &mut Sandbox,
    feed: &Feed,
    limits: &Limits,
    recordings: &Recordings,
) -> anyhow::Result<Vec<Answer>> {
    let mut rounds = InstrumentRounds::new(limits);
    loop {
        let requests = rounds.next(adapter, feed)?;
        if requests.is_empty() {
            break;
        }
        let bodies = recorded(&requests, recordings)?;
        let before = rounds.answers().len();
        let mut missing = Vec::new();
        for (position, (bodies, request)) in bodies.into_iter().zip(&requests).enumerate() {
            if bodies.is_empty() {
                missing.push(request.url.as_str());
            }
            for body in bodies {
                rounds.answer(position, body)?;
            }
        }
        if rounds.answers().is_empty() {
            bail!("the recording has no answer to the adapter's instrument requests: {}", missing.join(", "));
        }
        if !missing.is_empty() {
            let missing = missing.join(", ");
            tracing::warn!(
                missing,
                "the recording lacks answers to instrument requests, instruments may be missing"
            );
        }
        if rounds.answers().len() == before {
            break;
        }
    }
    Ok(rounds.into_answers())
}

/// Per request: the newest answer to the same request before the time, or else the first one, or else all answers to requests for a part of it, such as the lists of single
/// currencies for the list of any currency.
fn recorded(requests: &[Request], recordings: &Recordings) -> anyhow::Result<Vec<Vec<Vec<u8>>>> {
    let matcher = RequestMatcher::new(requests.iter().map(|request| request.url.as_str()), &KEY_PARAMETERS);
    let mut exact: Vec<Option<Vec<u8>>> = vec![None; requests.len()];
    let mut loose: Vec<Vec<Vec<u8>>> = vec![Vec::new(); requests.len()];
    let from_ns = recordings.span().from_ns;
    recordings.each(may_be_answer, |_, _, line| {
        let (Some(url), Some(data), RecordingKind::Rest) = (line.url.as_deref(), &line.data, line.kind)
        else {
            return Ok(());
        };
        let body = || data.as_bytes().to_vec();
        match matcher.find(url).and_then(|index| exact.get_mut(index)) {
            Some(found) if line.at <= from_ns => *found = Some(body()),
            Some(found) => {
                found.get_or_insert_with(body);
            }
            None => {
                for (request, found) in requests.iter().zip(&mut loose) {
                    if is_part_of(&request.url, url, &KEY_PARAMETERS) {
                        found.push(body());
                    }
                }
            }
        }
        Ok(())
    })?;
    let chosen = |(exact, loose): (Option<Vec<u8>>, Vec<Vec<u8>>)| exact.map_or(loose, |body| vec![body]);
    Ok(exact.into_iter().zip(loose).map(chosen).collect())
}

/// Value of a parameter that includes every other value.
const ANY: &str = "any";

/// Parameter for a page of a list.
const PAGE: &str = "cursor";

/// Requests match by path and by the parameters that identify them: key parameters, and those in which requests of one path differ.
/// Host and other parameters are ignored: a recording may come from another server, or have another depth.
#[derive(Debug)]
pub(super) struct RequestMatcher {
    requests: Vec<RequestKey>,
    /// Identifying parameters per path.
    identifying: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug)]
struct RequestKey {
    path: String,
    parameters: BTreeMap<String, String>,
}

impl RequestKey {
    fn parse(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let renamed = |key: &str| RENAMED.iter().find(|(before, _)| *before == key).map(|(_, now)| *now);
        let parameters = url
            .query_pairs()
            .map(|(key, value)| (renamed(&key).unwrap_or(&*key).to_owned(), value.into_owned()));
        Some(Self { path: url.path().to_owned(), parameters: parameters.collect() })
    }
}

impl RequestMatcher {
    /// An address that is no URL matches nothing.
    pub(super) fn new<'a>(urls: impl Iterator<Item = &'a str>, keys: &[&str]) -> Self {
        let empty = || RequestKey { path: String::new(), parameters: BTreeMap::new() };
        let requests: Vec<RequestKey> =
            urls.map(|url| RequestKey::parse(url).unwrap_or_else(empty)).collect();
        let mut values: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
        for request in &requests {
            let of_path = values.entry(&request.path).or_default();
            for (name, value) in &request.parameters {
                of_path.entry(name).or_default().insert(value);
            }
        }
        let differing = |parameters: BTreeMap<&str, BTreeSet<&str>>| -> BTreeSet<String> {
            let differing = parameters.into_iter().filter(|(_, values)| values.len() > 1);
            differing.map(|(name, _)| name).chain(keys.iter().copied()).map(str::to_owned).collect()
        };
        let identifying =
            values.into_iter().map(|(path, parameters)| (path.to_owned(), differing(parameters))).collect();
        Self { requests, identifying }
    }

    /// Position of the request that an answer from this address belongs to.
    pub(super) fn find(&self, url: &str) -> Option<usize> {
        let answer = RequestKey::parse(url)?;
        self.requests.iter().position(|request| self.fits(request, &answer))
    }

    fn fits(&self, request: &RequestKey, answer: &RequestKey) -> bool {
        // A server may serve a venue's paths below a prefix.
        let same_path = !request.path.is_empty() && answer.path.ends_with(&request.path);
        let Some(identifying) = self.identifying.get(&request.path).filter(|_| same_path) else {
            return false;
        };
        identifying.iter().all(|name| request.parameters.get(name) == answer.parameters.get(name))
    }
}

/// True if an answer is (a part of) the answer to a request: same path, same page, and no parameter among `keys` with another value.
pub(super) fn is_part_of(request: &str, answer: &str, keys: &[&str]) -> bool {
    let (Some(request), Some(answer)) = (RequestKey::parse(request), RequestKey::parse(answer)) else {
        return false;
    };
    let agree = |name: &&str| match (request.parameters.get(*name), answer.parameters.get(*name)) {
        (Some(asked), Some(given)) => asked == given || asked == ANY,
        (None, None) => true,
        _ => *name != PAGE,
    };
    !request.path.is_empty() && answer.path.ends_with(&request.path) && keys.iter().all(agree)
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

    #[test]
    fn an_answer_matches_the_request_of_its_path_and_symbol_whatever_its_host_prefix_and_depth() {
        let urls = [
            "https://a.example/api/v3/depth?symbol=AB&limit=5000",
            "https://a.example/api/v3/depth?symbol=CD&limit=5000",
            "https://a.example/api/v5/instruments?instType=SPOT",
            "https://a.example/api/v5/instruments?instType=SWAP",
            "https://a.example/api/v3/exchangeInfo",
        ];
        let requests = RequestMatcher::new(urls.into_iter(), &["symbol"]);
        for (url, found) in [
            ("http://127.0.0.1:9/sim_spot/api/v3/depth?symbol=CD&limit=1000", Some(1)),
            ("https://b.example/api/v3/depth?limit=10&symbol=AB", Some(0)),
            ("https://b.example/api/v3/depth?symbol=EF", None),
            ("https://b.example/api/v3/depth", None),
            ("https://b.example/api/v5/instruments?instType=SWAP&x=1", Some(3)),
            ("https://b.example/api/v5/instruments?instType=OPTION", None),
            ("https://b.example/api/v3/exchangeInfo?permissions=SPOT", Some(4)),
            ("https://b.example/xapi/v3/exchangeInfo", None),
            ("nonsense", None),
        ] {
            assert_eq!(requests.find(url), found, "{url}");
        }
    }

    /// Each list of today got the answers of all families, and each option was there as often as there are families.
    #[test]
    fn the_lists_of_a_recording_from_before_a_parameter_was_renamed_are_told_apart() {
        let lists = ["BTC-USD", "ETH-USD"];
        let lists = lists.map(|of| format!("https://a.example/instruments?instType=OPTION&uly={of}"));
        let requests = RequestMatcher::new(lists.iter().map(String::as_str), &KEY_PARAMETERS);
        let recorded = |family| format!("https://a.example/instruments?instType=OPTION&instFamily={family}");
        let found = ["BTC-USD", "ETH-USD", "SOL-USD"].map(|family| requests.find(&recorded(family)));
        assert_eq!(found, [Some(0), Some(1), None]);
        assert!(!is_part_of(&lists[0], &recorded("SOL-USD"), &KEY_PARAMETERS));
    }

    #[test]
    fn a_list_of_one_currency_is_a_part_of_the_list_of_any_but_no_page_or_kind_of_another() {
        let identifying = ["currency", "kind", "cursor"];
        let any = "https://a.example/get_instruments?currency=any&kind=future";
        for (request, answer, fits) in [
            (any, "https://a.example/get_instruments?currency=BTC&expired=false", true),
            (any, "https://a.example/get_instruments?currency=BTC&kind=option", false),
            (any, "https://a.example/get_instruments?currency=BTC&cursor=2", false),
            (any, "https://a.example/ticker?currency=BTC", false),
            (
                "https://a.example/get_instruments?currency=ETH",
                "https://a.example/get_instruments?currency=BTC",
                false,
            ),
        ] {
            assert_eq!(is_part_of(request, answer, &identifying), fits, "{answer}");
        }
    }
}
