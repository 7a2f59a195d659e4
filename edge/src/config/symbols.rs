//! Selection of a feed's instruments: names, patterns and exclusions. `*` in a pattern stands for any characters, hyphens included.

use std::collections::BTreeSet;

use marketprism_adapter_host::contract::RankingKey;
use marketprism_config::{Problems, names_schema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::feed::FeedConfig;
use crate::limits::{INSTRUMENTS_MAX, PATTERNS_MAX};

const WILDCARD: char = '*';

/// A measure by which a venue ranks its markets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RankingMeasure {
    #[serde(rename = "volume_24h")]
    Volume24h,
}

impl RankingMeasure {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Volume24h => "volume_24h",
        }
    }
}

impl From<RankingMeasure> for RankingKey {
    fn from(measure: RankingMeasure) -> Self {
        match measure {
            RankingMeasure::Volume24h => Self::Volume24h,
        }
    }
}

/// As configured: both or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TopSettings {
    /// Of the markets that the patterns of `symbols` select, only the first ones of this ranking of the venue are collected: `volume_24h` is
    /// the turnover of the last 24 hours. Names are collected besides.
    #[schemars(schema_with = "measures")]
    pub by: Option<RankingMeasure>,
    /// Number of these markets.
    #[schemars(range(min = 1, max = INSTRUMENTS_MAX))]
    pub count: Option<usize>,
}

fn measures(_: &mut SchemaGenerator) -> Schema {
    names_schema([RankingMeasure::Volume24h.as_str()])
}

/// The first markets of a ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopMarkets {
    pub by: RankingMeasure,
    pub count: usize,
}

impl TopSettings {
    pub(super) fn markets(self) -> Option<TopMarkets> {
        Some(TopMarkets { by: self.by?, count: self.count? })
    }
}

/// Instruments that a feed collects, whatever the venue lists at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SymbolSelection {
    names: Vec<String>,
    patterns: Vec<String>,
    exclude: Vec<String>,
    top: Option<TopMarkets>,
}

impl SymbolSelection {
    pub fn new(symbols: &[String], exclude: &[String]) -> Self {
        let (patterns, names) = symbols.iter().cloned().partition(|symbol| is_pattern(symbol));
        Self { names, patterns, exclude: exclude.to_vec(), top: None }
    }

    #[must_use]
    pub fn with_top(self, top: Option<TopMarkets>) -> Self {
        Self { top, ..self }
    }

