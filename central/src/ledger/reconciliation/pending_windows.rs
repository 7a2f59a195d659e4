//! Windows without a final verdict, and the time of each one's next evaluation.

use std::collections::BTreeMap;

use crate::ledger::windows::SECOND_NS;

/// Longest pause between evaluations of an open window.
const PAUSE_MAX_NS: i64 = 60 * SECOND_NS;

/// Bounded by the windows within the retention of the AUDIT stream.
#[derive(Debug, Default)]
pub struct PendingWindows {
    windows: BTreeMap<i64, i64>,
}

impl PendingWindows {
    /// Due at a time, or earlier if it is already.
    pub fn add(&mut self, window: i64, from_ns: i64) {
        self.windows.entry(window).and_modify(|next| *next = from_ns.min(*next)).or_insert(from_ns);
    }

    /// Not due before a time, unless it is added again.
    pub fn defer(&mut self, window: i64, until_ns: i64) {
        self.windows.insert(window, until_ns);
    }

    pub fn remove(&mut self, window: i64) {
        self.windows.remove(&window);
    }

    /// Evaluated without a final verdict: the older the window, the longer the pause, but never beyond the end of its grace period.
    pub fn postpone(&mut self, window: i64, window_end: i64, final_ns: i64, now_ns: i64) {
        let pause = ((now_ns - window_end) / 4).clamp(0, PAUSE_MAX_NS);
        let next = now_ns + pause;
        let next = if now_ns < final_ns { next.min(final_ns) } else { next };
        self.windows.insert(window, next);
    }

    pub fn due(&self, now_ns: i64) -> Vec<i64> {
        self.windows.iter().filter(|&(_, &next)| next <= now_ns).map(|(&window, _)| window).collect()
    }

    pub fn oldest(&self) -> Option<i64> {
        self.windows.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_but_never_miss_the_end_of_the_grace_period() {
        let second = |n: i64| n * SECOND_NS;
        let mut pending = PendingWindows::default();
        pending.add(0, second(60));
        pending.add(0, second(90));
        assert_eq!((pending.due(second(59)), pending.due(second(60))), (vec![], vec![0]));
        pending.postpone(0, second(60), second(180), second(172));
        assert_eq!((pending.due(second(179)), pending.due(second(180))), (vec![], vec![0]));
        pending.postpone(0, second(60), second(180), second(10_000));
        assert_eq!((pending.due(second(10_059)).len(), pending.due(second(10_060)).len()), (0, 1));
        pending.defer(0, second(20_000));
        assert!(pending.due(second(19_999)).is_empty());
        pending.add(0, second(11_000));
        assert_eq!(pending.due(second(11_000)), [0]);
        pending.remove(0);
        assert_eq!(pending.oldest(), None);
    }
}
