//! Random walk of book levels, and fills of taker orders.

use rand::Rng as _;

use super::book::{DEPTH_SLACK, away};
use super::model::{AggregateTrade, Event, Side, Trade};
use super::symbol::SymbolMarket;

impl SymbolMarket {
    /// One to six changes, mostly near the top, sometimes at the far end.
    pub(super) fn walk(&mut self) {
        for _ in 0..self.rng.random_range(1..=6) {
            let side = if self.rng.random_bool(0.5) { Side::Bid } else { Side::Ask };
            match self.rng.random_range(0..100) {
                0..40 => self.requote(side),
                40..65 => self.insert_near(side),
                65..80 => self.remove_near(side),
                80..88 => self.move_best(side),
                88..90 => self.remove_unknown(side),
                _ => self.far_end(side),
            }
        }
    }

    /// Distance from the best price in levels: mostly near, rarely deep, or at the end of a limited depth, where levels come and go.
    fn distance(&mut self) -> usize {
        let chosen = self.rng.random_range(0..10);
        if chosen == 1 && !self.rules.depths.is_empty() {
            let n = self.rng.random_range(0..self.rules.depths.len());
            let depth = self.rules.depths.get(n).copied().unwrap_or_default();
            return depth.saturating_sub(2) + self.rng.random_range(0..8);
        }
        self.rng.random_range(0..if chosen == 0 { 400 } else { 20 })
    }

    fn some_quantity(&mut self) -> i64 {
        self.rng.random_range(1..=self.instrument.usual_steps)
    }

    fn requote(&mut self, side: Side) {
        let n = self.distance();
        if let Some((price, _)) = self.book.nth(side, n) {
            let quantity = self.some_quantity();
            self.change(side, price, quantity);
        }
    }

    /// A new level in a hole of the side or in the spread, mostly near the other side's best price.
    fn insert_near(&mut self, side: Side) {
        let Some((other, _)) = self.book.best(side.opposite()) else { return };
        let skipped = self.distance().min(self.distance());
        let mut price = other + away(side) * (1 + i64::try_from(skipped).unwrap_or_default());
        while self.book.quantity(side, price) != 0 {
            price += away(side);
        }
        if price > 0 {
            let quantity = self.some_quantity();
            self.change(side, price, quantity);
        }
        if self.book.len(side) > self.rules.depth_min + DEPTH_SLACK {
            self.far_end(side);
        }
    }

    fn remove_near(&mut self, side: Side) {
        let n = self.distance();
        if self.book.len(side) > self.rules.depth_min
            && let Some((price, _)) = self.book.nth(side, n)
        {
            self.change(side, price, 0);
        }
    }

    /// The price moves: the best level of one side goes, the other side follows to it.
    fn move_best(&mut self, side: Side) {
        let start = self.instrument.start_ticks;
        let Some((best, _)) = self.book.best(side) else { return };
        // The walk stays between half and twice its start, so that long runs keep sane prices.
        let outside = match side {
            Side::Bid => best < start / 2,
            Side::Ask => best > start.saturating_mul(2),
        };
        if outside || self.book.len(side) <= self.rules.depth_min {
            return;
        }
        self.change(side, best, 0);
        let quantity = self.some_quantity();
        self.change(side.opposite(), best, quantity);
    }

    /// Venues send removals of levels that a snapshot of limited depth did not have.
    fn remove_unknown(&mut self, side: Side) {
        if let Some((far, _)) = self.book.farthest(side) {
            let price = far + away(side) * self.rng.random_range(1..50);
            if price > 0 {
                self.change(side, price, 0);
            }
        }
    }

    fn far_end(&mut self, side: Side) {
        let Some((far, _)) = self.book.farthest(side) else { return };
        if self.book.len(side) > self.rules.depth_min + DEPTH_SLACK {
            self.change(side, far, 0);
            return;
        }
        let price = far + away(side) * self.rng.random_range(1..=2);
        if price > 0 {
            let quantity = self.some_quantity();
            self.change(side, price, quantity);
        }
    }

    /// A taker order fills one to three levels; the next book update publishes the change. Returns the numbers of matches and aggregates.
    pub fn trade_event(&mut self, now_ms: i64, out: &mut Vec<Event>) -> (usize, usize) {
        let trade_ms = self.advance_engine(now_ms);
        let event_ms = now_ms.max(trade_ms);
        let taker = if self.rng.random_bool(0.5) { Side::Bid } else { Side::Ask };
        let levels = if self.rng.random_range(0..5) == 0 { 3 } else { 1 };
        let (mut made, mut refills) = ((0, 0), 0);
        for level in 1..=levels {
            let resting = taker.opposite();
            let Some((price, available)) = self.book.best(resting) else { break };
            let empties = self.book.len(resting) > self.rules.depth_min && self.rng.random_range(0..4) == 0;
            let quantity =
                if empties || level < levels { available } else { self.rng.random_range(1..=available) };
            if self.book.len(resting) <= self.rules.depth_min && quantity == available {
                break;
            }
            self.change(resting, price, available - quantity);
            refills += usize::from(quantity == available);
            let base = Trade { id: 0, price, quantity, taker, trade_ms, event_ms };
            made.0 += self.split_fill(base, out);
            made.1 += 1;
        }
        for _ in 0..refills {
            self.insert_near(taker.opposite());
        }
        made
    }

