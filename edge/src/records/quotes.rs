//! Quotes: the best bid and ask of each book, whenever one of them is another than in its quote before.

use marketprism_book::BookView;
use marketprism_schema::Quote;

use super::deltas::is_repeated;

/// The newest quote of one book.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastQuote {
    quote: Quote,
    at_ns: i64,
}

impl LastQuote {
    /// The quote to publish after an update, if any: a crossed book has none. Each epoch begins with one, and one is repeated that may be
    /// lost: `lost_ns` is the time of the newest record that the queue dropped.
    pub(super) fn after(before: Option<&Self>, view: &BookView<'_>, lost_ns: i64) -> Option<Self> {
        if view.is_crossed() {
            return None;
        }
        let level = |(price, quantity)| [price, quantity];
        let quote = Quote {
            epoch: view.epoch(),
            last_update_id: view.last_update_id(),
            price_scale: view.price_scale(),
            quantity_scale: view.quantity_scale(),
            bid: view.known_bids().next().map(level),
            ask: view.known_asks().next().map(level),
        };
        let at_ns = view.received_at_ns();
        let is_known = before.is_some_and(|last| {
            last.quote.epoch == quote.epoch
                && last.quote.has_levels_of(&quote)
                && !is_repeated(last.at_ns, at_ns, lost_ns)
        });
        (!is_known).then_some(Self { quote, at_ns })
    }

    pub(super) const fn quote(&self) -> Quote {
        self.quote
    }
}
