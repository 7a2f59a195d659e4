//! Reads recordings line by line, and finds the recorded answers to the adapter's instrument requests.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use marketprism_adapter_host::contract::{Answer, Feed, Request};
use marketprism_adapter_host::{InstrumentRounds, Limits, Sandbox};
use marketprism_schema::{Kind, Line};

use super::request_match::{RequestMatcher, is_part_of};

/// Longest line: an instrument list of 64 MiB, escaped.
const LINE_BYTES_MAX: usize = 256 << 20;

pub(super) struct Recordings<'a> {
    paths: &'a [PathBuf],
}

impl<'a> Recordings<'a> {
    pub(super) const fn new(paths: &'a [PathBuf]) -> Self {
        Self { paths }
    }

    /// Calls `show` for every line with the file's position and the line's number (from 1). Lines without `wanted` are not parsed.
    pub(super) fn each(
        &self,
        wanted: impl Fn(&str) -> bool,
        mut show: impl FnMut(usize, u64, &Line<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut text = String::new();
        for (file, path) in self.paths.iter().enumerate() {
            let opened = File::open(path).with_context(|| format!("recording {}", path.display()))?;
            let mut reader = BufReader::with_capacity(1 << 20, opened);
            for number in 1.. {
                text.clear();
                let at = || format!("{}:{number}", path.display());
                if reader.read_line(&mut text).with_context(at)? == 0 {
                    break;
                }
                if text.len() > LINE_BYTES_MAX {
                    bail!("{}: line of {} bytes (allowed: {LINE_BYTES_MAX})", at(), text.len());
                }
                if text.trim().is_empty() || !wanted(&text) {
                    continue;
                }
                let line = Line::parse(&text).with_context(at)?;
                check(&line).with_context(at)?;
                show(file, number, &line)?;
            }
        }
        Ok(())
    }

    pub(super) fn path(&self, file: usize) -> &Path {
        self.paths.get(file).map(PathBuf::as_path).unwrap_or_else(|| Path::new("?"))
    }
}

/// A cheap check before parsing: true for all answers to requests, and for some other lines.
pub(super) fn may_be_answer(text: &str) -> bool {
    let head = text.get(..text.len().min(512)).unwrap_or(text);
    head.contains("\"rest\"")
}

fn check(line: &Line<'_>) -> anyhow::Result<()> {
    match line.kind {
        Kind::Rest if line.url.is_none() => bail!("a rest line without url"),
        Kind::WsIn | Kind::Rest if line.data.is_none() => bail!("a line without data"),
        _ => Ok(()),
    }
}

/// Parameters in which instrument lists of one path differ: contents, and page.
const KEY_PARAMETERS: [&str; 9] =
    ["symbol", "instId", "instrument_name", "currency", "instType", "category", "kind", "cursor", "uly"];

pub(super) fn instrument_answers(
    adapter: &mut Sandbox,
    feed: &Feed,
    limits: &Limits,
    paths: &[PathBuf],
) -> anyhow::Result<Vec<Answer>> {
    let mut rounds = InstrumentRounds::new(limits);
    loop {
        let requests = rounds.next(adapter, feed)?;
        if requests.is_empty() {
            break;
        }
        let bodies = recorded(&requests, paths)?;
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

/// Per request: the first answer to the same request, or else all answers to requests for a part of it, such as the lists of single
/// currencies for the list of any currency.
fn recorded(requests: &[Request], paths: &[PathBuf]) -> anyhow::Result<Vec<Vec<Vec<u8>>>> {
    let matcher = RequestMatcher::new(requests.iter().map(|request| request.url.as_str()), &KEY_PARAMETERS);
    let mut exact: Vec<Option<Vec<u8>>> = vec![None; requests.len()];
    let mut loose: Vec<Vec<Vec<u8>>> = vec![Vec::new(); requests.len()];
    Recordings::new(paths).each(may_be_answer, |_, _, line| {
        let (Some(url), Some(data), Kind::Rest) = (line.url.as_deref(), &line.data, line.kind) else {
            return Ok(());
        };
        let body = || data.as_bytes().to_vec();
        match matcher.find(url).and_then(|index| exact.get_mut(index)) {
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
