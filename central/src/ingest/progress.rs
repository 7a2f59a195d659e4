//! Progress of a stream: delivered, missing and confirmed sequences. Pure.

use crate::seq_range::SeqRange;

/// Progress of a stream.
///
/// Each consumer delivers the messages of its subjects in stream order, one consumer sooner than another. A sequence that all have passed and
/// the broker does not hold was discarded: before it was delivered, or after it was stored. `gap_scan` asks hot which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryProgress {
    pub stream_created_ns: i64,
    /// Everything up to here is stored (as event, duplicate or dead letter) or recorded in `losses`.
    pub confirmed: u64,
    /// Acknowledged by other owners but not confirmed: is stored, or is lost.
    pub inherited: Option<SeqRange>,
    /// Hot was started again since it stored the inherited messages: it may have been put back.
    pub is_hot_restarted: bool,
    /// Lowest sequence that is not examined for gaps.
    pub next: u64,
    /// Highest sequence taken.
    pub newest: u64,
    pub gaps: Vec<SeqRange>,
    max_gaps: usize,
}

impl DeliveryProgress {
    /// Starts with everything up to `confirmed` stored and everything up to `acknowledged` acknowledged by some consumer.
    pub fn new(stream_created_ns: i64, confirmed: u64, acknowledged: u64, max_gaps: usize) -> Self {
        let newest = confirmed.max(acknowledged);
        let (next, gaps) = (newest.saturating_add(1), Vec::new());
        let (inherited, is_hot_restarted) = (None, false);
        let mut progress =
            Self { stream_created_ns, confirmed, inherited, is_hot_restarted, next, newest, gaps, max_gaps };
        progress.inherit(acknowledged);
        progress
    }

    /// Messages up to here that others acknowledged and nobody confirmed are looked up.
    pub fn inherit(&mut self, acknowledged: u64) {
        let upto = self.inherited.map_or(acknowledged, |span| span.to.max(acknowledged));
        if upto > self.confirmed {
            self.inherited = Some(SeqRange { from: self.confirmed.saturating_add(1), to: upto });
        }
    }

    /// Hot was started again: of what it had stored before, what is not confirmed is looked up. The positions of a hot that was put back
    /// to a state of a moment before tell nothing.
    pub fn hot_restarted(&mut self) {
        self.inherit(self.newest);
        self.is_hot_restarted = self.inherited.is_some();
    }

    /// Continues after another subscription to the stream, whose last sequence is `last`: hot may have been started again since it stored what
    /// was taken before.
    pub fn resume(&mut self, before: &Self, last: u64) {
        self.newest = self.newest.max(before.newest.min(last));
        if before.is_hot_restarted {
            self.hot_restarted();
        }
    }

    pub fn take(&mut self, sequence: u64) {
        self.newest = self.newest.max(sequence);
    }

    /// Every consumer has passed these sequences: those that the broker does not hold are gaps.
    pub fn pass(&mut self, upto: u64, absent: &[SeqRange]) {
        let (from, to) = (self.next, upto);
        let passed = absent.iter().map(|gap| SeqRange { from: gap.from.max(from), to: gap.to.min(to) });
        passed.filter(|gap| gap.from <= gap.to).for_each(|gap| self.skip(gap));
        self.next = self.next.max(upto.saturating_add(1));
    }

    /// Replaces the gaps by what is left of them.
    pub fn keep_gaps(&mut self, left: Vec<SeqRange>) {
        self.gaps.clear();
        left.into_iter().for_each(|gap| self.skip(gap));
    }

    fn skip(&mut self, gap: SeqRange) {
        let is_full = self.gaps.len() >= self.max_gaps;
        match self.gaps.last_mut() {
            // The sequences in between are checked too, and found stored.
            Some(last) if is_full => last.to = gap.to,
            _ => self.gaps.push(gap),
        }
    }

