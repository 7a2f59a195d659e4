//! `check --online`: what the venues list of a configuration, and the plans of it.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Context;
use marketprism_adapter_host::contract::Plan;
use marketprism_schema::Decimal;
use marketprism_service::error_text;
use marketprism_socket::Budgets;

use super::context::{blocks_file, socket_options};
use super::listing::{FeedListing, ListingReader};
use super::parts::RankedMarket;
use crate::config::{Adapters, Config, FeedConfig};

/// Result of the check.
#[derive(Debug)]
pub struct OnlineCheck {
    /// A line per feed, and one for what a venue does not list.
    pub text: String,
    /// Every venue answered, and lists everything.
    pub is_complete: bool,
}

pub async fn check_online(config: &Config, adapters: &Adapters) -> OnlineCheck {
    // A request while the venue blocks the address of the edge would make the block longer.
    let budgets = Budgets::blocked_by(&blocks_file(config));
    let mut check = OnlineCheck { text: String::new(), is_complete: true };
    for (index, feed) in config.feeds.iter().enumerate() {
        match read(config, feed, adapters, budgets.clone()).await {
            Ok((listing, plan)) => check.add(index, feed, &listing, &plan),
            Err(error) => {
                check.is_complete = false;
                let error = error_text(error.as_ref());
                // Writing to a string does not fail.
                let _ = writeln!(check.text, "feed[{index}] {}: {error}", feed.exchange);
            }
        }
    }
    check
}

async fn read(
    config: &Config,
    feed: &FeedConfig,
    adapters: &Adapters,
    budgets: Budgets,
) -> anyhow::Result<(FeedListing, Plan)> {
    let adapter = adapters.current(&feed.adapter).context("the adapter is not loaded")?;
    let options = socket_options(feed, false);
    let reader = ListingReader::new(adapter, config.sandbox.limits(), budgets, options, feed)?;
    let listing = reader.read(&BTreeSet::new(), None).await?;
    let plan = reader.plan(&listing.instruments)?;
    Ok((listing, plan))
}

fn shown(market: &RankedMarket) -> String {
    let RankedMarket { key: (symbol, _), rank, value } = market;
    let value =
        value.map_or_else(|| "no volume".to_owned(), |value| Decimal::from(value).normalized().to_string());
    format!("{rank}. {symbol} {value}")
}

impl OnlineCheck {
    fn add(&mut self, index: usize, feed: &FeedConfig, listing: &FeedListing, plan: &Plan) {
        let FeedListing { instruments, not_listed, hint, ranking, ranking_problem, .. } = listing;
        let (connections, polls) = (plan.connections.len(), plan.polls.len());
        let (exchange, instruments) = (&feed.exchange, instruments.len());
        let _ = writeln!(
            self.text,
            "feed[{index}] {exchange}: {instruments} instruments listed, {connections} connections, {polls} polls"
        );
        if let Some(problem) = ranking_problem {
            self.is_complete = false;
            let _ = writeln!(
                self.text,
                "feed[{index}].top: the venue's ranking cannot be read, so that only named symbols are collected: {problem}"
            );
        }
        if let Some((ranking, by)) = ranking.as_ref().zip(feed.top.by) {
            let (by, currency, shown) = (by.as_str(), &ranking.currency, ranking.chosen.iter().map(shown));
            let all = ranking.chosen.len() + ranking.outranked.len();
            let (count, shown) = (ranking.chosen.len(), shown.collect::<Vec<_>>().join(", "));
            let _ = writeln!(
                self.text,
                "feed[{index}].top: {count} of {all} markets by {by} in {currency}: {shown}"
            );
            if !ranking.unranked.is_empty() {
                self.is_complete = false;
                let _ = writeln!(
                    self.text,
                    "feed[{index}].top: the volumes of {} are in other currencies, so that they have no place (allowed: patterns of markets \
                     with one currency of their volume, such as `*-USDT`)",
                    ranking.unranked.join(", ")
                );
            }
        }
        if !not_listed.is_empty() {
            self.is_complete = false;
            let allowed = if hint.is_empty() { String::new() } else { format!(" (allowed: {hint})") };
            let _ = writeln!(
                self.text,
                "feed[{index}].symbols: the venue does not list {}{allowed}",
                not_listed.join(", ")
            );
        }
    }
}
