//! Limits of the process's resources. Pure: time and usage come from outside.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use marketprism_service::ProcessUsage;

use crate::config::SelfCareLimits;
use crate::telemetry::{CareLimit, RestartCause};

/// Checks of CPU time that are remembered, and those of them that must be above the limit.
const CPU_CHECKS: usize = 5;
const CPU_CHECKS_ABOVE: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartRequest {
    pub cause: RestartCause,
    /// Such as `memory 612 MB above 600 MB`.
    pub detail: String,
}

#[derive(Debug)]
pub struct ResourceMonitor {
    limits: SelfCareLimits,
    started: Instant,
    last: Option<(ProcessUsage, Instant)>,
    /// Newest last; percent of a core, above the limit or not.
    cpu: VecDeque<(u64, bool)>,
    /// In the order of [`CareLimit::ALL`].
    exceeded: [Option<String>; 3],
}

impl ResourceMonitor {
    pub const fn set_limits(&mut self, limits: SelfCareLimits) {
        self.limits = limits;
    }

    pub fn new(limits: SelfCareLimits, started: Instant) -> Self {
        Self { limits, started, last: None, cpu: VecDeque::new(), exceeded: [const { None }; 3] }
    }

    /// The limit is passed: value and limit.
    pub fn exceeded(&self, limit: CareLimit) -> Option<&str> {
        self.exceeded.get(limit as usize).and_then(Option::as_deref)
    }

    /// Takes a check. A restart that is due, unless the cooldown lasts or restarts are off; a limit is logged when it is passed.
    pub fn observe(&mut self, usage: ProcessUsage, now: Instant) -> Option<RestartRequest> {
        // A long uptime is no problem where nobody asked for a restart.
        let uptime = self.uptime(now).filter(|_| self.limits.auto_restart);
        let found = [self.memory(usage), self.cpu(usage, now), uptime];
        let before = std::mem::replace(&mut self.exceeded, found);
        for ((limit, before), found) in CareLimit::ALL.iter().zip(&before).zip(&self.exceeded) {
            if let (None, Some(detail)) = (before, found) {
                tracing::warn!(limit = limit.as_str(), detail, "a limit of self-care is passed");
            }
        }
        let first = CareLimit::ALL.iter().find_map(|limit| Some((*limit, self.exceeded(*limit)?.to_owned())));
        let (limit, detail) = first?;
        self.request(RestartCause::Limit(limit), detail, now)
    }

    /// A restart for this cause, unless the cooldown lasts or restarts are off.
    pub fn request(&self, cause: RestartCause, detail: String, now: Instant) -> Option<RestartRequest> {
        let is_due = now.saturating_duration_since(self.started) >= self.limits.restart_cooldown;
        (self.limits.auto_restart && is_due).then_some(RestartRequest { cause, detail })
    }

    fn memory(&self, usage: ProcessUsage) -> Option<String> {
        let (mb, limit) = (usage.resident_bytes >> 20, self.limits.memory_mb);
        (limit > 0 && mb > limit).then(|| format!("memory {mb} MB above {limit} MB"))
    }

    fn cpu(&mut self, usage: ProcessUsage, now: Instant) -> Option<String> {
        let limit = self.limits.cpu_percent;
        let (before, at) = self.last.replace((usage, now))?;
        let (busy, time) = (usage.cpu.saturating_sub(before.cpu), now.saturating_duration_since(at));
        let percent = u64::try_from(busy.as_nanos() * 100 / time.as_nanos().max(1)).unwrap_or(u64::MAX);
        if self.cpu.len() == CPU_CHECKS {
            self.cpu.pop_front();
        }
        self.cpu.push_back((percent, limit > 0 && percent > limit));
        let above = self.cpu.iter().filter(|(_, is_above)| *is_above);
        // The newest check that was above: what is reported is above the limit.
        let (newest, _) = above.clone().next_back()?;
        (above.count() >= CPU_CHECKS_ABOVE).then(|| format!("CPU {newest} % above {limit} % of a core"))
    }

    fn uptime(&self, now: Instant) -> Option<String> {
        const HOUR: Duration = Duration::from_secs(3_600);
        let (uptime, limit) = (now.saturating_duration_since(self.started), self.limits.max_uptime_hours);
        let hours = uptime.as_secs() / HOUR.as_secs();
        (limit > 0 && hours >= limit).then(|| format!("uptime {hours} h at the limit of {limit} h"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn usage(mb: u64, cpu: Duration) -> ProcessUsage {
        ProcessUsage { resident_bytes: mb << 20, cpu }
    }

    fn limits() -> SelfCareLimits {
        SelfCareLimits { auto_restart: true, memory_mb: 600, ..SelfCareLimits::default() }
    }

    #[test]
    fn memory_above_its_limit_restarts_after_the_cooldown_only_and_only_where_restarts_are_on() {
        let start = Instant::now();
        let high = usage(612, Duration::ZERO);
        let mut monitor = ResourceMonitor::new(limits(), start);
        assert_eq!(monitor.observe(high, start + 4 * MINUTE), None, "the cooldown is 5 minutes");
        assert!(monitor.exceeded(CareLimit::Memory).is_some());
        assert_eq!(monitor.observe(usage(600, Duration::ZERO), start + 6 * MINUTE), None);
        let request = monitor.observe(high, start + 7 * MINUTE).unwrap();
        assert_eq!(request.cause.as_str(), "memory");
        assert_eq!(request.detail, "memory 612 MB above 600 MB");

        for off in [SelfCareLimits::default(), SelfCareLimits { memory_mb: 0, ..limits() }] {
            let mut monitor = ResourceMonitor::new(off, start);
            assert_eq!(monitor.observe(usage(900, Duration::ZERO), start + 10 * MINUTE), None, "{off:?}");
        }
    }

    #[test]
    fn cpu_time_must_be_above_its_limit_at_three_of_five_checks() {
        let start = Instant::now();
        let mut monitor = ResourceMonitor::new(limits(), start);
        let mut cpu = Duration::ZERO;
        let mut check = |minute: u32, percent: u32| {
            cpu += MINUTE * percent / 100;
            monitor.observe(usage(1, cpu), start + minute * MINUTE)
        };
        for (minute, percent) in
            [(10, 0), (11, 95), (12, 10), (13, 150), (14, 10), (15, 10), (16, 10), (17, 95)]
        {
            assert_eq!(check(minute, percent), None, "minute {minute}");
        }
        assert_eq!(check(18, 95), None, "two of the last five");
        let request = check(19, 120).unwrap();
        assert_eq!(
            (request.cause.as_str(), request.detail.as_str()),
            ("cpu", "CPU 120 % above 90 % of a core")
        );
    }

    #[test]
    fn a_long_uptime_restarts_at_its_limit_and_is_no_passed_limit_without_restarts() {
        let start = Instant::now();
        let mut monitor = ResourceMonitor::new(SelfCareLimits::default(), start);
        assert_eq!(monitor.observe(usage(1, Duration::ZERO), start + 1_500 * MINUTE), None);
        assert_eq!(monitor.exceeded(CareLimit::Uptime), None, "the alert would stay for ever");
        let mut monitor = ResourceMonitor::new(limits(), start);
        assert_eq!(monitor.observe(usage(1, Duration::ZERO), start + 1_439 * MINUTE), None);
        let request = monitor.observe(usage(1, Duration::ZERO), start + 1_440 * MINUTE).unwrap();
        assert_eq!(
            (request.cause.as_str(), request.detail.as_str()),
            ("uptime", "uptime 24 h at the limit of 24 h")
        );
    }
}
