//! Result of a reload, for its answer and the log.

use marketprism_schema::{ChangeKind, ChangeOutcome, EdgeChange};
use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigDifference, KeyChange};
use crate::feed::AppliedChange;
use crate::telemetry::labels;

labels! {
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    ReloadResult {
        Applied = "applied",
        /// Nothing differs, or only what needs a restart.
        Unchanged = "unchanged",
        /// The configuration is invalid.
        Refused = "refused",
        /// The configuration is valid, but a feed cannot be changed to it.
        Failed = "failed",
    }
}

impl ReloadResult {
    /// The running configuration is that of the file, but for what needs a restart.
    pub const fn is_current(self) -> bool {
        matches!(self, Self::Applied | Self::Unchanged)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    pub result: ReloadResult,
    /// Keys outside the feeds.
    pub changed: Vec<KeyChange>,
    pub feeds: Vec<FeedReload>,
    /// Feeds that were not touched.
    pub kept: usize,
    /// Keys that keep their value until the edge starts again.
    pub needs_restart: Vec<KeyChange>,
    /// Every reason why nothing was changed.
    pub errors: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedReload {
    pub exchange: String,
    /// `added`, `removed`, `restarted`, or `changed` with its connections and books left as they are.
    pub change: String,
    pub keys: Vec<KeyChange>,
    pub symbols_added: String,
    pub symbols_removed: String,
    /// Why connections of a feed that started again did not overlap.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub closed_first: String,
}

impl ReloadReport {
    pub fn refused(result: ReloadResult, errors: Vec<String>) -> Self {
        let (changed, feeds, needs_restart) = (Vec::new(), Vec::new(), Vec::new());
        Self { result, changed, feeds, kept: 0, needs_restart, errors }
    }

    pub fn applied(
        difference: ConfigDifference,
        (old, new): (&Config, &Config),
        applied_to: &[AppliedChange],
    ) -> Self {
        let ConfigDifference { applied, needs_restart, feeds: difference } = difference;
        let exchange = |config: &Config, position: usize| {
            config.feeds.get(position).map(|feed| feed.exchange.clone()).unwrap_or_default()
        };
        let of = |exchange, change: &str| FeedReload {
            exchange,
            change: change.to_owned(),
            ..FeedReload::default()
        };
        let mut feeds: Vec<FeedReload> =
            difference.removed.iter().map(|position| of(exchange(old, *position), "removed")).collect();
        feeds.extend(difference.added.iter().map(|position| of(exchange(new, *position), "added")));
        feeds.extend(difference.changed.into_iter().map(|change| {
            let of_feed = applied_to.iter().find(|one| one.feed == change.new);
            let text = |symbols: fn(&AppliedChange) -> &[String]| {
                of_feed.map(|change| AppliedChange::text(symbols(change))).unwrap_or_default()
            };
            FeedReload {
                exchange: exchange(new, change.new),
                change: if change.in_place { "changed" } else { "restarted" }.to_owned(),
                keys: change.keys,
                symbols_added: text(|change| &change.added),
                symbols_removed: text(|change| &change.removed),
                closed_first: of_feed.and_then(|change| change.closed_first.clone()).unwrap_or_default(),
            }
        }));
        let is_unchanged = applied.is_empty() && feeds.is_empty();
        Self {
            result: if is_unchanged { ReloadResult::Unchanged } else { ReloadResult::Applied },
            changed: applied,
            feeds,
            kept: difference.kept.len(),
            needs_restart,
            errors: Vec::new(),
        }
    }

    /// Entries of the audits; none if nothing was changed or refused. `why`: cause of the reload.
    pub fn changes(&self, why: &str, at_ns: i64) -> Vec<EdgeChange> {
        let change = |kind, subject: &str, from: &str, to: &str| EdgeChange {
            id: String::new(),
            at: at_ns,
            kind,
            subject: subject.to_owned(),
            why: why.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            outcome: ChangeOutcome::Applied,
            cause: None,
            digest: None,
        };
        let setting = |at: &str, KeyChange { key, from, to }: &KeyChange| {
            change(ChangeKind::Setting, &format!("{at}{key}"), from, to)
        };
        let mut changes: Vec<EdgeChange> = self.changed.iter().map(|key| setting("", key)).collect();
        for feed in &self.feeds {
            let FeedReload { exchange, change: word, keys, symbols_added, symbols_removed, .. } = feed;
            let (from, to) = match word.as_str() {
                "added" => ("", "running"),
                "removed" => ("running", ""),
                word => ("running", word),
            };
            let cause = Some(feed.closed_first.clone()).filter(|text| !text.is_empty());
            changes.push(EdgeChange { cause, ..change(ChangeKind::Feed, exchange, from, to) });
            changes.extend(keys.iter().map(|key| setting(&format!("{exchange}: "), key)));
            if !symbols_added.is_empty() || !symbols_removed.is_empty() {
                changes.push(change(ChangeKind::Symbols, exchange, symbols_removed, symbols_added));
            }
        }
        if let Some(error) = self.errors.first() {
            let refused = change(ChangeKind::Configuration, "configuration", "", "");
            let cause = match self.errors.len() {
                1 => error.clone(),
                count => format!("{error}; and {} more", count - 1),
            };
            changes.push(EdgeChange { outcome: ChangeOutcome::Refused, cause: Some(cause), ..refused });
        }
        for (number, change) in changes.iter_mut().enumerate() {
            change.id = format!("reload-{number}");
        }
        changes
    }

    pub fn log(&self, cause: &str) {
        for error in &self.errors {
            tracing::error!(cause, error, "configuration not applied, the running one stays");
        }
        for KeyChange { key, from, to } in &self.changed {
            tracing::info!(cause, key, from, to, "configuration changed");
        }
        for feed in &self.feeds {
            let FeedReload { exchange, change, symbols_added, symbols_removed, closed_first, .. } = feed;
            let keys: Vec<&str> = feed.keys.iter().map(|key| key.key.as_str()).collect();
            let keys = keys.join(", ");
            tracing::info!(cause, exchange, change, keys, symbols_added, symbols_removed, "feed changed");
            if !closed_first.is_empty() {
                tracing::warn!(cause, exchange, closed_first, "connections of the feed did not overlap");
            }
        }
        for KeyChange { key, from, to } in &self.needs_restart {
            tracing::warn!(cause, key, from, to, "this key keeps its value until the edge starts again");
        }
        if self.result == ReloadResult::Unchanged && self.needs_restart.is_empty() {
            tracing::info!(cause, "the configuration is unchanged");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_reload_is_an_entry_of_its_own() {
        let key = |key: &str| KeyChange { key: key.to_owned(), from: "1".to_owned(), to: "2".to_owned() };
        let feed = |exchange: &str, change: &str| FeedReload {
            exchange: exchange.to_owned(),
            change: change.to_owned(),
            ..FeedReload::default()
        };
        let changed = FeedReload {
            keys: vec![key("symbols")],
            symbols_added: "C-D".to_owned(),
            symbols_removed: "A-B".to_owned(),
            ..feed("sim_spot", "changed")
        };
        let report = ReloadReport {
            result: ReloadResult::Applied,
            changed: vec![key("log.filter")],
            feeds: vec![feed("sim_old", "removed"), feed("sim_new", "added"), changed],
            kept: 1,
            needs_restart: vec![key("edge.name")],
            errors: Vec::new(),
        };
        let changes = report.changes("SIGHUP", 7);
        let texts: Vec<String> = changes
            .iter()
            .map(|one| format!("{} {} {} {:?} to {:?}", one.id, one.kind, one.subject, one.from, one.to))
            .collect();
        let expected = [
            "reload-0 setting log.filter \"1\" to \"2\"",
            "reload-1 feed sim_old \"running\" to \"\"",
            "reload-2 feed sim_new \"\" to \"running\"",
            "reload-3 feed sim_spot \"running\" to \"changed\"",
            "reload-4 setting sim_spot: symbols \"1\" to \"2\"",
            "reload-5 symbols sim_spot \"A-B\" to \"C-D\"",
        ];
        assert_eq!(texts, expected);
        assert!(changes.iter().all(|one| one.at == 7 && one.why == "SIGHUP"));
        let errors = vec!["feed[0].depth: is 7".to_owned(), "b".to_owned()];
        let refused = ReloadReport::refused(ReloadResult::Refused, errors).changes("POST /reload", 7);
        assert_eq!(
            (refused.len(), refused[0].outcome, refused[0].cause.as_deref()),
            (1, ChangeOutcome::Refused, Some("feed[0].depth: is 7; and 1 more"))
        );
    }
}
