//! Windows that have no final verdict yet, and when each is looked at next.

use std::collections::BTreeMap;

use crate::ledger::windows::SECOND_NS;

/// A window that stays open long after its end is looked at this often.
const SELDOM_NS: i64 = 60 * SECOND_NS;

/// Windows that have no final verdict yet. Bounded by the windows within the reach of the AUDIT stream.
#[derive(Debug, Default)]
pub struct Pending {
    windows: BTreeMap<i64, i64>,
}

impl Pending {
    /// A window that is looked at from a moment on; earlier where that is so already.
    pub fn add(&mut self, window: i64, from_ns: i64) {
        self.windows.entry(window).and_modify(|next| *next = from_ns.min(*next)).or_insert(from_ns);
    }

    /// Was looked at, and has no final verdict before a moment unless it is added again.
    pub fn put_off(&mut self, window: i64, until_ns: i64) {
        self.windows.insert(window, until_ns);
    }

    /// Has its final verdicts.
    pub fn remove(&mut self, window: i64) {
        self.windows.remove(&window);
    }

    /// Was looked at in vain: the older, the longer the pause, but the moment at which it is due for good is not missed.
    pub fn postpone(&mut self, window: i64, window_end: i64, final_ns: i64, now_ns: i64) {
        let pause = ((now_ns - window_end) / 4).clamp(0, SELDOM_NS);
        let next = now_ns + pause;
        let next = if now_ns < final_ns { next.min(final_ns) } else { next };
        self.windows.insert(window, next);
    }

    /// The windows to look at now, in order.
    pub fn due(&self, now_ns: i64) -> Vec<i64> {
        self.windows.iter().filter(|&(_, &next)| next <= now_ns).map(|(&window, _)| window).collect()
    }

    /// The oldest one.
    pub fn oldest(&self) -> Option<i64> {
        self.windows.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: pauses grow with the age of a window and never pass over the end of the grace; what arrives for a window brings it forward.
    #[test]
    fn pauses_grow_and_meet_the_end_of_the_grace() {
        let second = |n: i64| n * SECOND_NS;
        let mut pending = Pending::default();
        pending.add(0, second(60));
        pending.add(0, second(90));
        assert_eq!((pending.due(second(59)), pending.due(second(60))), (vec![], vec![0]));
        pending.postpone(0, second(60), second(180), second(172));
        assert_eq!((pending.due(second(179)), pending.due(second(180))), (vec![], vec![0]));
        pending.postpone(0, second(60), second(180), second(10_000));
        assert_eq!((pending.due(second(10_059)).len(), pending.due(second(10_060)).len()), (0, 1));
        pending.put_off(0, second(20_000));
        assert!(pending.due(second(19_999)).is_empty());
        pending.add(0, second(11_000));
        assert_eq!(pending.due(second(11_000)), [0]);
        pending.remove(0);
        assert_eq!(pending.oldest(), None);
    }
}
