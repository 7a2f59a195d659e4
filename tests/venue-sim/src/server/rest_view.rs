//! An exchange as the source of its REST answers.

use crate::exchange::{Exchange, lock};
use crate::ledger::{TradeKind, TradeRecord};
use crate::market::Side;
use crate::venue::{Listed, Snapshot, Source};

/// The exchange as the source of REST answers, on time or late.
pub struct RestView<'a> {
    /// The exchange.
    pub exchange: &'a Exchange,
    /// Snapshots show the book of this many changes ago.
    pub stale_updates: Option<u64>,
}

impl Source for RestView<'_> {
    fn listed(&self) -> &[Listed] {
        &self.exchange.listed
    }

    fn find(&self, symbol: &str) -> Option<&Listed> {
        self.exchange.find_symbol(symbol)
    }

    fn snapshot(&self, symbol: usize, depth: usize) -> Option<Snapshot> {
        let market = lock(&self.exchange.market);
        let symbol = market.symbols.get(symbol)?;
        let past = self.stale_updates.and_then(|back| {
            let id = symbol.history().id_back(usize::try_from(back).unwrap_or(usize::MAX))?;
            Some((id, symbol.history().book_at(id)?))
        });
        let (last_update_id, book) = match &past {
            Some((id, book)) => (*id, book),
            None => (symbol.last_update_id(), symbol.book()),
        };
        Some(Snapshot {
            last_update_id,
            bids: book.top(Side::Bid, depth),
            asks: book.top(Side::Ask, depth),
            engine_ms: symbol.engine_ms(),
        })
    }

    fn newest_trades(&self, symbol: usize, kind: TradeKind, limit: usize) -> Vec<TradeRecord> {
        self.exchange.ledger().newest(symbol, kind, limit)
    }

    fn trades_from(&self, symbol: usize, kind: TradeKind, from_id: u64, limit: usize) -> Vec<TradeRecord> {
        self.exchange.ledger().list(symbol, kind, from_id, limit)
    }
}
