//! Events of the market to subscribers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::Rng as _;
use tokio::time::{sleep, sleep_until};

use super::state::{Exchange, Market, lock};
use crate::clock;
use crate::decimal::Decimal;
use crate::delivery::{Frame, Hub};
use crate::ledger::{DataType, Ledger, LedgerEntry, TradeKey, TradeKind, TradeRecord};
use crate::market::{Event, SymbolMarket, Topic, Trade, volatility};
use crate::recording::{RecordedTrade, Recording, shift_times};
use crate::venue::{Content, Encoded, ListedInstrument};

/// Default period of a volatility index, ms.
const INDEX_MS: i64 = 1000;

impl Exchange {
    /// Generates events until about `frames` frames (trades and fast book updates) are made; returns their number.
    pub fn generate(&self, now_ms: i64, frames: u64, trade_percent: u32) -> u64 {
        let mut guard = lock(&self.market);
        let Market { symbols, dice, events, .. } = &mut *guard;
        if symbols.is_empty() {
            return frames;
        }
        let usual = self.venue.profile().usual_trades;
        let mut made = 0;
        let (mut hub, mut ledger) = (lock(&self.hub), self.ledger());
        while made < frames {
            let chosen = dice.random_range(0..symbols.len());
            if !self.listings.has(chosen) {
                made += 1;
                continue;
            }
            let Some(symbol) = symbols.get_mut(chosen) else { break };
            self.update_wanted(symbol, chosen, &hub);
            let count = if dice.random_range(0..100) < trade_percent {
                let (matches, aggregates) = symbol.trade_event(now_ms, events);
                if usual == TradeKind::Trade { matches } else { aggregates }
            } else {
                symbol.book_event(now_ms, events)
            };
            // An event that yields nothing still costs one, so that the loop always ends.
            made += count.max(1) as u64;
            self.publish(chosen, events, &mut hub, &mut ledger);
        }
        made
    }

    pub fn generate_timed(&self, now_ms: i64) {
        let pace = self.pace();
        for n in self.due(now_ms) {
            self.with_symbol(n, |symbol, events| symbol.timed_events(now_ms, pace, events));
        }
        self.timed_indices(now_ms, pace.event_ms.unwrap_or(INDEX_MS));
        let (mut hub, mut ledger) = (lock(&self.hub), self.ledger());
        hub.release_held(Instant::now(), &mut self.context("", &mut ledger));
    }

    fn due(&self, now_ms: i64) -> Vec<usize> {
        let market = lock(&self.market);
        let is_due = |(n, symbol): &(usize, &SymbolMarket)| self.listings.has(*n) && symbol.is_due(now_ms);
        let due = market.symbols.iter().enumerate().filter(is_due);
        due.map(|(n, _)| n).collect()
    }

    /// Publishes all unpublished book changes, so that clients have the current book.
    pub fn flush(&self, now_ms: i64) {
        self.each_symbol(|symbol, events| symbol.flush(now_ms, events));
    }

    fn each_symbol(&self, work: impl Fn(&mut SymbolMarket, &mut Vec<Event>)) {
        for n in 0..self.listed.len() {
            self.with_symbol(n, &work);
        }
    }

    pub(crate) fn with_symbol<T>(
        &self,
        n: usize,
        work: impl FnOnce(&mut SymbolMarket, &mut Vec<Event>) -> T,
    ) -> Option<T> {
        let mut guard = lock(&self.market);
        let Market { symbols, events, .. } = &mut *guard;
        let symbol = symbols.get_mut(n)?;
        let (mut hub, mut ledger) = (lock(&self.hub), self.ledger());
        self.update_wanted(symbol, n, &hub);
        let done = work(symbol, events);
        self.publish(n, events, &mut hub, &mut ledger);
        Some(done)
    }

    pub(super) fn update_wanted(&self, symbol: &mut SymbolMarket, index: usize, hub: &Hub) {
        if let Some(listed) = self.listed.get(index) {
            symbol.want(|cadence| {
                listed.streams_with(Content::Book(cadence)).any(|stream| hub.is_wanted(stream))
            });
        }
    }

