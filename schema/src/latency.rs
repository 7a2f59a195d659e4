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

/// The bounds in seconds, as Prometheus takes them.
#[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^52")]
pub fn latency_bounds_seconds() -> Vec<f64> {
    LATENCY_BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).collect()
}

/// The quantile of events counted by bucket, in microseconds: linear within its bucket, as `histogram_quantile` of Prometheus computes
/// it, and the last bound for what is above it. `None` without events.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate within a bucket"
)]
pub fn latency_quantile_us(counts: &[u64], quantile: f64) -> Option<u64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = quantile.clamp(0.0, 1.0) * total as f64;
    let (mut below, mut lower) = (0, 0);
    for (count, upper) in counts.iter().zip(LATENCY_BOUNDS_US) {
        if *count > 0 && (below + count) as f64 >= rank {
            let share = ((rank - below as f64) / *count as f64).clamp(0.0, 1.0);
            return Some(lower + ((upper - lower) as f64 * share) as u64);
        }
        below += count;
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
        assert_eq!(latency_quantile_us(&counts, 0.5), None);
        // Ninety events of up to 10 us, nine between 100 and 250 us, one of more than five minutes.
        (counts[0], counts[4], counts[LATENCY_BUCKETS - 1]) = (90, 9, 1);
        assert_eq!(latency_quantile_us(&counts, 0.45), Some(5));
        assert_eq!(latency_quantile_us(&counts, 0.9), Some(10));
        assert_eq!(latency_quantile_us(&counts, 0.99), Some(250));
        assert_eq!(latency_quantile_us(&counts, 1.0), Some(300_000_000));
        assert_eq!(latency_quantile_us(&[0, 4], 0.5), Some(17), "counts may end before the last bucket");
    }
}
