//! Data of an exchange for its REST answers.

use crate::clock;
use crate::exchange::{Exchange, lock};
use crate::ledger::{TradeKind, TradeRecord};
use crate::market::{Ratio, RatioKind, Reference, Side, SymbolMarket};
use crate::venue::{ListedInstrument, Snapshot, Source};

/// REST data of an exchange, current or outdated.
pub struct RestView<'a> {
    pub exchange: &'a Exchange,
    pub stale_updates: Option<u64>,
}

impl Source for RestView<'_> {
    fn listed(&self) -> &[ListedInstrument] {
        &self.exchange.listed
    }

    fn find(&self, symbol: &str) -> Option<&ListedInstrument> {
        self.exchange.find_symbol(symbol)
    }

    fn now_ms(&self) -> i64 {
        clock::now_ms()
    }

    fn snapshot(&self, symbol: usize, depth: usize) -> Option<Snapshot> {
        let market = lock(&self.exchange.market);
        let symbol = market.symbols.get(symbol)?;
        let past =
            self.stale_updates.and_then(|back| symbol.book_back(usize::try_from(back).unwrap_or(usize::MAX)));
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

    fn reference(&self, symbol: usize) -> Option<Reference> {
        let market = lock(&self.exchange.market);
        market.symbols.get(symbol)?.asked_reference(self.exchange.pace(), clock::now_ms())
    }

    fn ratios(&self, symbol: usize, kind: RatioKind, limit: usize) -> Vec<Ratio> {
        let market = lock(&self.exchange.market);
        let rows = |m: &SymbolMarket| m.ratios(kind, self.exchange.pace(), clock::now_ms(), limit);
        market.symbols.get(symbol).map(rows).unwrap_or_default()
    }

    fn newest_trades(&self, symbol: usize, kind: TradeKind, limit: usize) -> Vec<TradeRecord> {
        self.exchange.ledger().trades.newest(symbol, kind, limit)
    }

    fn trades_from(&self, symbol: usize, kind: TradeKind, from_id: u64, limit: usize) -> Vec<TradeRecord> {
        self.exchange.ledger().trades.list(symbol, kind, from_id, limit)
    }

    fn trades_between(&self, symbol: usize, kind: TradeKind, from_ms: i64, to_ms: i64) -> Vec<TradeRecord> {
        let within = |record: &TradeRecord| record.trade_ms >= from_ms && record.trade_ms <= to_ms;
        let mut found: Vec<_> = self.exchange.past(symbol).iter().filter(|r| within(r)).cloned().collect();
        found.extend(self.exchange.ledger().trades.between(symbol, kind, from_ms, to_ms));
        found
    }

    fn liquidation_delay_ms(&self) -> i64 {
        self.exchange.options().liquidation_delay_ms
    }
}
