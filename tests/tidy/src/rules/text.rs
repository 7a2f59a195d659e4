//! Rules that look at paths and lines.

use std::collections::BTreeSet;

use crate::{Finding, Source};

/// Past this a file hides a second thing.
const FILE_LINES_MAX: usize = 500;
/// Files whose length a person has to read; golden data and lock files are not among them.
const SOURCE_ENDINGS: [&str; 8] = [".rs", ".wit", ".sql", ".py", ".sh", ".toml", ".html", ".js"];
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["utils", "util", "helpers", "helper", "manager", "common", "core", "misc"];
/// Venues that the host must not know, in addition to the folders under `adapters/`.
const VENUES: [&str; 9] =
    ["binance", "okx", "deribit", "bybit", "kraken", "coinbase", "bitget", "hyperliquid", "huobi"];
/// Folders under `adapters/` that are no venue.
const NO_VENUES: [&str; 4] = ["sdk", "build", "template", "template-c"];

#[must_use]
pub fn check_text(sources: &[Source]) -> Vec<Finding> {
    let venues = venues(sources);
    let mut findings = Vec::new();
    for source in sources {
        findings.extend(file_length(source));
        findings.extend(empty_name(source));
        findings.extend(venue_in_host(source, &venues));
        findings.extend(left_open(source));
    }
    findings
}

fn venues(sources: &[Source]) -> BTreeSet<String> {
    let folders = sources.iter().filter_map(|source| source.path.strip_prefix("adapters/")?.split_once('/'));
    let adapters = folders.map(|(folder, _)| folder).filter(|folder| !NO_VENUES.contains(folder));
    adapters.chain(VENUES).map(str::to_lowercase).collect()
}

fn file_length(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    let counted = SOURCE_ENDINGS.iter().any(|ending| source.path.ends_with(ending));
    (counted && lines > FILE_LINES_MAX).then(|| Finding {
        path: source.path.clone(),
        line: lines,
        what: format!("{lines} lines; at most {FILE_LINES_MAX}: look for the second thing in it"),
    })
}

fn empty_name(source: &Source) -> Option<Finding> {
    let mut parts = source.path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    let name = parts.find(|part| EMPTY_NAMES.contains(part))?;
    let what = format!("{name:?} says nothing about what is inside: name it by what it does");
    Some(Finding { path: source.path.clone(), line: 1, what })
}

fn venue_in_host(source: &Source, venues: &BTreeSet<String>) -> Vec<Finding> {
    if !source.path.starts_with("edge/") && !source.path.starts_with("central/") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (i, line) in source.text.lines().enumerate() {
        let line = line.to_lowercase();
        if let Some(venue) = venues.iter().find(|venue| line.contains(venue.as_str())) {
            findings.push(Finding {
                path: source.path.clone(),
                line: i + 1,
                what: format!(
                    "the host names the venue {venue:?}: what a venue needs belongs to its adapter"
                ),
            });
        }
    }
    findings
}

fn left_open(source: &Source) -> Vec<Finding> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let counted = SOURCE_ENDINGS.iter().chain(&[".md"]).any(|ending| source.path.ends_with(ending));
    let mut findings = Vec::new();
    for (i, line) in source.text.lines().enumerate().filter(|_| counted) {
        let what = if marks.iter().any(|mark| line.contains(mark)) {
            "left open: do it, or write down in the change log what is missing"
        } else if paths.iter().any(|path| line.contains(path)) {
            "names a path of one machine"
        } else {
            continue;
        };
        findings.push(Finding { path: source.path.clone(), line: i + 1, what: what.to_owned() });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        let sources = [
            Source { path: path.to_owned(), text: text.to_owned() },
            Source { path: "adapters/newvenue/src/lib.rs".to_owned(), text: String::new() },
        ];
        check_text(&sources)
            .into_iter()
            .map(|finding| format!("{}: {}", finding.line, finding.what))
            .collect()
    }

    /// Goal: each text rule sees what it is for, and nothing else. Method: one file that breaks it, one that does not.
    #[test]
    fn every_text_rule_bites() {
        assert_eq!(check("edge/src/a.rs", &"x\n".repeat(500)), Vec::<String>::new());
        assert!(check("edge/src/a.rs", &"x\n".repeat(501))[0].contains("501 lines"));
        assert!(check("edge/src/utils.rs", "")[0].contains("utils"));
        assert!(check("central/src/a.rs", "\n// NewVenue sends\n")[0].starts_with("2: the host names"));
        assert!(check("edge/README.md", "OKX")[0].contains("okx"));
        assert_eq!(check("tests/a.rs", "okx"), Vec::<String>::new());
        assert!(check("schema/a.rs", concat!("// TO", "DO: later"))[0].contains("left open"));
        assert!(check("README.md", concat!("cd /wo", "rk/main"))[0].contains("path of one machine"));
    }
}
