//! Counts of latencies, exact to one part in 64, in constant memory.

/// Each power of two has so many buckets.
const PER_OCTAVE: u32 = 64;
const OCTAVE_BITS: u32 = PER_OCTAVE.trailing_zeros();

/// Of latencies in microseconds.
#[derive(Debug, Clone, Default)]
pub struct LatencyHistogram {
    counts: Vec<u64>,
    total: u64,
}

impl LatencyHistogram {
    pub fn add(&mut self, us: u64) {
        let bucket = bucket(us);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.total += 1;
    }

    /// Upper end of the bucket that has the rank; `None` without a latency.
    pub fn quantile(&self, percent: u64) -> Option<u64> {
        let rank = (u128::from(self.total) * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        self.counts.iter().enumerate().find_map(|(bucket, count)| {
            seen += u128::from(*count);
            (seen >= rank).then(|| upper(bucket))
        })
    }
}

/// Below [`PER_OCTAVE`] one per microsecond, then the leading bits.
fn bucket(us: u64) -> usize {
    let octave = us.checked_ilog2().unwrap_or_default().saturating_sub(OCTAVE_BITS);
    let within = us >> octave;
    usize::try_from(u64::from(octave) * u64::from(PER_OCTAVE) + within).unwrap_or(usize::MAX)
}

fn upper(bucket: usize) -> u64 {
    let (bucket, per_octave) = (bucket as u64, u64::from(PER_OCTAVE));
    let octave = (bucket / per_octave).saturating_sub(1);
    let within = bucket - octave * per_octave;
    ((within + 1) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_latency_is_below_the_end_of_its_bucket_and_near_it() {
        let mut before = 0;
        for us in (0..5_000).chain([1 << 20, (1 << 30) + 12_345, u64::from(u32::MAX)]) {
            let (at, end) = (bucket(us), upper(bucket(us)));
            assert!(at >= before && end >= us && end - us <= us / 64, "{us}: bucket {at} up to {end}");
            before = at;
        }
    }

    #[test]
    fn quantiles_have_their_rank() {
        let mut histogram = LatencyHistogram::default();
        assert_eq!(histogram.quantile(50), None);
        (1..=50).for_each(|us| histogram.add(us));
        assert_eq!(
            [1, 50, 90, 99].map(|percent| histogram.quantile(percent)),
            [Some(1), Some(25), Some(45), Some(50)]
        );
    }
}