    /// Highest sequence up to which everything is stored, given what all consumers have acknowledged and the lowest message in memory;
    /// unresolved gaps and inherited sequences limit it.
    pub fn contiguous_up_to(&self, acknowledged: u64, lowest_open: Option<u64>) -> u64 {
        let before = |span: Option<u64>| span.map_or(u64::MAX, |from| from.saturating_sub(1));
        let lowest_gap = self.gaps.iter().map(|gap| gap.from).min();
        acknowledged
            .min(before(lowest_open))
            .min(before(lowest_gap))
            .min(before(self.inherited.map(|span| span.from)))
            .min(self.next.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn span(from: u64, to: u64) -> SeqRange {
        SeqRange { from, to }
    }

    /// The number of gaps is bounded.
    #[test]
    fn sequences_that_every_consumer_passed_and_the_broker_does_not_hold_are_gaps() {
        let mut progress = DeliveryProgress::new(1, 5, 8, 2);
        assert_eq!((progress.inherited, progress.next), (Some(span(6, 8)), 9));
        let absent = [span(1, 9), span(14, 14), span(16, 20)];
        progress.pass(13, &absent);
        assert_eq!(
            (progress.next, &*progress.gaps),
            (14, &[span(9, 9)][..]),
            "what was passed before is not looked at"
        );
        progress.pass(17, &absent);
        assert_eq!(
            (progress.next, &*progress.gaps),
            (18, &[span(9, 9), span(14, 17)][..]),
            "the third gap joins the second"
        );
        progress.pass(12, &absent);
        assert_eq!((progress.next, progress.gaps.len()), (18, 2), "a consumer that began again");
    }

    /// One long gap may be many short ones that hot lacks.
    #[test]
    fn gaps_that_are_left_of_others_are_bounded_too() {
        let mut progress = DeliveryProgress::new(1, 0, 0, 2);
        progress.pass(100, &[span(1, 100)]);
        progress.keep_gaps(vec![span(1, 3), span(7, 8), span(20, 21), span(90, 90)]);
        assert_eq!(progress.gaps, [span(1, 3), span(7, 90)]);
        progress.keep_gaps(vec![span(7, 8)]);
        assert_eq!(progress.gaps, [span(7, 8)]);
    }

    /// Consumers of a broker that was put back have acknowledged messages that were to be delivered again to a hot that was put back.
    #[test]
    fn another_subscription_looks_up_what_consumers_acknowledged_and_nobody_confirmed() {
        let mut before = DeliveryProgress::new(1, 0, 0, 9);
        before.take(20);
        let mut progress = DeliveryProgress::new(1, 5, 8, 9);
        progress.resume(&before, 12);
        assert_eq!((progress.inherited, progress.is_hot_restarted), (Some(span(6, 8)), false));
        assert_eq!((progress.next, progress.newest), (9, 12), "the sequences behind 12 come again");
        before.hot_restarted();
        progress.resume(&before, 12);
        assert_eq!((progress.inherited, progress.is_hot_restarted), (Some(span(6, 12)), true));
    }

    /// The broker has acknowledged what a hot that was put back does not have.
    #[test]
    fn after_a_restart_of_hot_nothing_more_is_confirmed_until_what_it_stored_is_looked_up() {
        let mut progress = DeliveryProgress::new(1, 0, 0, 9);
        progress.hot_restarted();
        assert_eq!((progress.inherited, progress.is_hot_restarted), (None, false), "nothing was taken");
        progress.take(7);
        progress.hot_restarted();
        assert_eq!((progress.inherited, progress.is_hot_restarted), (Some(span(1, 7)), true));
        progress.pass(8, &[]);
        assert_eq!(progress.contiguous_up_to(8, None), 0);
        progress.confirmed = 5;
        progress.hot_restarted();
        assert_eq!(progress.inherited, Some(span(6, 7)));
    }

    /// The broker's ack floor alone does not prove that everything below is stored.
    #[test]
    fn a_sequence_is_confirmed_only_when_everything_below_is_stored() {
        let mut progress = DeliveryProgress::new(1, 5, 8, 9);
        progress.pass(14, &[span(11, 13)]);
        assert_eq!(progress.contiguous_up_to(14, None), 5, "inherited");
        progress.inherited = None;
        assert_eq!(progress.contiguous_up_to(14, None), 10, "a gap");
        assert_eq!(progress.contiguous_up_to(14, Some(9)), 8, "a message in memory");
        progress.gaps.clear();
        assert_eq!((progress.contiguous_up_to(12, None), progress.contiguous_up_to(99, None)), (12, 14));
    }
}
