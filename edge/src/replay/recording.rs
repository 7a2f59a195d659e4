//! Reads recordings line by line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use marketprism_schema::{Kind, Line};

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
