//! What the stack collects: feeds, how to see whether a venue can be reached, and how to simulate it. Read from `venues.toml`, so that
//! no venue's name stands in code.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::{Client, limits};

/// `deploy/local/venues.toml`.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Venues {
    /// How the simulator is started.
    pub simulator: Simulator,
    /// What is collected.
    pub feed: Vec<Feed>,
}

/// How the simulator is started.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Simulator {
    /// Arguments beside `--listen`.
    pub arguments: Vec<String>,
}

/// One feed of the edge.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// Exchange id.
    pub exchange: String,
    /// The adapter's component, relative to the repository.
    pub adapter: String,
    /// Normalized symbols.
    pub symbols: Vec<String>,
    /// Market types; empty takes all.
    #[serde(default)]
    pub market_types: Vec<String>,
    /// Data types.
    pub data_types: Vec<String>,
    /// Addresses that must all answer over HTTP for the venue to count as reachable.
    pub probes: Vec<String>,
    /// Endpoint overrides when simulated; `{address}` stands for host and port of the simulator.
    pub simulated_endpoints: BTreeMap<String, String>,
}

impl Venues {
    /// Reads the file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is wrong", path.display()))
    }

    /// Asks every venue at once; takes as long as the slowest answer, at most [`limits::VENUE_ANSWER`]. Gives the exchanges that can
    /// be used, and for the others why not.
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
                // Cannot happen short of a bug in the client: no feed may then count as reachable.
                Err(error) => refusals.extend((0..self.feed.len()).map(|index| (index, error.to_string()))),
            }
        }
        let (mut reachable, mut silent) = (Vec::new(), Vec::new());
        for (index, feed) in self.feed.iter().enumerate() {
            match refusals.get(&index) {
                None => reachable.push(feed.exchange.clone()),
                Some(why) => silent.push(format!("{}: {why}", feed.exchange)),
            }
        }
        (reachable, silent)
    }
}

/// Why an address cannot be used; nothing where it can. Websocket hosts answer a plain request with a client error, which counts as an
/// answer; a refusal by place (403, 451) or a broken server does not.
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
    #[must_use]
    pub fn endpoints_at(&self, address: &str) -> BTreeMap<String, String> {
        let at = |(name, url): (&String, &String)| (name.clone(), url.replace("{address}", address));
        self.simulated_endpoints.iter().map(at).collect()
    }
}
