//! Parser of `engine_full`: `ReplacingMergeTree(created_at) PARTITION BY ... ORDER BY ... TTL ... SETTINGS ...`.

use std::collections::BTreeMap;

/// The same setting of a table on a single server and of a replicated one.
const DEDUPLICATION: [&str; 2] = ["non_replicated_deduplication_window", "replicated_deduplication_window"];
/// Prefixes of replicated engines.
const REPLICATED: [&str; 2] = ["Replicated", "Shared"];

#[derive(Debug)]
pub struct EngineClauses<'a> {
    /// Name and arguments as on a single server.
    pub name: String,
    pub replicated: bool,
    /// TTL expression, or `none`.
    pub ttl: &'a str,
    pub settings: BTreeMap<&'a str, &'a str>,
}

impl<'a> EngineClauses<'a> {
    /// Parses `engine_full`.
    pub fn read(full: &'a str) -> Self {
        let (rest, settings) = full.rsplit_once(" SETTINGS ").unwrap_or((full, ""));
        let (rest, ttl) = rest.split_once(" TTL ").unwrap_or((rest, "none"));
        let engine = [" PARTITION BY ", " ORDER BY ", " PRIMARY KEY "]
            .iter()
            .filter_map(|clause| rest.find(clause))
            .min()
            .and_then(|end| rest.get(..end))
            .unwrap_or(rest);
        let settings = settings.split(", ").filter_map(|setting| setting.split_once(" = ")).collect();
        let one_server = REPLICATED.iter().find_map(|prefix| engine.strip_prefix(prefix));
        let name = one_server.map_or_else(|| engine.to_owned(), without_path);
        Self { name, replicated: one_server.is_some(), ttl, settings }
    }

    /// The settings as a found table of either form would have them.
    pub fn settings_for(&self, found: &Self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let [single, replicated] = DEDUPLICATION;
        let renamed = found.replicated && !self.replicated;
        self.settings.iter().map(move |(name, value)| match *name {
            name if renamed && name == single => (replicated, *value),
            name => (name, *value),
        })
    }
}

/// `X('/path', '{replica}', version)` as `X(version)`: drops the Keeper path and replica name.
fn without_path(engine: &str) -> String {
    let Some((name, arguments)) = engine.split_once('(') else { return engine.to_owned() };
    let mut rest = arguments;
    while let Some((_, more)) = rest.strip_prefix('\'').and_then(|text| text.split_once('\'')) {
        rest = more.strip_prefix(", ").unwrap_or(more);
    }
    format!("{name}({rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicated_engines_compare_equal_to_single_server_ones() {
        let name = |full| EngineClauses::read(full).name;
        assert_eq!(name("ReplacingMergeTree(created_at) ORDER BY a"), "ReplacingMergeTree(created_at)");
        for full in [
            "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/db/t', '{replica}', created_at) ORDER BY a",
            "SharedReplacingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}', created_at) ORDER BY a",
            "ReplicatedReplacingMergeTree(created_at) PARTITION BY b ORDER BY a",
        ] {
            assert_eq!(name(full), "ReplacingMergeTree(created_at)", "{full}");
            assert!(EngineClauses::read(full).replicated);
        }
        assert_eq!(name("ReplicatedMergeTree('/path', '{replica}') ORDER BY a"), "MergeTree()");
    }
}
