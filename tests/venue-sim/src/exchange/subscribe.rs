//! Connections, subscriptions, and first frames of a subscription.

use std::collections::HashMap;
use std::sync::Arc;

use super::state::{Exchange, Market, lock};
use crate::clock;
use crate::delivery::{Connection, Counters, Frame, Hub, offer};
use crate::ledger::{Backlog, LedgerEntry, TradeKey, TradeKind, TradeRecord};
use crate::market::{Event, SymbolMarket};
use crate::venue::{Content, Snapshot};

/// Trades that a venue repeats to a new subscriber.
const TRADES_AGAIN: usize = 50;

impl Exchange {
    pub fn join(&self, connection: &Arc<Connection>, streams: &[String]) {
        Counters::add(&self.counters.connections, 1);
        lock(&self.hub).add(connection.clone());
        self.subscribe(connection, streams);
    }

    pub fn leave(&self, connection: u64) {
        lock(&self.hub).remove(connection);
    }

    /// Unknown streams and streams of another route are accepted and stay silent.
    pub fn subscribe(&self, connection: &Arc<Connection>, streams: &[String]) {
        self.subscribe_with(connection, streams, TRADES_AGAIN);
    }

    /// As [`Self::subscribe`], without the trades of before.
    pub fn subscribe_from_now(&self, connection: &Arc<Connection>, streams: &[String]) {
        self.subscribe_with(connection, streams, 0);
    }

    fn subscribe_with(&self, connection: &Arc<Connection>, streams: &[String], trades_again: usize) {
        for stream in streams {
            connection.with_subscriptions(|names| names.insert(stream.clone()));
            if !self.venue.carries(connection.route, stream) {
                continue;
            }
            match self.streams.get(stream.as_str()) {
                Some(Some((symbol, content))) if self.has_first_state(*content) => {
                    self.subscribe_state(connection, stream, (*symbol, *content));
                }
                other => {
                    self.subscribe_other(connection, stream, other.copied().flatten(), trades_again);
                }
            }
        }
    }

    fn has_first_state(&self, content: Content) -> bool {
        matches!(content, Content::Book(_)) || self.venue.first_topic(content).is_some()
    }

    /// Sends the current book or values to the new subscriber; all later updates go to all subscribers.
    fn subscribe_state(&self, connection: &Arc<Connection>, stream: &str, (n, content): (usize, Content)) {
        let mut guard = lock(&self.market);
        let Market { symbols, events, .. } = &mut *guard;
        let (mut hub, mut ledger) = (lock(&self.hub), self.ledger());
        let now_ms = clock::now_ms();
        let (Some(symbol), Some(listed)) = (symbols.get_mut(n), self.listed.get(n)) else {
            // A recording is played.
            hub.subscribe(stream, connection);
            return;
        };
        self.update_wanted(symbol, n, &hub);
        match content {
            Content::Book(cadence) => symbol.publish(cadence, now_ms, events),
            _ => symbol.timed_events(now_ms, self.pace(), events),
        }
        self.publish(n, events, &mut hub, &mut ledger);
        if !hub.subscribe(stream, connection) {
            return;
        }
        let first = match content {
            Content::Book(cadence) => {
                let snapshot = snapshot_of(symbol, cadence);
                self.venue.snapshot_frame(listed, stream, &snapshot).map(|raw| (raw, Vec::new()))
            }
            // Values of whole periods have even times.
            _ => {
                self.venue.first_topic(content).zip(symbol.reference(now_ms | 1)).map(|(topic, reference)| {
                    let event = Event::Reference(topic, reference);
                    let carries = self.venue.event_data(listed, &event).into_iter();
                    let carries =
                        carries.map(|data| LedgerEntry::Event(ledger.events.record(data))).collect();
                    (self.venue.event_frame(listed, stream, &event), carries)
                })
            }
        };
        if let Some((raw, carries)) = first {
            let frame = Arc::new(Frame::new(Arc::from(stream), false, carries, raw));
            hub.dispatch_to(connection, &frame, &mut self.context(&listed.instrument.symbol, &mut ledger));
        }
    }

