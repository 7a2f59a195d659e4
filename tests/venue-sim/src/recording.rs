//! Recordings: JSON lines of WebSocket frames and REST answers, with times that can be shifted to now.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decimal::Decimal;
use crate::ledger::{TradeKind, TradeRecord};
use crate::market::Side;

#[derive(Deserialize)]
struct Line {
    at: i64,
    kind: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    stream: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct FrameFields {
    #[serde(default)]
    e: String,
    #[serde(default)]
    s: String,
}

#[derive(Deserialize)]
struct TradeFields {
    #[serde(alias = "a")]
    t: u64,
    p: String,
    q: String,
    #[serde(default)]
    f: Option<u64>,
    #[serde(default)]
    l: Option<u64>,
    #[serde(rename = "T")]
    trade_ms: i64,
    #[serde(rename = "E")]
    event_ms: i64,
    m: bool,
}

#[derive(Debug, Clone)]
pub struct RecordedTrade {
    pub kind: TradeKind,
    pub record: TradeRecord,
}

#[derive(Debug, Clone)]
pub struct Recorded {
    /// When it was received, ns since 1970 UTC.
    pub at: i64,
    pub stream: String,
    pub symbol: String,
    pub book: bool,
    pub raw: String,
    pub trade: Option<RecordedTrade>,
}

#[derive(Debug, Clone)]
struct RecordedAnswer {
    at: i64,
    path: String,
    symbol: Option<String>,
    body: String,
}

#[derive(Debug)]
pub struct Recording {
    pub file: PathBuf,
    pub shift_to_now: bool,
    pub speed_percent: u64,
    pub frames: Vec<Recorded>,
    answers: Vec<RecordedAnswer>,
    pub unroutable: u64,
    pub urls: Vec<String>,
    pub position: AtomicI64,
    /// Offset of venue times, ms.
    pub shift_ms: AtomicI64,
    pub played: AtomicU64,
    pub done: AtomicBool,
}

fn path_and_symbol(url: &str) -> (String, Option<String>) {
    let behind_host =
        url.split_once("://").map_or(url, |(_, rest)| rest.find('/').map_or("", |at| rest.split_at(at).1));
    let (path, query) = behind_host.split_once('?').unwrap_or((behind_host, ""));
    let symbol = query.split('&').find_map(|pair| pair.strip_prefix("symbol=")).map(str::to_owned);
    (path.to_owned(), symbol)
}

fn trade_of(event: &str, raw: &str) -> Option<RecordedTrade> {
    let kind = match event {
        "trade" => TradeKind::Trade,
        "aggTrade" => TradeKind::Aggregate,
        _ => return None,
    };
    let fields: TradeFields = serde_json::from_str(raw).ok()?;
    let record = TradeRecord {
        id: fields.t,
        matches: (fields.f.unwrap_or(fields.t), fields.l.unwrap_or(fields.t)),
        price: Decimal::parse(&fields.p)?,
        quantity: Decimal::parse(&fields.q)?,
        taker: if fields.m { Side::Ask } else { Side::Bid },
        trade_ms: fields.trade_ms,
        event_ms: fields.event_ms,
        ..TradeRecord::default()
    };
    Some(RecordedTrade { kind, record })
}

fn frame_of(at: i64, data: &str) -> Option<Recorded> {
    let (stream, raw) = match serde_json::from_str::<Wrapped<'_>>(data) {
        Ok(wrapped) => (Some(wrapped.stream), wrapped.data.get().to_owned()),
        Err(_) => (None, data.to_owned()),
    };
    let fields: FrameFields =
        serde_json::from_str(&raw).unwrap_or(FrameFields { e: String::new(), s: String::new() });
    let symbol = fields.s.to_lowercase();
    let stream = stream.or_else(|| match fields.e.as_str() {
        "trade" | "aggTrade" => Some(format!("{symbol}@{}", fields.e)),
        "depthUpdate" => Some(format!("{symbol}@depth@100ms")),
        _ => None,
    })?;
    let trade = trade_of(&fields.e, &raw);
    Some(Recorded { at, stream, symbol: fields.s, book: fields.e == "depthUpdate", raw, trade })
}

