//! Trades by symbol and id, with every attempt to send them.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::events::Deliveries;
use crate::decimal::Decimal;
use crate::market::Side;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TradeKind {
    Trade,
    /// All matches of a taker order at one price.
    Aggregate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TradeKey {
    pub symbol: usize,
    pub kind: TradeKind,
    pub id: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LedgerStats {
    pub recorded: u64,
    /// Trades dropped from the full ledger.
    pub forgotten: u64,
    /// Trades sent again to a new subscriber.
    pub resent: u64,
    /// Trades never accepted by a socket that the limit of the backlog kept from being sent again.
    pub backlog_lost: u64,
    pub events: u64,
    /// Events dropped from the full ledger.
    pub events_forgotten: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TradeRecord {
    pub id: u64,
    /// Ids of the first and last match; equal to `id` for a single match.
    pub matches: (u64, u64),
    pub price: Decimal,
    pub quantity: Decimal,
    pub taker: Side,
    pub trade_ms: i64,
    pub event_ms: i64,
    pub deliveries: Deliveries,
}

#[derive(Debug, Default)]
struct Tape {
    records: VecDeque<TradeRecord>,
    accepted: Option<u64>,
    confirmed: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    pub limit: usize,
    pub overlap: u64,
}

/// Trades of one exchange by symbol and kind. When full, the oldest trade is dropped and counted.
#[derive(Debug)]
pub struct Tapes {
    tapes: BTreeMap<(usize, TradeKind), Tape>,
    capacity: usize,
    pub(super) stats: LedgerStats,
}

impl Tapes {
    pub fn new(capacity: usize) -> Tapes {
        Tapes { tapes: BTreeMap::new(), capacity: capacity.max(1), stats: LedgerStats::default() }
    }

    /// Records a new trade. Ids must grow; an id seen before is ignored.
    pub fn record(&mut self, symbol: usize, kind: TradeKind, record: TradeRecord) {
        let tape = self.tapes.entry((symbol, kind)).or_default();
        if tape.records.back().is_some_and(|last| last.id >= record.id) {
            return;
        }
        if tape.records.len() >= self.capacity {
            tape.records.pop_front();
            self.stats.forgotten += 1;
        }
        tape.records.push_back(record);
        self.stats.recorded += 1;
    }

    pub fn accepted(&mut self, key: TradeKey) {
        if let Some(tape) = self.tapes.get_mut(&(key.symbol, key.kind)) {
            tape.accepted = tape.accepted.max(Some(key.id));
        }
    }

    /// Notes that a pong proved that the client read everything up to this trade.
    pub fn confirmed(&mut self, key: TradeKey) {
        if let Some(tape) = self.tapes.get_mut(&(key.symbol, key.kind)) {
            tape.confirmed = tape.confirmed.max(Some(key.id));
        }
    }

    /// Trades for a new subscriber: all since the last one that provably arrived, with an overlap; the newest within the limit.
    pub fn backlog(&mut self, symbol: usize, kind: TradeKind, backlog: Backlog) -> Vec<TradeRecord> {
        let Some(tape) = self.tapes.get(&(symbol, kind)) else { return Vec::new() };
        let accepted = tape.accepted.map_or(0, |id| id.saturating_sub(backlog.overlap));
        let after = accepted.min(tape.confirmed.unwrap_or(0));
        let from = tape.records.partition_point(|r| r.id <= after);
        let bounded = from.max(tape.records.len().saturating_sub(backlog.limit));
        let lost = tape.records.range(from..bounded).filter(|r| r.deliveries.accepted == 0).count();
        let again: Vec<TradeRecord> = tape.records.range(bounded..).cloned().collect();
        self.stats.backlog_lost += lost as u64;
        self.stats.resent += again.len() as u64;
        again
    }

    pub fn list(&self, symbol: usize, kind: TradeKind, from_id: u64, limit: usize) -> Vec<TradeRecord> {
        let Some(records) = self.tapes.get(&(symbol, kind)).map(|tape| &tape.records) else {
            return Vec::new();
        };
        let from = records.partition_point(|r| r.id < from_id);
        records.range(from..).take(limit).cloned().collect()
    }

    pub fn newest(&self, symbol: usize, kind: TradeKind, limit: usize) -> Vec<TradeRecord> {
        let Some(tape) = self.tapes.get(&(symbol, kind)) else { return Vec::new() };
        let from = tape.records.len().saturating_sub(limit);
        tape.records.range(from..).cloned().collect()
    }

    pub fn between(&self, symbol: usize, kind: TradeKind, from_ms: i64, to_ms: i64) -> Vec<TradeRecord> {
        let Some(tape) = self.tapes.get(&(symbol, kind)) else { return Vec::new() };
        // Times never run backwards within a tape.
        let from = tape.records.partition_point(|r| r.trade_ms < from_ms);
        let of = tape.records.range(from..).take_while(|r| r.trade_ms <= to_ms);
        of.cloned().collect()
    }

    pub fn bounds(&self, symbol: usize, kind: TradeKind) -> Option<(u64, u64)> {
        let tape = self.tapes.get(&(symbol, kind))?;
        Some((tape.records.front()?.id, tape.records.back()?.id))
    }

    pub(super) fn find(&mut self, key: TradeKey) -> Option<&mut TradeRecord> {
        let records = &mut self.tapes.get_mut(&(key.symbol, key.kind))?.records;
        let first = records.front()?.id;
        // Ids are consecutive in a generated market; a recording may leave some out.
        let guess = usize::try_from(key.id.checked_sub(first)?).ok()?;
        let at = match records.get(guess) {
            Some(record) if record.id == key.id => guess,
            _ => records.binary_search_by_key(&key.id, |r| r.id).ok()?,
        };
        records.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64) -> TradeRecord {
        TradeRecord { id, matches: (id, id), ..TradeRecord::default() }
    }

    #[test]
    fn forgets_by_count_and_resumes_behind_the_confirmed_trade() {
        let mut ledger = Tapes::new(100);
        for id in 1..=150 {
            ledger.record(0, TradeKind::Trade, record(id));
        }
        assert_eq!(ledger.stats.forgotten, 50);
        assert_eq!(ledger.bounds(0, TradeKind::Trade), Some((51, 150)));
        let key = |id| TradeKey { symbol: 0, kind: TradeKind::Trade, id };
        ledger.accepted(key(120));
        ledger.find(key(120)).expect("kept").deliveries.accepted = 1;
        let ids = |ledger: &mut Tapes, limit| {
            let backlog = Backlog { limit, overlap: 5 };
            ledger.backlog(0, TradeKind::Trade, backlog).iter().map(|r| r.id).collect::<Vec<_>>()
        };
        // Accepted alone proves nothing.
        assert_eq!(ids(&mut ledger, 1000).first(), Some(&51));
        ledger.confirmed(key(110));
        assert_eq!(ids(&mut ledger, 1000).first(), Some(&111));
        ledger.confirmed(key(120));
        assert_eq!(ids(&mut ledger, 1000).first(), Some(&116));
        assert_eq!(ids(&mut ledger, 10), (141..=150).collect::<Vec<_>>());
        assert_eq!(ledger.stats.backlog_lost, 24);
    }
}
