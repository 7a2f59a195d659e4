//! Instruments, market rules, events and derived values. Prices in ticks, quantities in steps, times in ms since 1970 UTC.
//!
//! Derived values are determined by seed and time, so that a repeated request gets the same answer.

use crate::clock;
use crate::decimal::Decimal;

/// Side of the book or of a taker (`Bid` buys).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    #[default]
    Bid,
    Ask,
}

impl Side {
    pub fn opposite(self) -> Side {
        match self {
            Side::Bid => Side::Ask,
            Side::Ask => Side::Bid,
        }
    }

    /// Side of an order: `buy` or `sell`.
    pub fn order(self) -> &'static str {
        match self {
            Side::Bid => "buy",
            Side::Ask => "sell",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trade {
    pub id: u64,
    pub price: i64,
    pub quantity: i64,
    pub taker: Side,
    pub trade_ms: i64,
    pub event_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateTrade {
    pub trade: Trade,
    pub first_id: u64,
    pub last_id: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelChange {
    pub price: i64,
    pub quantity: i64,
    pub before: i64,
}

impl LevelChange {
    pub fn level(&self) -> (i64, i64) {
        (self.price, self.quantity)
    }
}

/// The changes of a book since the previous update of the same cadence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepthUpdate {
    pub cadence: usize,
    pub first_id: u64,
    pub last_id: u64,
    pub previous_id: u64,
    pub bids: Vec<LevelChange>,
    pub asks: Vec<LevelChange>,
    /// The newest change; comparable between cadences.
    pub change_id: u64,
    /// Best levels after the update, bids first, of a cadence of limited depth.
    pub top: [Vec<(i64, i64)>; 2],
    pub engine_ms: i64,
    pub event_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookTicker {
    pub update_id: u64,
    pub bid: (i64, i64),
    pub ask: (i64, i64),
    pub event_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Mark price and funding; the number distinguishes streams of different period.
    Mark(usize),
    Funding,
    Interest,
    Summary,
    Liquidation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liquidation {
    pub side: Side,
    pub price: i64,
    pub quantity: i64,
    pub trade_ms: i64,
    pub event_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Trade(Trade),
    Aggregate(AggregateTrade),
    Depth(DepthUpdate),
    Ticker(BookTicker),
    Reference(Topic, Reference),
    Liquidations(Vec<Liquidation>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contract {
    Spot,
    Perpetual,
    Dated {
        /// Delivery time, ms since 1970 UTC.
        delivery_ms: i64,
    },
    Option {
        delivery_ms: i64,
        strike: String,
        call: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizing {
    Base,
    Contracts(Decimal),
    /// A contract or unit worth this much of the quote asset: base units are value divided by price.
    Value(Decimal),
}

/// One instrument of a venue. Prices and quantities are integers of `10^-scale`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instrument {
    pub symbol: String,
    pub base: String,
    pub quote: String,
    pub pair: String,
    pub contract: Contract,
    pub sizing: Sizing,
    /// Hours between two fundings; `None` when there is no funding.
    pub funding_hours: Option<u32>,
    /// Digits behind the point of a printed price.
    pub price_scale: u8,
    pub tick: i64,
    /// The tick that the venue's list states, in ticks.
    pub listed_ticks: i64,
    /// Digits behind the point of a printed quantity.
    pub quantity_scale: u8,
    pub step: i64,
    /// Digits behind the point printed even as trailing zeros; `None`: all.
    pub trims: Option<u8>,
    pub start_ticks: i64,
    pub usual_steps: i64,
}

impl Instrument {
    pub fn price(&self, ticks: i64) -> Decimal {
        self.printed(Decimal { units: ticks * self.tick, scale: self.price_scale })
    }

    pub fn quantity(&self, steps: i64) -> Decimal {
        self.printed(Decimal { units: steps * self.step, scale: self.quantity_scale })
    }

    fn printed(&self, number: Decimal) -> Decimal {
        self.trims.map_or(number, |kept| number.trimmed_to(kept))
    }

    pub fn market_type(&self) -> &'static str {
        match self.contract {
            Contract::Spot => "spot",
            Contract::Perpetual => "perpetual",
            Contract::Dated { .. } => "futures",
            Contract::Option { .. } => "options",
        }
    }

    /// `BASE-QUOTE`, dated `BASE-QUOTE-YYMMDD`, options `BASE-QUOTE-YYMMDD-STRIKE-C|P` with `d` as the strike's decimal
    /// point.
    pub fn normalized(&self) -> String {
        let pair = format!("{}-{}", self.base, self.quote);
        match &self.contract {
            Contract::Spot | Contract::Perpetual => pair,
            Contract::Dated { delivery_ms } => format!("{pair}-{}", clock::yymmdd(*delivery_ms)),
            Contract::Option { delivery_ms, strike, call } => {
                let kind = if *call { "C" } else { "P" };
                // A point cannot stand in a symbol.
                let strike = strike.replace('.', "d");
                format!("{pair}-{}-{strike}-{kind}", clock::yymmdd(*delivery_ms))
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateIds {
    Consecutive,
    Leaping,
    /// Each cadence numbers its updates one by one; after a restart the first, with the whole book, is 1.
    PerUpdate,
    /// The engine's times in microseconds.
    Micros,
}

#[derive(Debug, Clone)]
pub struct MarketRules {
    pub update_ids: UpdateIds,
    /// Periods of updates by cadence, ms; 0: with every book event.
    pub cadences_ms: &'static [i64],
    /// Levels a side by cadence; none: the whole book.
    pub depths: &'static [usize],
    /// A level that others push out of the depth is removed explicitly.
    pub evicts: bool,
    /// Timed content with its period in ms.
    pub topics: &'static [(Topic, i64)],
    /// Liquidations per message at most; 0: none.
    pub liquidations_max: usize,
    /// Time after which an unchanged book gets an empty update, ms; `None`: never.
    pub still_book_ms: Option<i64>,
    /// Updates include removals of levels that the previous update did not have.
    pub announces_unknown: bool,
    pub funding_scale: u8,
    /// Period of open interest in REST answers, ms.
    pub interest_ms: i64,
    pub ratio_ms: i64,
    pub history_changes: usize,
    pub depth_min: usize,
}

impl MarketRules {
    pub const DEFAULT: MarketRules = MarketRules {
        update_ids: UpdateIds::Leaping,
        cadences_ms: &[0],
        depths: &[],
        evicts: false,
        topics: &[],
        liquidations_max: 0,
        still_book_ms: None,
        announces_unknown: false,
        funding_scale: 8,
        interest_ms: 1000,
        ratio_ms: 300_000,
        history_changes: 200_000,
        depth_min: 100,
    };
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// ms since 1970 UTC.
    pub time_ms: i64,
    pub mark: Decimal,
    pub index: Decimal,
    pub funding: Option<Funding>,
    pub open_interest: Decimal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Funding {
    pub rate: Decimal,
    /// Next funding time, ms since 1970 UTC.
    pub next_ms: i64,
    pub hours: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    /// Start of its period, ms since 1970 UTC.
    pub time_ms: i64,
    /// Share of the long side, four digits; the short side is the rest.
    pub long: Decimal,
    pub short: Decimal,
    /// Long divided by short, rounded to four digits as the venues do.
    pub ratio: Decimal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RatioKind {
    TopPosition,
    AllAccounts,
    /// Accounts of the top traders; no adapter takes it.
    TopAccount,
}

/// Pseudo-random number determined by the arguments (splitmix64).
pub fn draw(seed: u64, what: u64, at: i64) -> u64 {
    let mut z = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(what.wrapping_mul(0xd1b5_4a32_d192_ed03))
        .wrapping_add(at.cast_unsigned().wrapping_mul(0x8cb9_2ba7_2f3d_8dd7));
    for shift in [30, 27, 31] {
        z = (z ^ (z >> shift)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    z ^ (z >> 31)
}

pub fn draw_in(range: std::ops::Range<i64>, seed: u64, what: u64, at: i64) -> i64 {
    let width = range.end.abs_diff(range.start).max(1);
    range.start.saturating_add_unsigned(draw(seed, what, at) % width)
}

/// The newest `limit` rows of a ratio, oldest first.
pub fn ratios(seed: u64, kind: RatioKind, period_ms: i64, now_ms: i64, limit: usize) -> Vec<Ratio> {
    let period = period_ms.max(1);
    let newest = now_ms - now_ms.rem_euclid(period);
    let what = match kind {
        RatioKind::TopPosition => 11,
        RatioKind::AllAccounts => 12,
        RatioKind::TopAccount => 13,
    };
    let row = |back: usize| {
        let time_ms = newest - period * i64::try_from(back).unwrap_or(0);
        let long = draw_in(3000..7000, seed, what, time_ms);
        let short = 10_000 - long;
        let share = |units| Decimal { units, scale: 4 };
        let ratio = (long * 10_000 + short / 2) / short;
        Ratio { time_ms, long: share(long), short: share(short), ratio: share(ratio) }
    };
    (0..limit).rev().map(row).collect()
}

/// A volatility index in percent points, slowly moving, two to four digits behind the point.
pub fn volatility(seed: u64, time_ms: i64) -> Decimal {
    let slow = draw_in(400_000..600_000, seed, 21, time_ms.div_euclid(3_600_000));
    let fast = draw_in(0..10_000, seed, 22, time_ms);
    Decimal { units: slow + fast, scale: 4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_repeat_and_fit() {
        let now = 1_795_305_612_345;
        let rows = ratios(7, RatioKind::TopPosition, 300_000, now, 500);
        assert_eq!(rows, ratios(7, RatioKind::TopPosition, 300_000, now, 500));
        assert_eq!(rows.last().map(|r| r.time_ms), Some(1_795_305_600_000));
        for (n, row) in rows.iter().enumerate() {
            assert_eq!(row.time_ms, rows[0].time_ms + 300_000 * i64::try_from(n).expect("small"));
            assert_eq!(row.long.units + row.short.units, 10_000);
            let off = row.ratio.units * row.short.units - row.long.units * 10_000;
            assert!(off.abs() <= row.short.units / 2 + 1, "{row:?}");
        }
        assert_ne!(rows, ratios(7, RatioKind::AllAccounts, 300_000, now, 500));
        assert_ne!(rows, ratios(8, RatioKind::TopPosition, 300_000, now, 500));
    }
}
