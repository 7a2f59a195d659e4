//! Timed events: slow book updates, mark prices, funding, open interest, liquidations.

use rand::Rng as _;

use super::model::{Event, Funding, Liquidation, Ratio, RatioKind, Reference, Side, Topic, draw_in, ratios};
use super::symbol::SymbolMarket;
use crate::decimal::Decimal;

/// Additional digits of mark and index prices beyond the tick.
const FINER: u8 = 3;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// Period of everything timed, ms; `None`: the venue's own periods. With it, liquidations come every period instead of at random.
    pub event_ms: Option<i64>,
    /// Time after which an unchanged book gets an empty update, ms; `None`: the venue's own.
    pub still_book_ms: Option<i64>,
}

impl SymbolMarket {
    pub fn is_due(&self, now_ms: i64) -> bool {
        now_ms >= self.timer.next_ms
    }

    pub fn timed_events(&mut self, now_ms: i64, pace: Pace, out: &mut Vec<Event>) {
        // Cheap enough to look this often even for hundreds of instruments.
        let mut next_ms = now_ms + 50;
        for cadence in 0..self.cadences.len() {
            self.timed_book(cadence, now_ms, pace, out);
        }
        for n in 0..self.timer.topics.len() {
            let Some((topic, period, last)) = self.timer.topics.get_mut(n) else { continue };
            let period = pace.event_ms.unwrap_or(*period).max(1);
            let due = now_ms - now_ms.rem_euclid(period);
            if *last < due {
                *last = due;
                let topic = *topic;
                self.topic(topic, due, now_ms, pace, out);
            }
            next_ms = next_ms.min(due + period);
        }
        self.timer.next_ms = next_ms;
    }

    fn timed_book(&mut self, cadence: usize, now_ms: i64, pace: Pace, out: &mut Vec<Event>) {
        let Some(state) = self.cadences.get(cadence) else { return };
        if state.period_ms > 0 && now_ms - state.checked_ms >= state.period_ms {
            self.publish(cadence, now_ms, out);
        }
        let sent_ms = self.cadences.get(cadence).map_or(0, |state| state.sent_ms);
        if let Some(usual) = self.rules.still_book_ms
            && now_ms - sent_ms >= pace.still_book_ms.unwrap_or(usual)
        {
            if sent_ms > 0 {
                self.publish_still(cadence, now_ms, out);
            } else if let Some(state) = self.cadences.get_mut(cadence) {
                // The first check only starts the time.
                state.sent_ms = now_ms;
            }
        }
    }

    fn topic(&mut self, topic: Topic, due: i64, now_ms: i64, pace: Pace, out: &mut Vec<Event>) {
        match topic {
            Topic::Liquidation => {
                if pace.event_ms.is_some() || self.rng.random_range(0..3) == 0 {
                    self.liquidate(now_ms, out);
                }
            }
            // Index funding of an instrument without funding is not published at all.
            Topic::Funding if self.instrument.funding_hours.is_none() => {}
            _ => out.extend(self.reference(due).map(|reference| Event::Reference(topic, reference))),
        }
    }

    /// Publishes a topic now; false if the venue does not publish it for this instrument.
    pub fn publish_topic(&mut self, topic: Topic, now_ms: i64, out: &mut Vec<Event>) -> bool {
        let before = out.len();
        if self.timer.topics.iter().any(|(known, _, _)| *known == topic) {
            let pace = Pace { event_ms: Some(1), still_book_ms: None };
            self.topic(topic, now_ms, now_ms, pace, out);
        }
        out.len() > before
    }

    pub fn topics(&self) -> impl Iterator<Item = Topic> + '_ {
        self.timer.topics.iter().map(|(topic, _, _)| *topic)
    }

    /// `None` while a side of the book is empty.
    pub fn reference(&self, time_ms: i64) -> Option<Reference> {
        let i = &self.instrument;
        let (bid, ask) = (self.book.best(Side::Bid)?, self.book.best(Side::Ask)?);
        let fine = 10i64.pow(u32::from(FINER));
        let finer = |ticks: i64, more: i64| Decimal {
            units: ticks * i.tick * fine + more,
            scale: i.price_scale + FINER,
        };
        let mark = i64::midpoint(bid.0, ask.0);
        let digits = |what| draw_in(0..fine * i.tick, self.seed, what, time_ms);
        Some(Reference {
            time_ms,
            mark: finer(mark, digits(1)),
            index: finer(mark + draw_in(-3..4, self.seed, 2, time_ms), digits(3)),
            funding: i.funding_hours.map(|hours| self.funding(hours, time_ms)),
            open_interest: self.open_interest(time_ms),
        })
    }

    fn funding(&self, hours: u32, time_ms: i64) -> Funding {
        let scale = self.rules.funding_scale;
        let unit = 10i64.pow(u32::from(scale.saturating_sub(6)));
        let units = draw_in(-200 * unit..400 * unit, self.seed, 4, time_ms);
        let interval = i64::from(hours) * 3_600_000;
        let next_ms = time_ms - time_ms.rem_euclid(interval) + interval;
        Funding { rate: Decimal { units, scale }, next_ms, hours }
    }

    fn open_interest(&self, time_ms: i64) -> Decimal {
        let i = &self.instrument;
        let level = i.usual_steps.saturating_mul(100);
        let steps = level + draw_in(0..level / 50 + 2, self.seed, 5, time_ms);
        Decimal { units: steps.saturating_mul(i.step), scale: i.quantity_scale }
    }

    pub fn ratios(&self, kind: RatioKind, pace: Pace, now_ms: i64, limit: usize) -> Vec<Ratio> {
        ratios(self.seed, kind, pace.event_ms.unwrap_or(self.rules.ratio_ms), now_ms, limit)
    }

    pub fn asked_reference(&self, pace: Pace, now_ms: i64) -> Option<Reference> {
        let period = pace.event_ms.unwrap_or(self.rules.interest_ms).max(1);
        self.reference(now_ms - now_ms.rem_euclid(period))
    }

    fn liquidate(&mut self, now_ms: i64, out: &mut Vec<Event>) {
        let count = self.rng.random_range(1..=self.rules.liquidations_max.max(1));
        let mut orders = Vec::new();
        for _ in 0..count {
            let side = if self.rng.random_bool(0.5) { Side::Bid } else { Side::Ask };
            let Some((price, _)) = self.book.best(side.opposite()) else { return };
            let quantity = self.rng.random_range(1..=self.instrument.usual_steps);
            let trade_ms = self.advance_engine(now_ms).max(self.timer.liquidated_ms + 1);
            self.timer.liquidated_ms = trade_ms;
            orders.push(Liquidation { side, price, quantity, trade_ms, event_ms: now_ms.max(trade_ms) });
        }
        out.push(Event::Liquidations(orders));
    }
}
