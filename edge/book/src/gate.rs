//! When to publish a book.

/// Lets through the newest state of a book at most once per interval. What changes in between is conflated
/// and counted.
#[derive(Clone, Copy, Debug)]
pub struct PublishGate {
    interval_ns: i64,
    last_ns: Option<i64>,
    waiting: u64,
    conflated: u64,
}

impl PublishGate {
    /// A gate that opens every `interval_ns` nanoseconds; 0 lets every change through.
    #[must_use]
    pub fn new(interval_ns: i64) -> Self {
        PublishGate { interval_ns: interval_ns.max(0), last_ns: None, waiting: 0, conflated: 0 }
    }

    /// Notes that `updates` more updates were applied to the LIVE book.
    pub fn changed(&mut self, updates: u32) {
        self.waiting += u64::from(updates);
    }

    /// True when there is something new and the interval is over.
    #[must_use]
    pub fn is_due(&self, now_ns: i64) -> bool {
        self.due_at_ns().is_some_and(|due| now_ns >= due)
    }

    /// When the book is to be published next; `None` while nothing is new. `i64::MIN` when nothing was
    /// published before.
    #[must_use]
    pub fn due_at_ns(&self) -> Option<i64> {
        (self.waiting > 0)
            .then(|| self.last_ns.map_or(i64::MIN, |last| last.saturating_add(self.interval_ns)))
    }

    /// Notes that the newest state was published now.
    pub fn published(&mut self, now_ns: i64) {
        self.conflated += self.waiting.saturating_sub(1);
        self.waiting = 0;
        self.last_ns = Some(now_ns);
    }

    /// Notes that the book is no longer LIVE: what was not published will not be.
    pub fn withdraw(&mut self) {
        self.conflated += self.waiting;
        self.waiting = 0;
    }

    /// Updates that were never shown on their own.
    #[must_use]
    pub fn conflated(&self) -> u64 {
        self.conflated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the first change goes out at once, later ones once per interval with the newest state, and all
    // others are counted.
    // Method: changes at chosen times against an interval of 100.
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