impl Recording {
    pub fn load(path: &Path, shift_to_now: bool, speed_percent: u64) -> anyhow::Result<Recording> {
        let read = || format!("reading recording {}", path.display());
        let file = std::fs::File::open(path).with_context(read)?;
        let (mut frames, mut answers, mut urls, mut unroutable) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for (n, line) in BufReader::new(file).lines().enumerate() {
            let text = line.with_context(read)?;
            if text.trim().is_empty() {
                continue;
            }
            let line: Line = serde_json::from_str(&text)
                .with_context(|| format!("recording {} line {}", path.display(), n + 1))?;
            match line.kind.as_str() {
                "rest" => {
                    let (path, symbol) = path_and_symbol(&line.url);
                    answers.push(RecordedAnswer { at: line.at, path, symbol, body: line.data });
                    urls.push(line.url);
                }
                "ws-open" => urls.push(line.url),
                "ws-in" => match frame_of(line.at, &line.data) {
                    Some(frame) => frames.push(frame),
                    None => unroutable += 1,
                },
                _ => {}
            }
        }
        Ok(Recording {
            position: AtomicI64::new(frames.first().map_or(0, |f| f.at)),
            shift_ms: AtomicI64::new(0),
            played: AtomicU64::new(0),
            done: AtomicBool::new(frames.is_empty()),
            file: path.to_owned(),
            shift_to_now,
            speed_percent,
            frames,
            answers,
            unroutable,
            urls,
        })
    }

    pub fn symbols(&self) -> Vec<String> {
        let frames = self.frames.iter().map(|f| &f.symbol).filter(|s| !s.is_empty());
        let all: BTreeSet<&String> =
            frames.chain(self.answers.iter().filter_map(|a| a.symbol.as_ref())).collect();
        all.into_iter().cloned().collect()
    }

    /// The newest answer up to the playing position, or else the first.
    pub fn answer(&self, path: &str, symbol: Option<&str>) -> Option<String> {
        let position = self.position.load(Ordering::Acquire);
        let fits =
            |a: &&RecordedAnswer| a.path == path && (a.symbol.is_none() || a.symbol.as_deref() == symbol);
        let mut fitting = self.answers.iter().filter(fits);
        let first = fitting.next()?;
        let answer = fitting.take_while(|a| a.at <= position).last().unwrap_or(first);
        Some(shift_times(&answer.body, self.shift_ms.load(Ordering::Acquire)))
    }
}

/// Keys that hold times in ms.
const KEYS: [&str; 3] = ["\"E\":", "\"T\":", "\"serverTime\":"];

/// Adds `shift_ms` to every time of a message, except times in text.
pub fn shift_times(text: &str, shift_ms: i64) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some((at, key)) = KEYS.iter().filter_map(|key| Some((rest.find(key)?, *key))).min() {
        let (before, value) = rest.split_at(at + key.len());
        out.push_str(before);
        let end = value.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
        let (digits, after) = value.split_at(end);
        match digits.parse::<i64>() {
            // 0 means "no time" (funding of dated contracts).
            Ok(time) if time > 0 => out.push_str(&time.saturating_add(shift_ms).to_string()),
            _ => out.push_str(digits),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_are_shifted() {
        let text = r#"{"e":"trade","E":1000,"t":1000,"p":"1000","T":2000,"o":{"T":0,"X":"E"}}"#;
        let moved = r#"{"e":"trade","E":1500,"t":1000,"p":"1000","T":2500,"o":{"T":0,"X":"E"}}"#;
        assert_eq!(shift_times(text, 500), moved);
        assert_eq!(shift_times("[]", 5), "[]");
    }
}
