//! Pace of publishing and of resyncs. Times and random numbers are arguments, so that a replay is
//! deterministic.

#[derive(Clone, Copy, Debug)]
pub struct PublishGate {
    interval_ns: i64,
    last_ns: Option<i64>,
    waiting: u64,
    conflated: u64,
}

impl PublishGate {
    /// Opens every `interval_ns` nanoseconds; 0 passes every change.
    pub fn new(interval_ns: i64) -> Self {
        PublishGate { interval_ns: interval_ns.max(0), last_ns: None, waiting: 0, conflated: 0 }
    }

    pub fn changed(&mut self, updates: u32) {
        self.waiting += u64::from(updates);
    }

    pub fn is_due(&self, now_ns: i64) -> bool {
        self.due_at_ns().is_some_and(|due| now_ns >= due)
    }

    /// When the book is due; `None` while nothing is new, `i64::MIN` if nothing was published before.
    pub fn due_at_ns(&self) -> Option<i64> {
        (self.waiting > 0)
            .then(|| self.last_ns.map_or(i64::MIN, |last| last.saturating_add(self.interval_ns)))
    }

    pub fn published(&mut self, now_ns: i64) {
        self.conflated += self.waiting.saturating_sub(1);
        self.waiting = 0;
        self.last_ns = Some(now_ns);
    }

    /// The book is no longer LIVE: its unpublished changes count as conflated.
    pub fn withdraw(&mut self) {
        self.conflated += self.waiting;
        self.waiting = 0;
    }

    /// Updates that were never published on their own.
    pub fn conflated(&self) -> u64 {
        self.conflated
    }
}

const SECOND_NS: i64 = 1_000_000_000;

/// A book that was LIVE for this long is resynced at once again.
const STABLE_NS: i64 = 60 * SECOND_NS;

const LONGEST_NS: i64 = 60 * SECOND_NS;

/// Least time between refreshes of one book. A fast market takes the reserve within seconds, and no failure slows its refresh down.
const REFRESH_NS: i64 = 5 * SECOND_NS;

#[derive(Clone, Copy, Debug, Default)]
pub struct ResyncBackoff {
    tries: u32,
    live_since_ns: Option<i64>,
    refreshed_ns: Option<i64>,
}

impl ResyncBackoff {
    pub fn new() -> Self {
        Self::default()
    }

    /// When to request the snapshot that is needed now, on the clock of `now_ns`. `random` is any uniformly
    /// distributed number.
    pub fn next_at_ns(&mut self, now_ns: i64, random: u64) -> i64 {
        if self.live_since_ns.take().is_some_and(|since| now_ns.saturating_sub(since) >= STABLE_NS) {
            self.tries = 0;
        }
        let delay = match self.tries {
            0 => 0,
            tries => {
                let whole = SECOND_NS.checked_shl(tries - 1).filter(|_| tries <= 6).unwrap_or(LONGEST_NS);
                let whole = whole.min(LONGEST_NS);
                let spread = i64::try_from(random % whole.unsigned_abs().div_ceil(2)).unwrap_or_default();
                whole - whole / 4 + spread
            }
        };
        self.tries = self.tries.saturating_add(1);
        now_ns.saturating_add(delay)
    }

    /// When to request the snapshot of a refresh that is needed now.
    pub fn next_refresh_at_ns(&mut self, now_ns: i64) -> i64 {
        let at_ns = self.refreshed_ns.map_or(now_ns, |last| now_ns.max(last.saturating_add(REFRESH_NS)));
        self.refreshed_ns = Some(at_ns);
        at_ns
    }

    pub fn live(&mut self, now_ns: i64) {
        self.live_since_ns.get_or_insert(now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishes_newest_once_per_interval() {
        let mut gate = PublishGate::new(100);
        assert!(!gate.is_due(0));
        gate.changed(1);
        assert!(gate.is_due(0));
        gate.published(0);
        assert!(!gate.is_due(1_000), "nothing new");
        gate.changed(2);
        gate.changed(1);
        assert!(!gate.is_due(99));
        assert_eq!(gate.due_at_ns(), Some(100));
        assert!(gate.is_due(100));
        gate.published(100);
        assert_eq!(gate.conflated(), 2);
        gate.changed(3);
        gate.withdraw();
        assert!(!gate.is_due(1_000));
        assert_eq!(gate.conflated(), 5);
    }

    #[test]
    fn refreshes_keep_their_distance_whatever_failed_before() {
        let mut backoff = ResyncBackoff::new();
        for _ in 0..8 {
            backoff.next_at_ns(0, 0);
        }
        assert_eq!(backoff.next_refresh_at_ns(7), 7);
        assert_eq!(backoff.next_refresh_at_ns(8), 7 + REFRESH_NS);
        assert_eq!(backoff.next_refresh_at_ns(60 * SECOND_NS), 60 * SECOND_NS);
    }

    #[test]
    fn delays_double_up_to_a_minute() {
        for random in [0, u64::MAX, 123_456_789_012] {
            let mut backoff = ResyncBackoff::new();
            for seconds in [0, 1, 2, 4, 8, 16, 32, 60, 60, 60] {
                let delay = backoff.next_at_ns(0, random);
                let whole = seconds * SECOND_NS;
                assert!(delay >= whole - whole / 4 && delay <= whole + whole / 4, "{seconds} s gave {delay}");
            }
            backoff.live(0);
            backoff.live(40 * SECOND_NS);
            assert!(backoff.next_at_ns(59 * SECOND_NS, random) > 59 * SECOND_NS);
            backoff.live(100 * SECOND_NS);
            assert_eq!(backoff.next_at_ns(160 * SECOND_NS, random), 160 * SECOND_NS);
        }
    }
}
