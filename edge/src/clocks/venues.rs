//! Offsets of this machine's clock from those of the venues, as the feeds measure them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use marketprism_schema::{CLOCKS_MAX, ClockHeartbeat, ClockReading, ClockStep};
use marketprism_socket::{ClockFailure, ClockObserver, ClockOffset, ClockOptions};
use tokio::sync::watch;

use crate::config::ClockSettings;
use crate::limits::CLOCK_EXPIRES;
use crate::telemetry::{CLOCK_MEASURED, CLOCK_NOT_MEASURED, CLOCK_SET_BACK, CLOCK_SET_FORWARD, Metrics};

#[derive(Debug)]
pub struct VenueClocks {
    settings: ClockSettings,
    metrics: Metrics,
    state: Mutex<ClockState>,
    /// Number of steps since the start.
    steps: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct ClockState {
    /// Newest measurement of each exchange since the last step. Those that are too old are taken out.
    measured: BTreeMap<String, Measurement>,
    /// Exchanges whose last measurement failed.
    failing: BTreeMap<String, String>,
    /// Steps that no audit has reported.
    unreported: Vec<ClockStep>,
    /// The last step, and when it was noticed.
    last_step: Option<(ClockStep, Instant)>,
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
        Self { settings, metrics, state: Mutex::default(), steps: watch::Sender::new(0) }
    }

    /// For the sockets of a feed; `None`: nothing is measured.
    pub fn options(self: &Arc<Self>, exchange: &str) -> Option<ClockOptions> {
        let observer = Arc::new(FeedClock { clocks: Arc::clone(self), exchange: exchange.to_owned() });
        let (every, steps) = (self.settings.interval, self.steps.subscribe());
        self.settings.enabled.then(|| ClockOptions { every, steps, observer })
    }

