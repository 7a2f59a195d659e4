//! Event rate of the last minute.

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const STEP_SECONDS: i64 = 5;
/// A minute, and the step that is growing.
const STEPS: usize = 13;

/// Counts of the last minute, in steps of five seconds.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    counts: [u64; STEPS],
    /// Number of the newest step since 1970.
    newest: i64,
}

impl Rate {
    pub fn add(&mut self, now_ns: i64) {
        self.turn(now_ns);
        if let Some(count) = self.counts.first_mut() {
            *count += 1;
        }
    }

    /// Rate over the last full minute.
    pub fn per_second(&self, now_ns: i64) -> f64 {
        let mut turned = self.clone();
        turned.turn(now_ns);
        let whole: u64 = turned.counts.iter().skip(1).sum();
        let seconds = i64::try_from(STEPS - 1).unwrap_or(1) * STEP_SECONDS;
        whole as f64 / seconds as f64
    }

    fn turn(&mut self, now_ns: i64) {
        let step = now_ns / (NANOS_PER_SECOND * STEP_SECONDS);
        // After a clock step backwards, counts go into the newest step.
        let behind = usize::try_from(step - self.newest).unwrap_or(0).min(STEPS);
        if behind > 0 {
            self.counts.rotate_right(behind % STEPS);
            self.counts.iter_mut().take(behind).for_each(|count| *count = 0);
            self.newest = step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_events_and_falls_to_zero() {
        let mut rate = Rate::default();
        for tenth in 0..1_200 {
            rate.add(tenth * NANOS_PER_SECOND / 10);
        }
        assert!((rate.per_second(120 * NANOS_PER_SECOND) - 10.0).abs() < 1e-9);
        assert!((rate.per_second(150 * NANOS_PER_SECOND) - 5.0).abs() < 1.0);
        assert!(rate.per_second(200 * NANOS_PER_SECOND).abs() < 1e-9);
    }
}
