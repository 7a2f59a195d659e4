//! Bounds the time that a faulting adapter may take: after too many faults its frames are skipped for a
//! while.

use std::time::{Duration, Instant};

/// Faults and fault time after which a feed backs off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPolicy {
    /// Consecutive faulting frames before the feed backs off.
    pub consecutive_faults: u32,
    /// Time in faulting calls before the feed backs off, even with good frames between them. It decays by a quarter
    /// of the elapsed time.
    pub fault_time: Duration,
    /// First back-off; doubles until a frame is good.
    pub first_back_off: Duration,
    /// Upper bound of the doubled back-off.
    pub longest_back_off: Duration,
    /// Longest wait of a batch for resources that the host denies; then its frames are lost.
    pub host_wait: Duration,
}

impl Default for FaultPolicy {
    fn default() -> Self {
        FaultPolicy {
            consecutive_faults: 5,
            fault_time: Duration::from_secs(10),
            first_back_off: Duration::from_secs(1),
            longest_back_off: Duration::from_secs(60),
            host_wait: Duration::from_secs(5),
        }
    }
}

/// Health of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The last frame was good.
    Healthy,
    /// The last frames faulted.
    Faulting {
        /// Their number.
        consecutive: u32,
    },
    /// Frames go to quarantine without a call.
    BackingOff {
        /// When the next frame is tried.
        until: Instant,
    },
}

#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    policy: FaultPolicy,
    consecutive: u32,
    back_offs: u32,
    until: Option<Instant>,
    spent: Duration,
    spent_at: Option<Instant>,
}

impl CircuitBreaker {
    pub(crate) fn new(policy: FaultPolicy) -> Self {
        CircuitBreaker {
            policy,
            consecutive: 0,
            back_offs: 0,
            until: None,
            spent: Duration::ZERO,
            spent_at: None,
        }
    }

    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    pub(crate) fn health(&self, now: Instant) -> Health {
        match self.until {
            Some(until) if now < until => Health::BackingOff { until },
            _ if self.consecutive > 0 => Health::Faulting { consecutive: self.consecutive },
            _ => Health::Healthy,
        }
    }

    pub(crate) fn good(&mut self) {
        self.consecutive = 0;
        self.back_offs = 0;
        self.until = None;
    }

    /// Counts the fault of a single frame in a call that `took` so long. True when the feed backs off now.
    pub(crate) fn fault(&mut self, now: Instant, took: Duration) -> bool {
        let passed = self.spent_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.spent = self.spent.saturating_sub(passed / 4).saturating_add(took);
        self.spent_at = Some(now);
        self.consecutive = self.consecutive.saturating_add(1);
        let opens =
            self.consecutive >= self.policy.consecutive_faults || self.spent >= self.policy.fault_time;
        if opens {
            let factor = 1_u32.checked_shl(self.back_offs).unwrap_or(u32::MAX);
            let wait = self.policy.first_back_off.saturating_mul(factor).min(self.policy.longest_back_off);
            self.back_offs = self.back_offs.saturating_add(1);
            self.until = now.checked_add(wait);
            self.spent = Duration::ZERO;
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_in_a_row_back_off() {
        let mut circuit =
            CircuitBreaker::new(FaultPolicy { consecutive_faults: 3, ..FaultPolicy::default() });
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!circuit.fault(at(0), Duration::ZERO));
        assert!(!circuit.fault(at(0), Duration::ZERO));
        assert_eq!(circuit.health(at(0)), Health::Faulting { consecutive: 2 });
        for (now, wait) in [(0, 1), (1, 2), (3, 4), (7, 8), (15, 16), (31, 32), (63, 60), (123, 60)] {
            assert!(circuit.fault(at(now), Duration::ZERO));
            assert_eq!(circuit.health(at(now)), Health::BackingOff { until: at(now + wait) });
            assert!(!circuit.is_open(at(now + wait)));
        }
        circuit.good();
        assert_eq!(circuit.health(at(200)), Health::Healthy);
        assert!(!circuit.fault(at(200), Duration::ZERO));
    }

    #[test]
    fn slow_faults_back_off() {
        let slow = Duration::from_millis(100);
        for (every_ms, backs_off) in [(200, true), (1_000, false)] {
            let mut circuit = CircuitBreaker::new(FaultPolicy {
                fault_time: Duration::from_secs(2),
                ..FaultPolicy::default()
            });
            let start = Instant::now();
            let opened = (0..100).any(|i| {
                let opened = circuit.fault(start + Duration::from_millis(i * every_ms), slow);
                circuit.good();
                opened
            });
            assert_eq!(opened, backs_off, "a fault every {every_ms} ms");
        }
    }
}
