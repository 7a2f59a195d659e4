//! How time is cut, and what stands on the other axis.

use super::Scope;

/// Most bins of a map: what a phone can show.
const BINS_MAX: i64 = 120;
/// Lengths of a bin, in seconds: whole windows, and divisors or multiples of an hour.
const BIN_SECONDS: [i64; 14] =
    [60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600, 43_200, 86_400, 172_800];
/// How time is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bins {
    /// Begin of the first, milliseconds since 1970.
    pub start_ms: i64,
    /// Length.
    pub seconds: i64,
    /// How many.
    pub count: usize,
}

impl Bins {
    /// Cuts a scope into at most 121 bins.
    pub fn of(scope: &Scope) -> Self {
        let fits = |seconds: &i64| scope.span_ms() <= seconds * 1_000 * BINS_MAX;
        let seconds = BIN_SECONDS.into_iter().find(fits).unwrap_or(172_800);
        let bin_ms = seconds * 1_000;
        let start_ms = scope.from.0.div_euclid(bin_ms) * bin_ms;
        let count = usize::try_from((scope.to.0 - start_ms + bin_ms - 1) / bin_ms).unwrap_or(1);
        Self { start_ms, seconds, count }
    }

    /// Begin of a bin.
    pub fn begin_ms(&self, bin: usize) -> i64 {
        self.start_ms + i64::try_from(bin).unwrap_or_default() * self.seconds * 1_000
    }
}

/// The four parts of a stream's subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamKey([String; 4]);

impl StreamKey {
    /// Data type, exchange, market type, symbol.
    pub fn parts(&self) -> [&str; 4] {
        self.0.each_ref().map(String::as_str)
    }

    /// Of these four.
    pub fn new(data_type: &str, exchange: &str, market_type: &str, symbol: &str) -> Self {
        Self([data_type, exchange, market_type, symbol].map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Time;

    const START: i64 = 1_763_769_600_000;

    fn scope(hours: i64) -> Scope {
        Scope { from: Time(START), to: Time(START + hours * 3_600_000), table: None }
    }

    /// Goal: bins are bounded in number for any scope, and cover it.
    #[test]
    fn any_scope_has_a_bounded_number_of_bins() {
        for hours in [1, 2, 24, 25, 24 * 30, 24 * 92] {
            let bins = Bins::of(&scope(hours));
            assert!((1..=121).contains(&bins.count), "{hours}: {bins:?}");
            assert!(bins.begin_ms(bins.count) >= scope(hours).to.0);
        }
        assert_eq!(Bins::of(&scope(1)).seconds, 60);
        assert_eq!(Bins::of(&scope(24 * 30)).seconds, 21_600);
    }
}
