//! Publish interval of one book: the newest state at most once per interval.

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
}