    pub(crate) fn push(&self, symbol: usize, data_type: DataType, count: usize, now_ms: i64) -> usize {
        let fits = |topic: &Topic| match data_type {
            DataType::FundingRate => matches!(topic, Topic::Mark(_) | Topic::Funding | Topic::Summary),
            DataType::OpenInterest => matches!(topic, Topic::Interest | Topic::Summary),
            DataType::Liquidation => *topic == Topic::Liquidation,
            _ => false,
        };
        let work = |market: &mut SymbolMarket, events: &mut Vec<Event>| {
            let topics: Vec<Topic> = market.topics().filter(fits).collect();
            // A time of its own for each, so that none is the same event as another.
            let at = |n: usize| now_ms + i64::try_from(n).unwrap_or(0);
            let one = |n: usize| {
                topics.iter().filter(|topic| market.publish_topic(**topic, at(n), events)).count().min(1)
            };
            (0..count).map(one).sum()
        };
        self.with_symbol(symbol, work).unwrap_or(0)
    }

    pub(crate) fn push_index(&self, index: &str, now_ms: i64) {
        let value = self.volatility(index, now_ms);
        if let Some(encoded) = self.venue.index_frame(index, now_ms, value) {
            let (mut hub, mut ledger) = (lock(&self.hub), self.ledger());
            self.send(index, vec![encoded], false, &mut hub, &mut ledger);
        }
    }

    pub fn volatility(&self, index: &str, time_ms: i64) -> Decimal {
        let number = self.venue.profile().indices.iter().position(|name| *name == index).unwrap_or(0);
        volatility(self.seed.wrapping_add(number as u64), time_ms)
    }

    fn timed_indices(&self, now_ms: i64, period_ms: i64) {
        let due = now_ms - now_ms.rem_euclid(period_ms.max(1));
        {
            let mut market = lock(&self.market);
            if market.indices_ms >= due {
                return;
            }
            market.indices_ms = due;
        }
        self.venue.profile().indices.iter().for_each(|index| self.push_index(index, due));
    }

    pub(super) fn publish(&self, symbol: usize, events: &mut Vec<Event>, hub: &mut Hub, ledger: &mut Ledger) {
        let Some(listed) = self.listed.get(symbol) else { return };
        let mut trades: [Vec<TradeRecord>; 2] = Default::default();
        let [single, aggregate] = &mut trades;
        let mut others = Vec::new();
        for event in events.drain(..) {
            match &event {
                Event::Trade(trade) => single.push(record_of(listed, trade, (trade.id, trade.id))),
                Event::Aggregate(a) => {
                    aggregate.push(record_of(listed, &a.trade, (a.first_id, a.last_id)));
                }
                _ => others.push(event),
            }
        }
        for (kind, records) in [TradeKind::Trade, TradeKind::Aggregate].into_iter().zip(trades) {
            self.publish_trades(listed, kind, records, hub, ledger);
        }
        for event in others {
            let encoded = self.venue.encode(listed, &event, &|stream| hub.is_wanted(stream));
            let book = self.venue.breaks_when_lost(&event);
            self.send(&listed.instrument.symbol, encoded, book, hub, ledger);
        }
    }

    fn publish_trades(
        &self,
        listed: &ListedInstrument,
        kind: TradeKind,
        records: Vec<TradeRecord>,
        hub: &mut Hub,
        ledger: &mut Ledger,
    ) {
        if records.is_empty() {
            return;
        }
        let mut frames = Vec::new();
        for stream in listed.streams_with(Content::Trades(kind)).filter(|stream| hub.is_wanted(stream)) {
            let chunks = records.chunks(self.venue.profile().trades_per_frame);
            frames.extend(chunks.map(|chunk| Arc::new(self.trade_frame(listed, stream, kind, chunk))));
        }
        records.into_iter().for_each(|record| ledger.trades.record(listed.index, kind, record));
        let mut context = self.context(&listed.instrument.symbol, ledger);
        frames.iter().for_each(|frame| hub.dispatch(frame, &mut context));
    }

    pub(super) fn trade_frame(
        &self,
        listed: &ListedInstrument,
        stream: &Arc<str>,
        kind: TradeKind,
        records: &[TradeRecord],
    ) -> Frame {
        let entry = |r: &TradeRecord| LedgerEntry::Trade(TradeKey { symbol: listed.index, kind, id: r.id });
        let raw = self.venue.trade_frame(listed, kind, stream, records);
        Frame::new(stream.clone(), false, records.iter().map(entry).collect(), raw)
    }