    /// Of the patterns' markets, those that are collected. `None`: all.
    pub const fn top(&self) -> Option<TopMarkets> {
        self.top
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// True if this pattern of the selection selects the symbol.
    pub fn matches(&self, pattern: &str, symbol: &str) -> bool {
        is_match(pattern, symbol) && !self.exclude.iter().any(|excluded| is_match(excluded, symbol))
    }

    /// True if a pattern of the selection selects the symbol.
    pub fn matches_any(&self, symbol: &str) -> bool {
        self.patterns.iter().any(|pattern| self.matches(pattern, symbol))
    }

    /// True if the symbol can be collected; a ranking may leave it out.
    pub fn includes(&self, symbol: &str) -> bool {
        self.names.iter().any(|name| name == symbol) || self.matches_any(symbol)
    }
}

fn is_pattern(symbol: &str) -> bool {
    symbol.contains(WILDCARD)
}

/// True if the pattern stands for the text. With a pattern as the text: true if it stands for everything that the other one does.
fn is_match(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once(WILDCARD) else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let (inner, tail) = rest.rsplit_once(WILDCARD).unwrap_or(("", rest));
    for part in inner.split(WILDCARD) {
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(tail)
}

/// True if a symbol exists that both stand for.
fn intersect(one: &str, other: &str) -> bool {
    let (Some((head, _)), Some((other_head, _))) = (one.split_once(WILDCARD), other.split_once(WILDCARD))
    else {
        return is_match(one, other) || is_match(other, one);
    };
    let tail = |pattern: &str| pattern.rsplit(WILDCARD).next().map(str::to_owned).unwrap_or_default();
    let (tail, other_tail) = (tail(one), tail(other));
    (head.starts_with(other_head) || other_head.starts_with(head))
        && (tail.ends_with(&other_tail) || other_tail.ends_with(&tail))
}

const SYMBOL_BYTES_MAX: usize = 64;
const SYMBOL_ALLOWED: &str = "symbols such as BTC-USDT: capital letters and digits, joined by hyphens, at most 64 bytes; with `*` for any \
                              characters it is a pattern";

/// A symbol becomes a token of a subject. Coins may be named in any script.
pub(super) fn check_symbols(at: &str, feed: &FeedConfig, problems: &mut Problems<'_>) {
    for (key, symbols) in [("symbols", &feed.symbols), ("exclude", &feed.exclude)] {
        let key = format!("{at}.{key}");
        for symbol in symbols {
            let filled = symbol.replace(WILDCARD, "A");
            let legal = symbol.len() <= SYMBOL_BYTES_MAX && filled.split('-').all(is_symbol_part);
            problems.demand(legal, &key, format!("names {symbol:?}"), SYMBOL_ALLOWED);
        }
    }
    let patterns = feed.symbols.iter().filter(|symbol| is_pattern(symbol)).count();
    for (key, count, what, most) in [
        ("symbols", feed.symbols.len(), "symbols", INSTRUMENTS_MAX),
        ("symbols", patterns, "patterns", PATTERNS_MAX),
        ("exclude", feed.exclude.len(), "exclusions", PATTERNS_MAX),
    ] {
        let allowed = format!("at most {most} {what} a feed");
        problems.demand(count <= most, &format!("{at}.{key}"), format!("has {count} {what}"), allowed);
    }
    check_exclusions(at, feed, problems);
    let TopSettings { by, count } = feed.top;
    let key = format!("{at}.top");
    let (has, lacks) = if by.is_some() { ("by", "count") } else { ("count", "by") };
    problems.demand(
        by.is_some() == count.is_some(),
        &key,
        format!("has `{has}` without `{lacks}`"),
        "both, such as { by = \"volume_24h\", count = 50 }",
    );
    let ranks = by.is_none() || patterns > 0;
    let allowed = "patterns in `symbols`, such as `*-USDT`, whose markets are ranked";
    problems.demand(ranks, &key, "ranks nothing: `symbols` has names only", allowed);
}

/// An exclusion that excludes nothing, or everything of a symbol, is a mistake.
fn check_exclusions(at: &str, feed: &FeedConfig, problems: &mut Problems<'_>) {
    for excluded in &feed.exclude {
        if let Some(symbol) = feed.symbols.iter().find(|symbol| is_match(excluded, symbol)) {
            let what = format!("{excluded:?} excludes all of {symbol:?} in `symbols`");
            problems.report(&format!("{at}.exclude"), what, "symbols that a pattern includes among others");
        } else if !feed.symbols.iter().any(|symbol| intersect(excluded, symbol)) {
            let what = format!("{excluded:?} is in no pattern of `symbols`");
            problems.report(&format!("{at}.exclude"), what, "symbols that a pattern includes");
        }
    }
}

/// Some coins have small letters next to capital ones; `d` is the point of a strike.
fn is_symbol_part(part: &str) -> bool {
    let is_strike = part.split_once('d').is_some_and(|(whole, rest)| {
        [whole, rest].iter().all(|half| !half.is_empty() && half.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let is_capital = !part.chars().any(char::is_lowercase) || part.chars().any(char::is_uppercase);
    !part.is_empty() && part.chars().all(char::is_alphanumeric) && (is_capital || is_strike)
}

/// A symbol or pattern of each of two feeds with an instrument in common.
pub(super) fn common<'a>(feed: &'a FeedConfig, other: &'a FeedConfig) -> Option<(&'a str, &'a str)> {
    let names: BTreeSet<&str> = other.symbols.iter().map(String::as_str).collect();
    let patterns: Vec<&str> =
        other.symbols.iter().map(String::as_str).filter(|symbol| is_pattern(symbol)).collect();
    let is_excluded = |one: &str, another: &str| {
        let covers = |excluded: &String| is_match(excluded, one) || is_match(excluded, another);
        feed.exclude.iter().any(covers) || other.exclude.iter().any(covers)
    };
    feed.symbols.iter().find_map(|symbol| {
        let symbol = symbol.as_str();
        if let Some(same) = names.get(symbol) {
            return Some((symbol, *same));
        }
        let candidates = if is_pattern(symbol) { names.iter().copied().collect() } else { patterns.clone() };
        let shared = candidates.into_iter().find(|one| intersect(symbol, one) && !is_excluded(symbol, one));
        shared.map(|one| (symbol, one))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_any_characters_and_keeps_its_ends() {
        for (pattern, symbol) in [
            ("*", "BTC-USDT"),
            ("*-USDT", "BTC-USDT"),
            ("BTC-*", "BTC-USD-261225-90000-C"),
            ("BTC-USD-*", "BTC-USD-261225-90000-C"),
            ("BTC-USD-*-C", "BTC-USD-261225-90000-C"),
            ("B*-*T", "BTC-USDT"),
            ("BTC-USDT", "BTC-USDT"),
            ("BTC-**", "BTC-USDT"),
        ] {
            assert!(is_match(pattern, symbol), "{pattern} {symbol}");
        }
        for (pattern, symbol) in [
            ("*-USDT", "BTC-USDT-261225"),
            ("BTC-*", "WBTC-USDT"),
            ("BTC-USD-*", "BTC-USDT"),
            ("BTC*BTC", "BTC"),
            ("A*BA*B", "ABAB-C"),
        ] {
            assert!(!is_match(pattern, symbol), "{pattern} {symbol}");
        }
    }

    #[test]
    fn patterns_that_share_a_symbol_intersect() {
        for (one, other) in [("BTC-*", "*-USDT"), ("*", "A-B"), ("BTC-*-C", "BTC-USD-*"), ("A-B", "A-B")] {
            assert!(intersect(one, other) && intersect(other, one), "{one} {other}");
        }
        for (one, other) in [("BTC-*", "ETH-*"), ("*-USDT", "*-USDC"), ("BTC-*", "ETH-USDT"), ("A-B", "A-C")]
        {
            assert!(!intersect(one, other) && !intersect(other, one), "{one} {other}");
        }
    }

    #[test]
    fn a_selection_has_its_names_and_what_its_patterns_match_without_the_exclusions() {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let selection = SymbolSelection::new(&texts(&["A-B", "*-USDT"]), &texts(&["UP*", "*-USDT-*"]));
        let included =
            ["A-B", "BTC-USDT", "UPX-USDT", "C-D", "BTC-USDT-261225"].map(|one| selection.includes(one));
        assert_eq!(included, [true, true, false, false, false]);
    }
}