    /// One to three matches that sum to the fill, then their aggregate.
    fn split_fill(&mut self, fill: Trade, out: &mut Vec<Event>) -> usize {
        let first_id = self.next_trade_id;
        let mut left = fill.quantity;
        let makers = self.rng.random_range(1..=3);
        for maker in 1..=makers {
            let part = if maker == makers || left == 1 { left } else { self.rng.random_range(1..left) };
            out.push(Event::Trade(Trade { id: self.next_trade_id, quantity: part, ..fill.clone() }));
            self.next_trade_id += 1;
            left -= part;
            if left == 0 {
                break;
            }
        }
        let last_id = self.next_trade_id - 1;
        let trade = Trade { id: self.next_aggregate_id, ..fill };
        self.next_aggregate_id += 1;
        out.push(Event::Aggregate(AggregateTrade { trade, first_id, last_id }));
        usize::try_from(last_id + 1 - first_id).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Book, Contract, Instrument, MarketRules, Pace, Sizing, Topic, UpdateIds};

    fn market(update_ids: UpdateIds) -> SymbolMarket {
        market_with(MarketRules {
            update_ids,
            cadences_ms: &[0, 1000],
            topics: &[(Topic::Mark(0), 1000), (Topic::Liquidation, 1000)],
            liquidations_max: 2,
            announces_unknown: true,
            history_changes: 5000,
            depth_min: 620,
            ..MarketRules::DEFAULT
        })
    }

    fn market_with(rules: MarketRules) -> SymbolMarket {
        let instrument = Instrument {
            symbol: "BTCUSDT".into(),
            base: "BTC".into(),
            quote: "USDT".into(),
            pair: "BTCUSDT".into(),
            contract: Contract::Perpetual,
            sizing: Sizing::Base,
            funding_hours: Some(8),
            trims: None,
            price_scale: 8,
            tick: 1_000_000,
            listed_ticks: 1,
            quantity_scale: 8,
            step: 1000,
            start_ticks: 6_500_000,
            usual_steps: 50_000,
        };
        SymbolMarket::new(instrument, rules, 7, 1000, 0)
    }

    #[test]
    fn books_trades_and_updates_agree() {
        for ids in [UpdateIds::Consecutive, UpdateIds::Leaping] {
            let mut market = market(ids);
            let mut replicas = [market.book().clone(), market.book().clone()];
            let (mut last, mut next_trade) = ([1000u64, 1000], 1001);
            for n in 0..3_000i64 {
                let now = 1_700_000_000_000 + n * 10;
                let mut events = Vec::new();
                let best = (market.book().best(Side::Bid), market.book().best(Side::Ask));
                match n % 2 {
                    0 => drop(market.book_event(now, &mut events)),
                    _ => drop(market.trade_event(now, &mut events)),
                }
                if let Some(Event::Trade(t)) = events.first() {
                    let resting = if t.taker == Side::Bid { best.1 } else { best.0 };
                    assert_eq!(Some(t.price), resting.map(|l| l.0));
                }
                market.timed_events(now, Pace::default(), &mut events);
                for event in events {
                    match event {
                        Event::Trade(t) => {
                            assert_eq!(t.id, next_trade);
                            assert!(t.quantity > 0 && t.trade_ms <= t.event_ms);
                            next_trade += 1;
                        }
                        Event::Aggregate(a) => assert_eq!(a.last_id + 1, next_trade),
                        Event::Depth(d) => {
                            assert_eq!(d.previous_id, last[d.cadence]);
                            assert!(d.previous_id < d.first_id && d.first_id <= d.last_id);
                            if ids == UpdateIds::Consecutive {
                                assert_eq!(d.first_id, d.previous_id + 1);
                            }
                            last[d.cadence] = d.last_id;
                            for (side, levels) in [(Side::Bid, &d.bids), (Side::Ask, &d.asks)] {
                                for l in levels {
                                    assert_eq!(replicas[d.cadence].quantity(side, l.price), l.before);
                                    replicas[d.cadence].set(side, l.price, l.quantity);
                                }
                            }
                            assert_eq!(market.book_at(d.last_id).as_ref(), Some(&replicas[d.cadence]));
                        }
                        _ => {}
                    }
                }
                let (bid, ask) = (market.book().best(Side::Bid), market.book().best(Side::Ask));
                assert!(bid.expect("bids").0 < ask.expect("asks").0, "crossed at {n}");
                assert!(market.book().len(Side::Bid) >= 600 && market.book().len(Side::Ask) >= 600);
            }
            assert!(next_trade > 2_500 && last[0] > 3_500);
        }
    }

