//! Derived values: mark and index price, funding, open interest, ratios, volatility. Determined by seed and time, so that a repeated request
//! gets the same answer.

use crate::decimal::Decimal;

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
