//! Consequences of a list for the instruments of a feed, in the metrics and in the audits.

use marketprism_schema::{ChangeKind, ChangeOutcome, EdgeChange};
use marketprism_service::clock;

use super::context::FeedContext;
use super::parts::named;

/// Labels of changes of the venue's lists.
pub const LISTING_CHANGES: [&str; 5] = ["listed", "ranked", "delisted", "outranked", "changed"];

/// Symbols by change.
#[derive(Debug, Default)]
pub struct AppliedListing {
    /// New ones of the list.
    pub listed: Vec<String>,
    /// New ones that their rank selects.
    pub ranked: Vec<String>,
    pub delisted: Vec<String>,
    /// Fallen out of the ranking.
    pub outranked: Vec<String>,
    /// With other terms than before.
    pub changed: Vec<String>,
}

impl AppliedListing {
    /// Counts the changes, and notes them for the audits.
    pub fn report(&self, feed: &FeedContext) {
        let exchange = feed.status.exchange.as_str();
        let Self { listed, ranked, delisted, outranked, changed } = self;
        let symbols = [listed, ranked, delisted, outranked, changed];
        for (change, symbols) in LISTING_CHANGES.into_iter().zip(symbols).filter(|(_, all)| !all.is_empty()) {
            let count = u64::try_from(symbols.len()).unwrap_or_default();
            feed.edge.metrics.listing_changes.with_label_values(&[exchange, change]).inc_by(count);
            let text = named(symbols.iter().map(String::as_str));
            let (why, from, to) = match change {
                "listed" => ("listed by the venue", String::new(), text),
                "ranked" => ("ranked", String::new(), text),
                "delisted" => ("delisted by the venue", text, String::new()),
                "outranked" => ("fell out of the ranking", text, String::new()),
                _ => ("terms changed by the venue", text.clone(), text),
            };
            feed.edge.auditor.note_changes([EdgeChange {
                id: format!("listing-{exchange}-{change}"),
                at: clock::now_ns(),
                kind: ChangeKind::Symbols,
                subject: exchange.to_owned(),
                why: why.to_owned(),
                from,
                to,
                outcome: ChangeOutcome::Applied,
                cause: None,
                digest: None,
            }]);
        }
    }
}
