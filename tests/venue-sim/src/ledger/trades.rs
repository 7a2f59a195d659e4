//! Trades by symbol and id: how often each was handed to a connection, and whether the socket took it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::decimal::Decimal;
use crate::market::Side;

/// Single matches and aggregated trades are numbered apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TradeKind {
    /// One match.
    Trade,
    /// All matches of a taker order at one price.
    Aggregate,
}

/// Names one trade of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TradeKey {
    /// Index of the symbol in its exchange.
    pub symbol: usize,
    /// Single match or aggregate.
    pub kind: TradeKind,
    /// The trade's id.
    pub id: u64,
}

/// One attempt to send a trade to one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SendAttempt {
    /// Connection number.
    pub connection: u64,
    /// Whether the socket took all bytes of the frame. Taken is not read: a reset connection may still lose
    /// it.
    pub accepted: bool,
}

/// One trade with its fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeRecord {
    /// Trade id.
    pub id: u64,
    /// Ids of the first and last match; equal to `id` for a single match.
    pub matches: (u64, u64),
    /// Price as sent.
    pub price: Decimal,
    /// Quantity as sent.
    pub quantity: Decimal,
    /// The taker's side.
    pub taker: Side,
    /// Venue's trade time, ms.
    pub trade_ms: i64,
    /// Venue's event (sending) time, ms.
    pub event_ms: i64,
    /// Every attempt to send it. Empty: nobody was subscribed, or a fault withheld it.
    pub sends: Vec<SendAttempt>,
    /// How often a fault withheld or spoiled it.
    pub withheld: u32,
}

/// Sums over the tapes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TapeStats {
    pub(super) recorded: u64,
    pub(super) forgotten: u64,
    pub(super) resent: u64,
    pub(super) backlog_lost: u64,
}

#[derive(Debug, Default)]
struct Tape {
    records: VecDeque<TradeRecord>,
    /// Highest id that any socket took.
    accepted: Option<u64>,
    /// Highest id that a client's pong proves to have been read.
    confirmed: Option<u64>,
}

/// What a new subscriber is to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Most trades sent again per stream.
    pub limit: usize,
    /// Trades before the last accepted one that are sent again too.
    pub overlap: u64,
}

/// All tapes of one exchange. Full policy: the oldest trade of the tape is forgotten and counted.
#[derive(Debug)]
pub struct Tapes {
    tapes: BTreeMap<(usize, TradeKind), Tape>,
    capacity: usize,
    pub(super) stats: TapeStats,
}

