//! Offsets of this machine's clock from those of the venues, as the feeds measure them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use marketprism_schema::{CLOCKS_MAX, ClockHeartbeat, ClockReading, ClockStep};
use marketprism_socket::{ClockFailure, ClockObserver, ClockOffset, ClockOptions};

use crate::config::ClockSettings;
use crate::telemetry::{CLOCK_MEASURED, CLOCK_NOT_MEASURED, CLOCK_SET_BACK, CLOCK_SET_FORWARD, Metrics};

#[derive(Debug)]
pub struct VenueClocks {
    settings: ClockSettings,
    metrics: Metrics,
    state: Mutex<ClockState>,
}

#[derive(Debug, Default)]
struct ClockState {
    /// Newest measurement of each exchange.
    measured: BTreeMap<String, Measurement>,
    /// Exchanges whose last measurement failed.
    failing: BTreeMap<String, String>,
    /// Steps that no audit has told.
    untold: Vec<ClockStep>,
    steps: u64,
    last_step: Option<ClockStep>,
}

#[derive(Debug)]
struct Measurement {
    reading: ClockReading,
    at: Instant,
    /// Its offset is beyond the limit.
    is_wrong: bool,
}

/// A reading with its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredClock {
    pub reading: ClockReading,
    pub age: Duration,
}

impl VenueClocks {
    pub fn new(settings: ClockSettings, metrics: Metrics) -> Self {
        Self { settings, metrics, state: Mutex::default() }
    }

    /// For the sockets of a feed; `None`: nothing is measured.
    pub fn options(self: &Arc<Self>, exchange: &str) -> Option<ClockOptions> {
        let observer = Arc::new(FeedClock { clocks: Arc::clone(self), exchange: exchange.to_owned() });
        self.settings.enabled.then(|| ClockOptions { every: self.settings.interval, observer })
    }

    fn measured(&self, exchange: &str, result: Result<ClockOffset, ClockFailure>) {
        let outcome = if result.is_ok() { CLOCK_MEASURED } else { CLOCK_NOT_MEASURED };
        self.metrics.clock_measurements.with_label_values(&[exchange, outcome]).inc();
        let mut state = self.lock();
        match result {
            Ok(ClockOffset { offset_ns, error_ns, measured_at_ns }) => {
                state.failing.remove(exchange);
                let exchange = exchange.to_owned();
                let reading = ClockReading { exchange, offset_ns, error_ns, measured_at: measured_at_ns };
                self.keep(&mut state, reading, Instant::now());
            }
            Err(failure) => {
                let failure = failure.to_string();
                if state.failing.insert(exchange.to_owned(), failure.clone()).is_none() {
                    tracing::warn!(exchange, failure, "the venue's clock is not measured now");
                }
            }
        }
    }

    fn keep(&self, state: &mut ClockState, reading: ClockReading, at: Instant) {
        let is_wrong = reading.certain_offset_ns() > nanos(self.settings.max_offset);
        let was_wrong = state.measured.get(&reading.exchange).is_some_and(|before| before.is_wrong);
        let exchange = reading.exchange.as_str();
        let offset = shown(&reading);
        match (was_wrong, is_wrong) {
            (false, true) => {
                let limit = self.settings.max_offset;
                tracing::warn!(
                    exchange,
                    offset,
                    ?limit,
                    "this machine's clock is wrong: synchronize it (NTP)"
                );
            }
            (true, false) => tracing::info!(exchange, offset, "this machine's clock is right again"),
            _ => {}
        }
        let labels = [exchange];
        self.metrics.clock_offset.with_label_values(&labels).set(seconds(reading.offset_ns));
        self.metrics.clock_error.with_label_values(&labels).set(seconds(reading.error_ns));
        state.measured.insert(reading.exchange.clone(), Measurement { reading, at, is_wrong });
    }

    /// The wall clock was set: offsets change by the same.
    pub fn stepped(&self, step: ClockStep) {
        let (label, by) = (if step.by_ns < 0 { CLOCK_SET_BACK } else { CLOCK_SET_FORWARD }, step.by_ns);
        tracing::warn!(
            by_seconds = seconds(by),
            "this machine's clock was set, or the machine was suspended: times of events jump here"
        );
        self.metrics.clock_steps.with_label_values(&[label]).inc();
        let mut state = self.lock();
        (state.steps, state.last_step) = (state.steps + 1, Some(step));
        if state.untold.len() < CLOCKS_MAX {
            state.untold.push(step);
        }
        let measured = |one: &Measurement| (one.reading.clone(), one.at);
        let all: Vec<(ClockReading, Instant)> = state.measured.values().map(measured).collect();
        for (reading, at) in all {
            let offset_ns = reading.offset_ns.saturating_add(by);
            self.keep(&mut state, ClockReading { offset_ns, ..reading }, at);
        }
    }

