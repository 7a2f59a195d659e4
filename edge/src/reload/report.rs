//! Result of a reload, for its answer and the log.

use serde::Serialize;

use crate::config::{Config, ConfigDifference, KeyChange};
use crate::feed::SelectedChange;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadResult {
    Applied,
    /// Nothing differs, or only what needs a restart.
    Unchanged,
    /// The configuration is invalid.
    Refused,
    /// The configuration is valid, but a feed cannot be changed to it.
    Failed,
}

impl ReloadResult {
    pub const ALL: [Self; 4] = [Self::Applied, Self::Unchanged, Self::Refused, Self::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// The running configuration is that of the file, but for what needs a restart.
    pub const fn is_current(self) -> bool {
        matches!(self, Self::Applied | Self::Unchanged)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FeedReload {
    pub exchange: String,
    /// `added`, `removed`, `restarted`, or `changed` with its connections and books left as they are.
    pub change: &'static str,
    pub keys: Vec<KeyChange>,
    pub symbols_added: String,
    pub symbols_removed: String,
}

impl ReloadReport {
    pub fn refused(result: ReloadResult, errors: Vec<String>) -> Self {
        let (changed, feeds, needs_restart) = (Vec::new(), Vec::new(), Vec::new());
        Self { result, changed, feeds, kept: 0, needs_restart, errors }
    }

    pub fn applied(
        difference: ConfigDifference,
        (old, new): (&Config, &Config),
        selected: &[SelectedChange],
    ) -> Self {
        let ConfigDifference { applied, needs_restart, feeds: difference } = difference;
        let exchange = |config: &Config, position: usize| {
            config.feeds.get(position).map(|feed| feed.exchange.clone()).unwrap_or_default()
        };
        let of = |exchange, change| FeedReload { exchange, change, ..FeedReload::default() };
        let mut feeds: Vec<FeedReload> =
            difference.removed.iter().map(|position| of(exchange(old, *position), "removed")).collect();
        feeds.extend(difference.added.iter().map(|position| of(exchange(new, *position), "added")));
        feeds.extend(difference.changed.into_iter().map(|change| {
            let selected = selected.iter().find(|selected| selected.feed == change.new);
            let text = |symbols: fn(&SelectedChange) -> &[String]| {
                selected.map(|change| SelectedChange::text(symbols(change))).unwrap_or_default()
            };
            FeedReload {
                exchange: exchange(new, change.new),
                change: if change.in_place { "changed" } else { "restarted" },
                keys: change.keys,
                symbols_added: text(|change| &change.added),
                symbols_removed: text(|change| &change.removed),
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

    pub fn log(&self, cause: &str) {
        for error in &self.errors {
            tracing::error!(cause, error, "configuration not applied, the running one stays");
        }
        for KeyChange { key, from, to } in &self.changed {
            tracing::info!(cause, key, from, to, "configuration changed");
        }
        for feed in &self.feeds {
            let FeedReload { exchange, change, symbols_added, symbols_removed, .. } = feed;
            let keys: Vec<&str> = feed.keys.iter().map(|key| key.key.as_str()).collect();
            let keys = keys.join(", ");
            tracing::info!(cause, exchange, change, keys, symbols_added, symbols_removed, "feed changed");
        }
        for KeyChange { key, from, to } in &self.needs_restart {
            tracing::warn!(cause, key, from, to, "this key keeps its value until the edge starts again");
        }
        if self.result == ReloadResult::Unchanged && self.needs_restart.is_empty() {
            tracing::info!(cause, "the configuration is unchanged");
        }
    }
}
