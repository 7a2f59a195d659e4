//! Steps of the wall clock against the monotonic one: somebody set it, or the machine was suspended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marketprism_schema::ClockStep;
use marketprism_service::clock;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::venues::{VenueClocks, nanos};
use crate::limits::{CLOCK_READ_MAX, CLOCK_STEP_MIN, CLOCK_STEPS_EVERY};

/// Slow adjustments, as NTP makes them, are no steps.
#[derive(Debug, Default)]
pub struct StepDetector {
    last: Option<(Instant, i64)>,
}

impl StepDetector {
    /// `wall_ns`: the wall clock at `now`.
    pub fn observe(&mut self, now: Instant, wall_ns: i64) -> Option<ClockStep> {
        let (before, wall_before_ns) = self.last.replace((now, wall_ns))?;
        let passed_ns = nanos(now.saturating_duration_since(before));
        let by_ns = wall_ns.saturating_sub(wall_before_ns).saturating_sub(passed_ns);
        let is_step = u128::from(by_ns.unsigned_abs()) >= CLOCK_STEP_MIN.as_nanos();
        is_step.then_some(ClockStep { at: wall_ns, by_ns })
    }
}

/// Reports steps until `stop`.
pub async fn watch_steps(clocks: Arc<VenueClocks>, stop: CancellationToken) {
    let mut detector = StepDetector::default();
    let mut ticks = interval(CLOCK_STEPS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let step = both_clocks().and_then(|(now, wall_ns)| detector.observe(now, wall_ns));
        if let Some(step) = step {
            clocks.stepped(step);
        }
    }
}

/// `None`: the process was interrupted between the two, so that they do not belong together.
fn both_clocks() -> Option<(Instant, i64)> {
    let before = Instant::now();
    let wall_ns = clock::now_ns();
    let took: Duration = before.elapsed();
    (took <= CLOCK_READ_MAX).then_some((before, wall_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_a_step_and_a_slow_adjustment_or_a_late_look_is_none() {
        const WALL_NS: i64 = 1_763_800_000_000_000_000;
        const SECOND_NS: i64 = 1_000_000_000;
        let began = Instant::now();
        let mut detector = StepDetector::default();
        let mut observe = |seconds: u64, wall_ns: i64| {
            detector.observe(began + Duration::from_secs(seconds), wall_ns).map(|step| step.by_ns)
        };
        assert_eq!(observe(0, WALL_NS), None);
        assert_eq!(observe(1, WALL_NS + SECOND_NS), None);
        // NTP slews by at most 500 ppm; this is a tenth.
        assert_eq!(observe(2, WALL_NS + 2 * SECOND_NS + 100_000_000), None);
        assert_eq!(observe(92, WALL_NS + 92 * SECOND_NS + 100_000_000), None, "a busy machine");
        assert_eq!(observe(93, WALL_NS + 273 * SECOND_NS + 100_000_000), Some(180 * SECOND_NS));
        assert_eq!(observe(94, WALL_NS + 274 * SECOND_NS + 100_000_000), None, "once");
        assert_eq!(observe(95, WALL_NS + 95 * SECOND_NS + 100_000_000), Some(-180 * SECOND_NS));
    }
}