    fn subscribe_other(
        &self,
        connection: &Arc<Connection>,
        stream: &str,
        content: Option<(usize, Content)>,
        trades_again: usize,
    ) {
        let mut hub = lock(&self.hub);
        if !hub.subscribe(stream, connection) {
            return;
        }
        match content {
            Some((symbol, Content::Trades(kind))) if self.config.backlog => {
                self.send_backlog(connection, stream, symbol, kind);
            }
            Some((symbol, Content::Trades(kind))) => {
                self.send_newest_trades(connection, stream, (symbol, kind, trades_again), &mut hub);
            }
            _ => {}
        }
        self.send_first(connection, stream, &mut hub);
    }

    fn send_first(&self, connection: &Arc<Connection>, stream: &str, hub: &mut Hub) {
        let mut ledger = self.ledger();
        let newest = |kind, fits: &dyn Fn(&str) -> bool, limit| ledger.events.newest(kind, fits, limit);
        let Some((raw, numbers)) = self.venue.first_frame(stream, &self.listed, &newest) else { return };
        let carries = numbers.into_iter().map(LedgerEntry::Event).collect();
        let frame = Arc::new(Frame::new(Arc::from(stream), false, carries, raw));
        hub.dispatch_to(connection, &frame, &mut self.context("", &mut ledger));
    }

    fn send_newest_trades(
        &self,
        connection: &Arc<Connection>,
        stream: &str,
        (symbol, kind, trades_again): (usize, TradeKind, usize),
        hub: &mut Hub,
    ) {
        let Some(listed) = self.listed.get(symbol) else { return };
        let mut ledger = self.ledger();
        let records = ledger.trades.newest(symbol, kind, trades_again);
        let Some(raw) = self.venue.trade_snapshot(listed, &records).filter(|_| !records.is_empty()) else {
            return;
        };
        let entry = |r: &TradeRecord| LedgerEntry::Trade(TradeKey { symbol, kind, id: r.id });
        let frame = Arc::new(Frame::new(Arc::from(stream), false, records.iter().map(entry).collect(), raw));
        hub.dispatch_to(connection, &frame, &mut self.context(&listed.instrument.symbol, &mut ledger));
    }

    fn send_backlog(&self, connection: &Arc<Connection>, stream: &str, symbol: usize, kind: TradeKind) {
        let Some(listed) = self.listed.get(symbol) else { return };
        let mut ledger = self.ledger();
        let backlog = Backlog { limit: self.config.backlog_limit, overlap: self.config.backlog_overlap };
        let records = ledger.trades.backlog(symbol, kind, backlog);
        let mut context = self.context(&listed.instrument.symbol, &mut ledger);
        for chunk in records.chunks(self.venue.profile().trades_per_frame) {
            let frame = self.trade_frame(listed, &Arc::from(stream), kind, chunk);
            offer(connection, &Arc::new(frame), &mut context);
        }
    }

    pub fn unsubscribe(&self, connection: &Arc<Connection>, streams: &[String]) {
        let mut hub = lock(&self.hub);
        for stream in streams {
            connection.with_subscriptions(|names| names.remove(stream));
            hub.unsubscribe(stream, connection.id);
        }
    }

    pub fn confirmed(&self, marks: &HashMap<(usize, TradeKind), u64>) {
        let mut ledger = self.ledger();
        for ((symbol, kind), id) in marks {
            ledger.trades.confirmed(TradeKey { symbol: *symbol, kind: *kind, id: *id });
        }
    }
}

fn snapshot_of(symbol: &mut SymbolMarket, cadence: usize) -> Snapshot {
    let [bids, asks] = symbol.first_book(cadence);
    let (last_update_id, change_id) = (symbol.published_id(cadence), symbol.last_change());
    Snapshot { last_update_id, change_id, bids, asks, engine_ms: symbol.engine_ms() }
}
