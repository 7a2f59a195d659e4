//! Time buckets of a report: equal lengths, aligned to 1970, a bounded number for any period.

use super::ReportScope;

/// Most buckets of a heatmap: what fits on a phone.
const BUCKETS_MAX: i64 = 120;
/// Allowed lengths in seconds: whole windows that divide, or are multiples of, an hour.
const LENGTHS: [i64; 14] =
    [60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600, 43_200, 86_400, 172_800];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBuckets {
    pub start_ms: i64,
    pub seconds: i64,
    pub count: usize,
}

impl TimeBuckets {
    /// At most 121 buckets that cover the scope.
    pub fn of(scope: &ReportScope) -> Self {
        let fits = |seconds: &i64| scope.span_ms() <= seconds * 1_000 * BUCKETS_MAX;
        let seconds = LENGTHS.into_iter().find(fits).unwrap_or(172_800);
        let length_ms = seconds * 1_000;
        let start_ms = scope.from.0.div_euclid(length_ms) * length_ms;
        let count = usize::try_from((scope.to.0 - start_ms + length_ms - 1) / length_ms).unwrap_or(1);
        Self { start_ms, seconds, count }
    }

    pub fn begin_ms(&self, bucket: usize) -> i64 {
        self.start_ms + i64::try_from(bucket).unwrap_or_default() * self.seconds * 1_000
    }

    /// SQL expression: number of the bucket that a window belongs to.
    pub fn number_sql(&self) -> String {
        format!(
            "toUInt32(intDiv(toUnixTimestamp(window_start) - {}, {}))",
            self.start_ms / 1_000,
            self.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Time;

    const START: i64 = 1_763_769_600_000;

    #[test]
    fn any_scope_has_a_bounded_number_of_buckets_that_cover_it() {
        let scope =
            |hours: i64| ReportScope { from: Time(START), to: Time(START + hours * 3_600_000), table: None };
        for hours in [1, 2, 24, 25, 24 * 30, 24 * 92] {
            let buckets = TimeBuckets::of(&scope(hours));
            assert!((1..=121).contains(&buckets.count), "{hours}: {buckets:?}");
            assert!(buckets.begin_ms(buckets.count) >= scope(hours).to.0);
        }
        assert_eq!(TimeBuckets::of(&scope(1)).seconds, 60);
        assert_eq!(TimeBuckets::of(&scope(24 * 30)).seconds, 21_600);
    }
}
