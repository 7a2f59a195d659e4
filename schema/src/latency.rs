//! Latency histograms: the buckets that every part of the system uses, and quantiles of their counts.

/// Upper bounds of the buckets in microseconds: 10 us to five minutes.
pub const LATENCY_BOUNDS_US: [u64; 23] = [
    10,
    25,
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
];

/// Number of buckets: one more than bounds, for what is above the last.
pub const LATENCY_BUCKETS: usize = LATENCY_BOUNDS_US.len() + 1;

/// A quantile, given in thousandths, of events counted by bucket, in microseconds: linear within its bucket, as `histogram_quantile` of
/// Prometheus computes it, and the last bound for what is above it. `None` without events.
pub fn latency_quantile_us(counts: &[u64], thousandths: u64) -> Option<u64> {
    let total: u128 = counts.iter().copied().map(u128::from).sum();
    if total == 0 {
        return None;
    }
    // In thousandths of an event.
    let rank = u128::from(thousandths.min(1_000)) * total;
    let (mut below, mut lower) = (0, 0);
    for (count, upper) in counts.iter().zip(LATENCY_BOUNDS_US) {
        let in_bucket = u128::from(*count) * 1_000;
        if in_bucket > 0 && below + in_bucket >= rank {
            let width = u128::from(upper - lower) * rank.saturating_sub(below) / in_bucket;
            return Some(lower + u64::try_from(width).unwrap_or_default());
        }
        below += in_bucket;
        lower = upper;
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_within_the_bucket_that_holds_their_rank() {
        let mut counts = vec![0; LATENCY_BUCKETS];
        assert_eq!(latency_quantile_us(&counts, 500), None);
        // Ninety events of up to 10 us, nine between 100 and 250 us, one of more than five minutes.
        (counts[0], counts[4], counts[LATENCY_BUCKETS - 1]) = (90, 9, 1);
        assert_eq!(latency_quantile_us(&counts, 450), Some(5));
        assert_eq!(latency_quantile_us(&counts, 900), Some(10));
        assert_eq!(latency_quantile_us(&counts, 990), Some(250));
        assert_eq!(latency_quantile_us(&counts, 1_000), Some(300_000_000));
        assert_eq!(latency_quantile_us(&[0, 4], 500), Some(17), "counts may end before the last bucket");
    }
}
