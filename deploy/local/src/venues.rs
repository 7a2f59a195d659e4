//! Feeds of the stack, reachability tests of the venues, and their simulation: read from `venues.toml`, so
//! that code names no venue.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::{Client, limits};

#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Venues {
    pub simulator: Simulator,
    pub feed: Vec<Feed>,
}

#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Simulator {
    /// Arguments in addition to `--listen`.
    pub arguments: Vec<String>,
}

#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    pub exchange: String,
    /// The adapter's component, relative to the repository.
    pub adapter: String,
    pub symbols: Vec<String>,
    /// Empty: all.
    #[serde(default)]
    pub market_types: Vec<String>,
    pub data_types: Vec<String>,
    /// HTTP addresses that must all answer for the venue to count as reachable.
    pub probes: Vec<String>,
    /// Endpoint overrides for the simulator; `{address}` is its host and port.
    pub simulated_endpoints: BTreeMap<String, String>,
}

impl Venues {
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is invalid", path.display()))
    }

    /// Asks every venue at once, for at most [`limits::VENUE_ANSWER`]. Returns the reachable exchanges, and
    /// the others with a reason.
    pub async fn probe(&self, client: &Client) -> (Vec<String>, Vec<String>) {
        let mut tasks = tokio::task::JoinSet::new();
        for (index, feed) in self.feed.iter().enumerate() {
            for url in feed.probes.clone() {
                let client = client.clone();
                tasks.spawn(async move { (index, refusal(&client, &url).await) });
            }
        }
        let mut refusals: BTreeMap<usize, String> = BTreeMap::new();
        while let Some(outcome) = tasks.join_next().await {
            match outcome {
                Ok((_, None)) => {}
                Ok((index, Some(why))) => drop(refusals.insert(index, why)),
                // A panic in the client: no feed counts as reachable.
                Err(error) => refusals.extend((0..self.feed.len()).map(|index| (index, error.to_string()))),
            }
        }
        let (mut reachable, mut unreachable) = (Vec::new(), Vec::new());
        for (index, feed) in self.feed.iter().enumerate() {
            match refusals.get(&index) {
                None => reachable.push(feed.exchange.clone()),
                Some(why) => unreachable.push(format!("{} unreachable: {why}", feed.exchange)),
            }
        }
        (reachable, unreachable)
    }
}

/// Reason why an address is not usable. Websocket hosts answer a plain request with a client error, which
/// counts as reachable; a refusal by region (403, 451) or a server error does not.
async fn refusal(client: &Client, url: &str) -> Option<String> {
    match client.get_within(url, limits::VENUE_ANSWER).await {
        Ok(answer) if matches!(answer.status, 401 | 403 | 407 | 451) || answer.status >= 500 => {
            Some(format!("{url} answers with status {}", answer.status))
        }
        Ok(_) => None,
        Err(error) => Some(format!("{url}: {}", error.root_cause())),
    }
}

impl Feed {
    /// The feed's endpoint overrides for a simulator at `address`.
    pub fn endpoints_at(&self, address: &str) -> BTreeMap<String, String> {
        let at = |(name, url): (&String, &String)| (name.clone(), url.replace("{address}", address));
        self.simulated_endpoints.iter().map(at).collect()
    }
}