    #[test]
    fn updates_of_limited_depth_keep_cut_books_equal() {
        let depths: &[usize] = &[50, 200];
        for evicts in [false, true] {
            let rules = MarketRules {
                update_ids: UpdateIds::PerUpdate,
                cadences_ms: &[0, 100],
                depths,
                evicts,
                depth_min: 210,
                ..MarketRules::DEFAULT
            };
            let mut market = market_with(rules);
            let mut replicas = [0, 1].map(|cadence| {
                let [bids, asks] = market.first_book(cadence);
                let mut book = Book::default();
                bids.iter().for_each(|(price, quantity)| book.set(Side::Bid, *price, *quantity));
                asks.iter().for_each(|(price, quantity)| book.set(Side::Ask, *price, *quantity));
                (market.published_id(cadence), book)
            });
            let (mut restarts, mut wrong) = (0, 0);
            let mut uncut = replicas[0].1.clone();
            for n in 0..1000i64 {
                let now = 1_700_000_000_000 + n * 10;
                let mut events = Vec::new();
                match n % 2 {
                    _ if n == 500 => assert!(market.restart_sequence(now, &mut events)),
                    0 => drop(market.book_event(now, &mut events)),
                    _ => drop(market.trade_event(now, &mut events)),
                }
                market.timed_events(now, Pace::default(), &mut events);
                for event in events {
                    let Event::Depth(d) = event else { continue };
                    let (last, book) = &mut replicas[d.cadence];
                    if d.last_id == 1 {
                        restarts += 1;
                        *book = Book::default();
                    } else {
                        assert_eq!(d.last_id, *last + 1);
                    }
                    *last = d.last_id;
                    d.bids.iter().for_each(|level| book.set(Side::Bid, level.price, level.quantity));
                    d.asks.iter().for_each(|level| book.set(Side::Ask, level.price, level.quantity));
                    if d.cadence == 0 {
                        uncut = if d.last_id == 1 { Book::default() } else { uncut };
                        d.bids.iter().for_each(|level| uncut.set(Side::Bid, level.price, level.quantity));
                        d.asks.iter().for_each(|level| uncut.set(Side::Ask, level.price, level.quantity));
                        wrong += usize::from(uncut.best_of(50) != market.book().best_of(50));
                    }
                    let cut = book.best_of(depths[d.cadence]);
                    assert!(!evicts || *book == cut, "a level pushed out is left");
                    *book = cut;
                    assert_eq!(*book, market.book().best_of(depths[d.cadence]));
                    assert_eq!(book.top(Side::Bid, 10), d.top[0]);
                    let first = market.book_at(d.last_id).expect("kept").best_of(50);
                    assert!(d.cadence > 0 || restarts > 0 || first == book.best_of(50));
                }
            }
            assert_eq!(restarts, 2, "both cadences");
            assert_eq!(wrong > 0, !evicts, "a book that is not cut goes wrong");
        }
    }

    /// Else trades and removals would use up a client's requested snapshot within minutes, as on no real market.
    #[test]
    fn levels_near_the_top_come_as_often_as_they_go() {
        let mut market = market(UpdateIds::Consecutive);
        let mut events = Vec::new();
        let mut spreads = Vec::new();
        for round in 0..10 {
            let ends = [Side::Bid, Side::Ask].map(|side| market.book().farthest(side).expect("levels").0);
            for n in 0..4000 {
                market.book_event(round * 4000 + n, &mut events);
                market.trade_event(round * 4000 + n, &mut events);
                events.clear();
                let [bid, ask] =
                    [Side::Bid, Side::Ask].map(|side| market.book().best(side).expect("levels").0);
                spreads.push(ask - bid);
            }
            for (side, end) in [Side::Bid, Side::Ask].into_iter().zip(ends) {
                let levels = market.book().top(side, usize::MAX);
                let left = levels.iter().filter(|(price, _)| (price - end) * away(side) <= 0).count();
                assert!(left > 400, "round {round}: {left} of {} within the end of before", levels.len());
                assert!(levels.len() <= 620 + DEPTH_SLACK + 3, "{} levels", levels.len());
            }
        }
        spreads.sort_unstable();
        assert!(spreads[20_000] <= 5 && spreads[39_990] <= 100, "{} {}", spreads[20_000], spreads[39_999]);
    }

    #[test]
    fn a_seed_repeats_the_market() {
        let run = || {
            let mut market = market(UpdateIds::Leaping);
            let mut events = Vec::new();
            for n in 0..500 {
                market.book_event(1000 + n, &mut events);
                market.trade_event(1000 + n, &mut events);
            }
            events
        };
        assert_eq!(run(), run());
    }
}