    fn measured(&self, exchange: &str, result: Result<ClockOffset, ClockFailure>) {
        let outcome = if result.is_ok() { CLOCK_MEASURED } else { CLOCK_NOT_MEASURED };
        self.metrics.clock_measurements.with_label_values(&[exchange, outcome]).inc();
        let mut state = self.lock();
        match result {
            Ok(ClockOffset { offset_ns, error_ns, measured_at_ns, at }) => {
                state.failing.remove(exchange);
                // Of the time before the step, or from between the step and the look that noticed it.
                if state.last_step.is_some_and(|(_, noticed)| at <= noticed) {
                    return;
                }
                let exchange = exchange.to_owned();
                let reading = ClockReading { exchange, offset_ns, error_ns, measured_at: measured_at_ns };
                self.keep(&mut state, reading, at);
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

    /// The wall clock was set, from a wrong time or to one: offsets are unknown until they are measured again.
    pub fn stepped(&self, step: ClockStep) {
        let (label, by) = (if step.by_ns < 0 { CLOCK_SET_BACK } else { CLOCK_SET_FORWARD }, step.by_ns);
        tracing::warn!(
            by_seconds = seconds(by),
            "this machine's clock was set, or the machine was suspended: times of events jump here"
        );
        self.metrics.clock_steps.with_label_values(&[label]).inc();
        let mut state = self.lock();
        state.last_step = Some((step, Instant::now()));
        if state.unreported.len() < CLOCKS_MAX {
            state.unreported.push(step);
        }
        self.keep_only(&mut state, |_, _| false);
        drop(state);
        self.steps.send_modify(|steps| *steps += 1);
    }

    /// Forgets the exchanges that no feed collects any more.
    pub fn retain(&self, is_collected: impl Fn(&str) -> bool) {
        let mut state = self.lock();
        self.keep_only(&mut state, |exchange, _| is_collected(exchange));
        state.failing.retain(|exchange, _| is_collected(exchange));
    }

    fn keep_only(&self, state: &mut ClockState, is_kept: impl Fn(&str, &Measurement) -> bool) {
        state.measured.retain(|exchange, measurement| {
            let is_kept = is_kept(exchange, measurement);
            if !is_kept {
                for gauge in [&self.metrics.clock_offset, &self.metrics.clock_error] {
                    // Fails where there is none.
                    let _ = gauge.remove_label_values(&[exchange]);
                }
            }
            is_kept
        });
    }

    pub fn readings(&self) -> Vec<MeasuredClock> {
        let state = self.current(Instant::now());
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
        let state = self.current(Instant::now());
        let best = state.measured.values().map(|one| &one.reading).min_by_key(|reading| reading.error_ns)?;
        Some(ClockHeartbeat {
            offset_us: best.offset_ns / 1_000,
            error_us: best.error_ns.unsigned_abs() / 1_000,
            source: best.exchange.clone(),
        })
    }

    /// Steps since the last call.
    pub fn take_steps(&self) -> Vec<ClockStep> {
        std::mem::take(&mut self.lock().unreported)
    }

    /// Number of steps since the start, and the last one.
    pub fn steps(&self) -> (u64, Option<ClockStep>) {
        (*self.steps.borrow(), self.lock().last_step.map(|(step, _)| step))
    }

    /// Clocks that are wrong beyond the error of their measurement.
    pub fn problems(&self) -> Vec<String> {
        self.problems_at(Instant::now())
    }

    fn problems_at(&self, now: Instant) -> Vec<String> {
        let limit = self.settings.max_offset;
        let wrong = |one: &Measurement| {
            let (offset, exchange) = (shown(&one.reading), &one.reading.exchange);
            format!(
                "clock: {offset} against {exchange}, allowed: {limit:?} beyond the error; synchronize it (NTP)"
            )
        };
        self.current(now).measured.values().filter(|one| one.is_wrong).map(wrong).collect()
    }

    /// Without the readings that are too old.
    fn current(&self, now: Instant) -> MutexGuard<'_, ClockState> {
        let (intervals, at_least) = CLOCK_EXPIRES;
        let most = (self.settings.interval * intervals).max(at_least);
        let mut state = self.lock();
        self.keep_only(&mut state, |_, one| now.saturating_duration_since(one.at) <= most);
        state
    }

    // Consistent at every moment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, ClockState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A duration as the difference of two times of a clock.
pub fn nanos(duration: Duration) -> i64 {
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
        Ok(ClockOffset { offset_ns, error_ns, measured_at_ns: 7, at: Instant::now() })
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

    fn offset_series(clocks: &VenueClocks) -> usize {
        let text = String::from_utf8(clocks.metrics.encode().unwrap()).unwrap();
        let names = ["marketprism_edge_clock_offset_seconds{", "marketprism_edge_clock_error_seconds{"];
        text.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).count()
    }

    /// A machine that was suspended has a right clock after the step, and one that was set wrongly a wrong one.
    #[test]
    fn after_a_step_of_the_clock_offsets_are_unknown_until_they_are_measured_again() {
        let clocks = Arc::new(clocks());
        let options = clocks.options("a").unwrap();
        let before = offset(1_000_000, 2_000_000);
        clocks.measured("a", offset(180 * SECOND_NS, 2_000_000));
        assert_eq!((clocks.problems().len(), offset_series(&clocks)), (1, 2));
        let step = ClockStep { at: 9, by_ns: -180 * SECOND_NS };
        clocks.stepped(step);
        clocks.measured("a", before);
        assert_eq!(
            (clocks.readings(), clocks.problems(), clocks.heartbeat()),
            (Vec::new(), Vec::new(), None)
        );
        assert_eq!(offset_series(&clocks), 0);
        assert!(options.steps.has_changed().unwrap(), "measured at once");
        assert_eq!((clocks.take_steps(), clocks.take_steps()), (vec![step], Vec::new()));
        assert_eq!(clocks.steps(), (1, Some(step)));
        let back = clocks.metrics.clock_steps.with_label_values(&[CLOCK_SET_BACK]).get();
        assert_eq!(back, 1);
        clocks.measured("a", offset(1_000_000, 2_000_000));
        assert_eq!(clocks.newest()[0].offset_ns, 1_000_000);
    }

    #[test]
    fn an_old_reading_and_one_of_a_removed_feed_say_nothing_any_more() {
        let clocks = clocks();
        for exchange in ["a", "b"] {
            clocks.measured(exchange, offset(2 * SECOND_NS, 0));
        }
        clocks.retain(|exchange| exchange == "a");
        assert_eq!((clocks.problems().len(), offset_series(&clocks)), (1, 2));
        clocks.measured("a", Err(ClockFailure::Unsteady));
        let after = |intervals: u32| Instant::now() + clocks.settings.interval * intervals;
        assert_eq!(clocks.problems_at(after(2)).len(), 1);
        assert_eq!(clocks.problems_at(after(4)), [] as [String; 0]);
        assert_eq!((clocks.newest(), offset_series(&clocks)), (Vec::new(), 0));
    }
}
