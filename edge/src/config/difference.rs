//! Difference of two valid configurations: what a running edge can take over, and what needs a restart.

use std::collections::BTreeSet;

use marketprism_service::MASK;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::edge::{Config, JournalSettings};
use super::feed::FeedConfig;
use super::http::Http;
use super::sandbox::Sandbox;
use super::swap::SwapSettings;

/// A key with another value. Secrets are masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    pub key: String,
    pub from: String,
    pub to: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigDifference {
    /// Keys outside the feeds that are applied.
    pub applied: Vec<KeyChange>,
    /// Keys that keep their value until the edge starts again.
    pub needs_restart: Vec<KeyChange>,
    pub feeds: FeedsDifference,
}

/// Feeds by their positions in the old and in the new configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedsDifference {
    pub kept: Vec<(usize, usize)>,
    pub changed: Vec<ChangedFeed>,
    pub removed: Vec<usize>,
    pub added: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFeed {
    pub old: usize,
    pub new: usize,
    pub keys: Vec<KeyChange>,
    /// Only the selection of instruments differs, or the interval of the lists: connections and books stay.
    pub in_place: bool,
}

impl ConfigDifference {
    pub fn new(old: &Config, new: &Config) -> Self {
        let mut applied = changes("log", &old.log, &new.log);
        applied.extend(changes("edge.watch_config", &old.watch_config, &new.watch_config));
        applied.extend(changes("http.token_file", &old.http.token, &new.http.token));
        applied.extend(changes("publisher", &old.publisher, &new.publisher));
        applied.extend(changes("mirror_to_core", &old.mirror_to_core, &new.mirror_to_core));
        applied.extend(changes("selfcare", &old.selfcare, &new.selfcare));
        applied.extend(changes("journal", &old.journal, &new.journal_placed_as(old)));
        applied.extend(changes("adapters", &old.adapters, &new.adapters_watched_as(old)));
        let mut needs_restart = Vec::new();
        for (key, from, to) in
            [("edge.name", &old.name, &new.name), ("edge.region", &old.region, &new.region)]
        {
            needs_restart.extend(changes(key, from, to));
        }
        needs_restart.extend(changes("edge.data_dir", &old.data_dir, &new.data_dir));
        needs_restart.extend(changes("edge.allow_multiple", &old.allow_multiple, &new.allow_multiple));
        needs_restart.extend(changes("nats", &old.nats, &new.nats));
        needs_restart.extend(changes("journal", &new.journal_placed_as(old), &new.journal));
        needs_restart.extend(changes("audit", &old.audit, &new.audit));
        needs_restart.extend(changes("clock", &old.clock, &new.clock));
        needs_restart.extend(changes("selftest", &old.selftest, &new.selftest));
        needs_restart.extend(changes("traces", &old.traces, &new.traces));
        needs_restart.extend(changes("adapters", &new.adapters_watched_as(old), &new.adapters));
        needs_restart.extend(changes("http", &old.http, &new.http_with_token_of(old)));
        let files = |sandbox: Sandbox| sandbox.quarantine_files;
        needs_restart.extend(changes(
            "sandbox.quarantine_max_files",
            &files(old.sandbox),
            &files(new.sandbox),
        ));
        Self { applied, needs_restart, feeds: FeedsDifference::new(&old.feeds, &new.feeds) }
    }

    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.needs_restart.is_empty() && self.feeds.is_empty()
    }
}

impl Config {
    fn http_with_token_of(&self, other: &Self) -> Http {
        Http { token: other.http.token.clone(), ..self.http.clone() }
    }

    fn journal_placed_as(&self, other: &Self) -> JournalSettings {
        JournalSettings {
            enabled: other.journal.enabled,
            dir: other.journal.dir.clone(),
            ..self.journal.clone()
        }
    }

    fn adapters_watched_as(&self, other: &Self) -> SwapSettings {
        SwapSettings { watch_dir: other.adapters.watch_dir.clone(), ..self.adapters.clone() }
    }

    /// The configuration that runs once `new` is applied to this one: what needs a restart stays.
    #[must_use]
    pub fn updated_to(&self, new: Self) -> Self {
        let quarantine_files = self.sandbox.quarantine_files;
        Self {
            http: Http { token: new.http.token.clone(), ..self.http.clone() },
            journal: new.journal_placed_as(self),
            adapters: new.adapters_watched_as(self),
            publisher: new.publisher,
            mirror_to_core: new.mirror_to_core,
            selfcare: new.selfcare,
            sandbox: Sandbox { quarantine_files, ..new.sandbox },
            wire: new.wire,
            log: new.log,
            watch_config: new.watch_config,
            feeds: new.feeds,
            ..self.clone()
        }
    }
}