    fn send(&self, symbol: &str, encoded: Vec<Encoded>, book: bool, hub: &mut Hub, ledger: &mut Ledger) {
        for Encoded { events, frames } in encoded {
            let wanted: Vec<_> = frames.into_iter().filter(|(stream, _)| hub.is_wanted(stream)).collect();
            if wanted.is_empty() {
                continue;
            }
            let carries: Vec<LedgerEntry> =
                events.into_iter().map(|event| LedgerEntry::Event(ledger.events.record(event))).collect();
            let mut context = self.context(symbol, ledger);
            for (stream, raw) in wanted {
                hub.dispatch(&Arc::new(Frame::new(stream, book, carries.clone(), raw)), &mut context);
            }
        }
    }

    pub(crate) fn publish_recorded(
        &self,
        stream: &str,
        symbol: &str,
        book: bool,
        raw: String,
        trade: Option<RecordedTrade>,
    ) {
        let index = self.find_symbol(symbol).map(|listed| listed.index);
        let (mut hub, mut ledger) = (lock(&self.hub), self.ledger());
        let mut carries = Vec::new();
        if let (Some(symbol), Some(trade)) = (index, trade) {
            carries.push(LedgerEntry::Trade(TradeKey { symbol, kind: trade.kind, id: trade.record.id }));
            ledger.trades.record(symbol, trade.kind, trade.record);
        }
        let frame = Frame::new(Arc::from(stream), book, carries, raw);
        hub.dispatch(&Arc::new(frame), &mut self.context(symbol, &mut ledger));
    }
}

fn record_of(listed: &ListedInstrument, trade: &Trade, matches: (u64, u64)) -> TradeRecord {
    TradeRecord {
        id: trade.id,
        matches,
        price: listed.instrument.price(trade.price),
        quantity: listed.instrument.quantity(trade.quantity),
        taker: trade.taker,
        trade_ms: trade.trade_ms,
        event_ms: trade.event_ms,
        ..TradeRecord::default()
    }
}

/// Poll interval for a subscription, or the end of a pause.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const BREATH: usize = 64;

/// Plays an exchange's recording once, from the first subscription.
pub async fn play(exchange: Arc<Exchange>, paused: Arc<AtomicBool>) {
    let Some(recording) = &exchange.recording else { return };
    let Some(first_at) = recording.frames.first().map(|f| f.at) else { return };
    while !lock(&exchange.hub).has_subscribers() || paused.load(Ordering::Acquire) {
        sleep(LOOK_EVERY).await;
    }
    set_shift(recording, first_at);
    let mut start = tokio::time::Instant::now();
    for (n, frame) in recording.frames.iter().enumerate() {
        let waited = tokio::time::Instant::now();
        while paused.load(Ordering::Acquire) {
            sleep(LOOK_EVERY).await;
        }
        start += waited.elapsed();
        if let Some(after) = pace(frame.at - first_at, recording.speed_percent) {
            sleep_until(start + after).await;
        } else if n % BREATH == 0 {
            tokio::task::yield_now().await;
        }
        recording.position.store(frame.at, Ordering::Release);
        let shift = recording.shift_ms.load(Ordering::Acquire);
        let raw = if shift == 0 { frame.raw.clone() } else { shift_times(&frame.raw, shift) };
        let trade = frame.trade.clone().map(|t| shifted(t, shift));
        exchange.publish_recorded(&frame.stream, &frame.symbol, frame.book, raw, trade);
        recording.played.fetch_add(1, Ordering::Relaxed);
    }
    recording.done.store(true, Ordering::Release);
}

fn set_shift(recording: &Recording, first_at: i64) {
    if recording.shift_to_now {
        recording.shift_ms.store(clock::now_ms() - first_at / 1_000_000, Ordering::Release);
    }
}

/// Time from the start to a frame; `None` without pace.
fn pace(after_first_ns: i64, speed_percent: u64) -> Option<Duration> {
    let ns = u64::try_from(after_first_ns).unwrap_or(0);
    (speed_percent > 0).then(|| Duration::from_nanos(ns.saturating_mul(100) / speed_percent))
}

fn shifted(mut trade: RecordedTrade, shift_ms: i64) -> RecordedTrade {
    trade.record.trade_ms += shift_ms;
    trade.record.event_ms += shift_ms;
    trade
}