impl Tapes {
    /// Tapes keeping `capacity` trades per symbol and kind.
    #[must_use]
    pub fn new(capacity: usize) -> Tapes {
        Tapes { tapes: BTreeMap::new(), capacity: capacity.max(1), stats: TapeStats::default() }
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

    /// Notes that a frame was queued for a connection.
    pub fn attempted(&mut self, key: TradeKey, connection: u64) {
        if let Some(record) = self.find(key) {
            record.sends.push(SendAttempt { connection, accepted: false });
        }
    }

    /// Notes that a fault kept a trade from a connection, or spoiled it.
    pub fn withheld(&mut self, key: TradeKey) {
        if let Some(record) = self.find(key) {
            record.withheld += 1;
        }
    }

    /// Notes that a connection's socket took the frame.
    pub fn accepted(&mut self, key: TradeKey, connection: u64) {
        if let Some(record) = self.find(key)
            && let Some(send) = record.sends.iter_mut().find(|s| s.connection == connection && !s.accepted)
        {
            send.accepted = true;
        }
        if let Some(tape) = self.tapes.get_mut(&(key.symbol, key.kind)) {
            tape.accepted = tape.accepted.max(Some(key.id));
        }
    }

    /// Notes that the client proved to have read everything up to this trade.
    pub fn confirmed(&mut self, key: TradeKey) {
        if let Some(tape) = self.tapes.get_mut(&(key.symbol, key.kind)) {
            tape.confirmed = tape.confirmed.max(Some(key.id));
        }
    }

    /// The trades a new subscriber of a stream is sent first: all since the last one that provably arrived,
    /// and an overlap, bounded by the limit (newest kept).
    pub fn backlog(&mut self, symbol: usize, kind: TradeKind, backlog: Backlog) -> Vec<TradeRecord> {
        let Some(tape) = self.tapes.get(&(symbol, kind)) else { return Vec::new() };
        let accepted = tape.accepted.map_or(0, |id| id.saturating_sub(backlog.overlap));
        let after = accepted.min(tape.confirmed.unwrap_or(0));
        let from = tape.records.partition_point(|r| r.id <= after);
        let bounded = from.max(tape.records.len().saturating_sub(backlog.limit));
        let lost = tape.records.range(from..bounded).filter(|r| !r.sends.iter().any(|s| s.accepted)).count();
        let again: Vec<TradeRecord> = tape.records.range(bounded..).cloned().collect();
        self.stats.backlog_lost += lost as u64;
        self.stats.resent += again.len() as u64;
        again
    }

    /// Recorded trades from an id on.
    #[must_use]
    pub fn list(&self, symbol: usize, kind: TradeKind, from_id: u64, limit: usize) -> Vec<TradeRecord> {
        let Some(tape) = self.tapes.get(&(symbol, kind)) else { return Vec::new() };
        let from = tape.records.partition_point(|r| r.id < from_id);
        tape.records.range(from..).take(limit).cloned().collect()
    }

    /// The newest trades, oldest of them first.
    #[must_use]
    pub fn newest(&self, symbol: usize, kind: TradeKind, limit: usize) -> Vec<TradeRecord> {
        let Some(tape) = self.tapes.get(&(symbol, kind)) else { return Vec::new() };
        let from = tape.records.len().saturating_sub(limit);
        tape.records.range(from..).cloned().collect()
    }

    /// Recorded trades of a stretch of time, both ends included.
    #[must_use]
    pub fn between(&self, symbol: usize, kind: TradeKind, from_ms: i64, to_ms: i64) -> Vec<TradeRecord> {
        let Some(tape) = self.tapes.get(&(symbol, kind)) else { return Vec::new() };
        // Times never run backwards within a tape.
        let from = tape.records.partition_point(|r| r.trade_ms < from_ms);
        let of = tape.records.range(from..).take_while(|r| r.trade_ms <= to_ms);
        of.cloned().collect()
    }

    /// First and last recorded id of a tape.
    #[must_use]
    pub fn bounds(&self, symbol: usize, kind: TradeKind) -> Option<(u64, u64)> {
        let tape = self.tapes.get(&(symbol, kind))?;
        Some((tape.records.front()?.id, tape.records.back()?.id))
    }

    fn find(&mut self, key: TradeKey) -> Option<&mut TradeRecord> {
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
        let one = Decimal { units: 1, scale: 0 };
        TradeRecord {
            id,
            matches: (id, id),
            price: one,
            quantity: one,
            taker: Side::Bid,
            trade_ms: 0,
            event_ms: 0,
            sends: Vec::new(),
            withheld: 0,
        }
    }

    // Goal: a full ledger forgets the oldest and says how many; the backlog starts behind what provably
    // arrived.
    #[test]
    fn forgets_by_count_and_resumes_behind_the_confirmed_trade() {
        let mut ledger = Tapes::new(100);
        for id in 1..=150 {
            ledger.record(0, TradeKind::Trade, record(id));
        }
        assert_eq!(ledger.stats.forgotten, 50);
        assert_eq!(ledger.bounds(0, TradeKind::Trade), Some((51, 150)));
        let key = |id| TradeKey { symbol: 0, kind: TradeKind::Trade, id };
        ledger.attempted(key(120), 7);
        ledger.accepted(key(120), 7);
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