impl FeedsDifference {
    /// Equal feeds are kept. The others are paired by exchange, the most similar first.
    pub fn new(old: &[FeedConfig], new: &[FeedConfig]) -> Self {
        let mut difference = Self::default();
        let (mut left, mut open): (BTreeSet<usize>, BTreeSet<usize>) =
            ((0..old.len()).collect(), (0..new.len()).collect());
        let mut pairs: Vec<(Dissimilarity, usize, usize)> = Vec::new();
        for (from, before) in old.iter().enumerate() {
            let same = new.iter().enumerate().filter(|(_, after)| after.exchange == before.exchange);
            pairs.extend(same.map(|(to, after)| (Dissimilarity::of(before, after), from, to)));
        }
        pairs.sort_unstable();
        for (dissimilarity, from, to) in pairs {
            if !left.contains(&from) || !open.contains(&to) {
                continue;
            }
            left.remove(&from);
            open.remove(&to);
            let (Some(before), Some(after)) = (old.get(from), new.get(to)) else { continue };
            match dissimilarity {
                Dissimilarity::None => difference.kept.push((from, to)),
                _ => difference.changed.push(ChangedFeed {
                    old: from,
                    new: to,
                    keys: feed_changes(to, before, after),
                    in_place: matches!(dissimilarity, Dissimilarity::InPlace(_)),
                }),
            }
        }
        difference.removed.extend(left);
        difference.added.extend(open);
        difference
    }

    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty() && self.added.is_empty()
    }
}

/// Numbers are of symbols that one of two feeds has alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Dissimilarity {
    None,
    InPlace(usize),
    Restart(usize),
}

impl Dissimilarity {
    fn of(old: &FeedConfig, new: &FeedConfig) -> Self {
        if old == new {
            return Self::None;
        }
        let set = |feed: &'_ FeedConfig| feed.symbols.iter().cloned().collect::<BTreeSet<String>>();
        let alone = set(old).symmetric_difference(&set(new)).count();
        let selected = FeedConfig {
            symbols: new.symbols.clone(),
            exclude: new.exclude.clone(),
            top: new.top,
            listing_interval: new.listing_interval,
            ..old.clone()
        };
        if selected == *new { Self::InPlace(alone) } else { Self::Restart(alone) }
    }
}

fn feed_changes(position: usize, old: &FeedConfig, new: &FeedConfig) -> Vec<KeyChange> {
    let at = format!("feed[{position}]");
    let mut found = Vec::new();
    let (from, to) = (json(old), json(new));
    compare(&at, &from, &to, &mut found);
    found.extend(changes("sandbox", &old.sandbox.of_feeds(), &new.sandbox.of_feeds()));
    found.extend(changes("wire", &old.wire, &new.wire));
    for (differs, key) in [(old.egress != new.egress, "proxy"), (old.ca_digest != new.ca_digest, "ca_file")] {
        let key = format!("{at}.{key}");
        if differs && !found.iter().any(|change| change.key == key) {
            found.push(masked(key));
        }
    }
    if found.is_empty() {
        // A secret: texts of addresses are masked.
        found.push(masked(format!("{at}.endpoints")));
    }
    found
}

/// Changed keys of a section. One whose text is the same differs in a secret.
fn changes<T: Serialize + PartialEq>(at: &str, old: &T, new: &T) -> Vec<KeyChange> {
    if old == new {
        return Vec::new();
    }
    let mut found = Vec::new();
    compare(at, &json(old), &json(new), &mut found);
    if found.is_empty() {
        found.push(masked(at.to_owned()));
    }
    found
}