    pub fn readings(&self) -> Vec<MeasuredClock> {
        let state = self.lock();
        let measured =
            |one: &Measurement| MeasuredClock { reading: one.reading.clone(), age: one.at.elapsed() };
        state.measured.values().take(CLOCKS_MAX).map(measured).collect()
    }

    /// Of every venue, without their ages.
    pub fn newest(&self) -> Vec<ClockReading> {
        self.readings().into_iter().map(|measured| measured.reading).collect()
    }

    /// The reading with the least error.
    pub fn heartbeat(&self) -> Option<ClockHeartbeat> {
        let state = self.lock();
        let best = state.measured.values().map(|one| &one.reading).min_by_key(|reading| reading.error_ns)?;
        Some(ClockHeartbeat {
            offset_us: best.offset_ns / 1_000,
            error_us: best.error_ns.unsigned_abs() / 1_000,
            source: best.exchange.clone(),
        })
    }

    /// Steps since the last call.
    pub fn take_steps(&self) -> Vec<ClockStep> {
        std::mem::take(&mut self.lock().untold)
    }

    /// Number of steps since the start, and the last one.
    pub fn steps(&self) -> (u64, Option<ClockStep>) {
        let state = self.lock();
        (state.steps, state.last_step)
    }

    /// Clocks that are wrong beyond the error of their measurement.
    pub fn problems(&self) -> Vec<String> {
        let limit = self.settings.max_offset;
        let wrong = |one: &Measurement| {
            let (offset, exchange) = (shown(&one.reading), &one.reading.exchange);
            format!(
                "clock: {offset} against {exchange}, allowed: {limit:?} beyond the error; synchronize it (NTP)"
            )
        };
        self.lock().measured.values().filter(|one| one.is_wrong).map(wrong).collect()
    }

    // Consistent at every moment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, ClockState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a metric needs no 64 bits")]
fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

fn shown(reading: &ClockReading) -> String {
    format!("{:+.6} s \u{b1} {:.6} s", seconds(reading.offset_ns), seconds(reading.error_ns))
}

/// Takes the measurements of one feed.
#[derive(Debug)]
pub struct FeedClock {
    clocks: Arc<VenueClocks>,
    exchange: String,
}

impl ClockObserver for FeedClock {
    fn measured(&self, result: Result<ClockOffset, ClockFailure>) {
        self.clocks.measured(&self.exchange, result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    fn clocks() -> VenueClocks {
        VenueClocks::new(ClockSettings::default(), Metrics::new().unwrap())
    }

    fn offset(offset_ns: i64, error_ns: i64) -> Result<ClockOffset, ClockFailure> {
        Ok(ClockOffset { offset_ns, error_ns, measured_at_ns: 7 })
    }

    #[test]
    fn a_clock_is_wrong_only_beyond_the_error_of_its_measurement() {
        let clocks = clocks();
        clocks.measured("coarse", offset(SECOND_NS, SECOND_NS));
        clocks.measured("fine", offset(-400_000_000, 1_000_000));
        assert_eq!(clocks.problems(), [] as [String; 0]);
        assert_eq!(clocks.heartbeat().unwrap().source, "fine");
        clocks.measured("fine", offset(-2 * SECOND_NS, 3_000_000));
        let problem = "clock: -2.000000 s \u{b1} 0.003000 s against fine, allowed: 500ms beyond the error; synchronize it (NTP)";
        assert_eq!(clocks.problems(), [problem]);
        clocks.measured("fine", Err(ClockFailure::Unsteady));
        assert_eq!(clocks.problems().len(), 1, "the last measurement counts");
        clocks.measured("fine", offset(0, 0));
        assert_eq!(clocks.problems(), [] as [String; 0]);
    }

    #[test]
    fn a_step_of_the_clock_changes_every_offset_at_once_and_is_told_once() {
        let clocks = clocks();
        clocks.measured("a", offset(1_000_000, 2_000_000));
        let step = ClockStep { at: 9, by_ns: 180 * SECOND_NS };
        clocks.stepped(step);
        let [MeasuredClock { reading, .. }] = &clocks.readings()[..] else { panic!() };
        assert_eq!((reading.offset_ns, reading.error_ns), (180 * SECOND_NS + 1_000_000, 2_000_000));
        assert_eq!(clocks.problems().len(), 1);
        assert_eq!((clocks.take_steps(), clocks.take_steps()), (vec![step], Vec::new()));
        assert_eq!(clocks.steps(), (1, Some(step)));
        let forward = clocks.metrics.clock_steps.with_label_values(&[CLOCK_SET_FORWARD]).get();
        assert_eq!(forward, 1);
    }
}