fn masked(key: String) -> KeyChange {
    KeyChange { key, from: MASK.to_owned(), to: MASK.to_owned() }
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn compare(at: &str, old: &Value, new: &Value, found: &mut Vec<KeyChange>) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for key in keys {
                let value = |of: &serde_json::Map<String, Value>| of.get(key).cloned().unwrap_or_default();
                compare(&format!("{at}.{key}"), &value(before), &value(after), found);
            }
        }
        _ if old != new => {
            let text = |value: &Value| if value.is_null() { "none".to_owned() } else { value.to_string() };
            found.push(KeyChange { key: at.to_owned(), from: text(old), to: text(new) });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(exchange: &str, symbols: &[&str]) -> FeedConfig {
        let symbols = symbols.iter().map(|&symbol| symbol.to_owned()).collect();
        FeedConfig { exchange: exchange.to_owned(), symbols, ..FeedConfig::default() }
    }

    fn deeper(feed: FeedConfig) -> FeedConfig {
        FeedConfig { depth: Some(50), ..feed }
    }

    #[test]
    fn feeds_are_kept_changed_in_place_restarted_added_and_removed() {
        let (a, b, c) = (feed("a", &["X-Y", "Z-Y"]), feed("a", &["Q-Y"]), feed("c", &["X-Y"]));
        let more = feed("a", &["X-Y", "Z-Y", "N-Y"]);
        let (deep_a, deep_b) = (deeper(a.clone()), deeper(b.clone()));
        type Wanted = (Vec<(usize, usize)>, Vec<(usize, usize, bool)>, Vec<usize>, Vec<usize>);
        let cases: Vec<(Vec<&FeedConfig>, Vec<&FeedConfig>, Wanted)> = vec![
            (vec![&a, &b], vec![&b, &a], (vec![(0, 1), (1, 0)], vec![], vec![], vec![])),
            (vec![&a, &c], vec![&c], (vec![(1, 0)], vec![], vec![0], vec![])),
            (vec![&c], vec![&a, &c], (vec![(0, 1)], vec![], vec![], vec![0])),
            (vec![&b, &a], vec![&more, &b], (vec![(0, 1)], vec![(1, 0, true)], vec![], vec![])),
            (vec![&a], vec![&deep_a], (vec![], vec![(0, 0, false)], vec![], vec![])),
            (vec![&a, &b], vec![&deep_b, &more], (vec![], vec![(0, 1, true), (1, 0, false)], vec![], vec![])),
            (vec![&a, &b], vec![&deep_b], (vec![], vec![(1, 0, false)], vec![0], vec![])),
            (vec![&a], vec![&c], (vec![], vec![], vec![0], vec![0])),
        ];
        for (number, (old, new, (kept, changed, removed, added))) in cases.into_iter().enumerate() {
            let owned = |feeds: Vec<&FeedConfig>| feeds.into_iter().cloned().collect::<Vec<_>>();
            let found = FeedsDifference::new(&owned(old), &owned(new));
            let of: Vec<_> = found.changed.iter().map(|one| (one.old, one.new, one.in_place)).collect();
            assert_eq!(
                (found.kept, of, found.removed, found.added),
                (kept, changed, removed, added),
                "{number}"
            );
        }
    }

    /// Any two configurations: each feed of both is in the difference once, and pairs are of one exchange.
    #[test]
    fn a_difference_has_each_feed_of_both_sides_once() {
        let random = |count: u32| {
            (0..count)
                .map(|_| {
                    let name = ["a", "b", "c"][rand::random_range(0..3)];
                    let symbol = ["X-Y", "Z-Y"][rand::random_range(0..2)];
                    let feed = feed(name, &[symbol]);
                    if rand::random() { deeper(feed) } else { feed }
                })
                .collect::<Vec<_>>()
        };
        for _ in 0..2_000 {
            let (old, new) = (random(rand::random_range(0..6)), random(rand::random_range(0..6)));
            let found = FeedsDifference::new(&old, &new);
            let pairs: Vec<(usize, usize)> = found
                .kept
                .iter()
                .copied()
                .chain(found.changed.iter().map(|one| (one.old, one.new)))
                .collect();
            assert!(pairs.iter().all(|(from, to)| old[*from].exchange == new[*to].exchange));
            assert!(found.kept.iter().all(|(from, to)| old[*from] == new[*to]));
            assert!(found.changed.iter().all(|one| old[one.old] != new[one.new] && !one.keys.is_empty()));
            let sorted = |mut all: Vec<usize>| {
                all.sort_unstable();
                all
            };
            let before = pairs.iter().map(|(from, _)| *from).chain(found.removed).collect();
            let after = pairs.iter().map(|(_, to)| *to).chain(found.added).collect();
            assert_eq!(
                (sorted(before), sorted(after)),
                ((0..old.len()).collect(), (0..new.len()).collect()),
                "{old:?} {new:?}"
            );
        }
    }

    #[test]
    fn changed_keys_have_both_values_and_secrets_are_masked() {
        let old = feed("a", &["X-Y"]);
        let mut new = deeper(feed("a", &["X-Y", "Z-Y"]));
        new.endpoints.insert("ws".to_owned(), "ws://user:secret@host".into());
        let text = format!("{:?}", feed_changes(3, &old, &new));
        for wanted in
            ["feed[3].depth", "\"none\"", "\"50\"", "feed[3].symbols", "Z-Y", "feed[3].endpoints.ws"]
        {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(!text.contains("secret"), "{text}");
        let other = |password: &str| {
            let mut feed = old.clone();
            feed.endpoints.insert("ws".to_owned(), format!("ws://user:{password}@host").as_str().into());
            feed
        };
        let [change] = &feed_changes(0, &other("one"), &other("two"))[..] else { panic!("one change") };
        assert_eq!((change.key.as_str(), change.from.as_str()), ("feed[0].endpoints", MASK));
    }
}
