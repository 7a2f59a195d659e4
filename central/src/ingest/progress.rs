//! Progress of a stream: delivered, missing and confirmed sequences. Pure.

use std::collections::BTreeMap;

use crate::limits;

/// Sequences, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeqRange {
    pub from: u64,
    pub to: u64,
}

impl SeqRange {
    pub fn len(&self) -> u64 {
        self.to.saturating_sub(self.from).saturating_add(1)
    }

    /// Consecutive parts of at most so many sequences.
    pub fn pieces(self, most: u64) -> impl Iterator<Item = SeqRange> {
        let starts = std::iter::successors(Some(self.from), move |from| from.checked_add(most.max(1)));
        starts
            .take_while(move |from| *from <= self.to)
            .map(move |from| SeqRange { from, to: self.to.min(from.saturating_add(most.max(1) - 1)) })
    }

    /// The range without the given sequences, which rise.
    pub fn without(self, sequences: impl IntoIterator<Item = u64>) -> Vec<SeqRange> {
        let mut left = Vec::new();
        let mut from = self.from;
        for sequence in sequences {
            if sequence < from || sequence > self.to {
                continue;
            }
            if sequence > from {
                left.push(SeqRange { from, to: sequence - 1 });
            }
            from = sequence + 1;
        }
        if from <= self.to {
            left.push(SeqRange { from, to: self.to });
        }
        left
    }
}

/// Progress of a stream.
///
/// Each consumer delivers the messages of its subjects in stream order, one consumer sooner than another. A sequence that all have passed and
/// none has delivered no longer exists, or was delivered to a dead central that acknowledged it. `gap_scan` asks the broker which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryProgress {
    pub stream_created_ns: i64,
    /// Everything up to here is stored (as event, duplicate or dead letter) or recorded in `losses`.
    pub confirmed: u64,
    /// Acknowledged by the previous owner but not confirmed: is stored, or is lost.
    pub inherited: Option<SeqRange>,
    /// Hot was started again since it stored the inherited messages: it may have been put back.
    pub is_hot_restarted: bool,
    /// Lowest sequence that is neither taken nor a gap.
    pub next: u64,
    /// Sequences taken above `next`: first and last of each range.
    ahead: BTreeMap<u64, u64>,
    /// Highest sequence taken.
    pub newest: u64,
    pub gaps: Vec<SeqRange>,
    max_gaps: usize,
}

impl DeliveryProgress {
    /// Starts with everything up to `confirmed` stored and everything up to `acknowledged` acknowledged by some consumer.
    pub fn new(stream_created_ns: i64, confirmed: u64, acknowledged: u64, max_gaps: usize) -> Self {
        let inherited = (acknowledged > confirmed)
            .then(|| SeqRange { from: confirmed.saturating_add(1), to: acknowledged });
        let newest = confirmed.max(acknowledged);
        let next = newest.saturating_add(1);
        let (ahead, gaps) = Default::default();
        let is_hot_restarted = false;
        Self {
            stream_created_ns,
            confirmed,
            inherited,
            is_hot_restarted,
            next,
            ahead,
            newest,
            gaps,
            max_gaps,
        }
    }

    /// Hot was started again: of what it had stored before, what is not confirmed is looked up. The positions of a hot that was put back
    /// to a state of a moment before tell nothing.
    pub fn hot_restarted(&mut self) {
        let unconfirmed = SeqRange { from: self.confirmed.saturating_add(1), to: self.newest };
        if unconfirmed.from <= unconfirmed.to {
            (self.inherited, self.is_hot_restarted) = (Some(unconfirmed), true);
        }
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
        if sequence < self.next {
            return;
        }
        let end = self.ahead.remove(&sequence.saturating_add(1)).unwrap_or(sequence);
        match self.ahead.range_mut(..=sequence).next_back() {
            Some((_, to)) if *to + 1 >= sequence => *to = end.max(*to),
            _ => {
                self.ahead.insert(sequence, end);
            }
        }
        self.advance();
        if self.ahead.len() > limits::TAKEN_RANGES {
            // They are looked up as gaps are.
            self.ahead.pop_last();
        }
    }

    /// Every consumer has passed these sequences: those that none delivered are gaps.
    pub fn pass(&mut self, upto: u64) {
        while self.next <= upto {
            let to = self.ahead.first_key_value().map_or(upto, |(from, _)| upto.min(from - 1));
            self.skip(SeqRange { from: self.next, to });
            self.next = to.saturating_add(1);
            self.advance();
        }
    }

    fn advance(&mut self) {
        while let Some(first) = self.ahead.first_entry()
            && *first.key() <= self.next
        {
            self.next = self.next.max(first.remove().saturating_add(1));
        }
    }

    /// Takes over what was taken here since `self` was copied from it.
    pub fn join(&mut self, since: Self) {
        self.newest = since.newest;
        if since.next > self.next {
            self.next = since.next;
        }
        self.ahead = since.ahead;
        self.ahead.retain(|_, to| *to >= self.next);
        self.advance();
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

    #[test]
    fn removing_sequences_from_a_range_is_exact() {
        let of = |sequences: &[u64]| span(10, 20).without(sequences.iter().copied());
        assert_eq!(of(&[]), [span(10, 20)]);
        assert_eq!(of(&[10, 20]), [span(11, 19)]);
        assert_eq!(of(&[9, 12, 13, 21]), [span(10, 11), span(14, 20)]);
        assert_eq!(of(&(10..=20).collect::<Vec<_>>()), []);
        assert_eq!(span(10, 20).len(), 11);
        assert_eq!(span(10, 14).pieces(2).collect::<Vec<_>>(), [span(10, 11), span(12, 13), span(14, 14)]);
    }

    /// Consumers of a stream overtake each other; a gap is what all have passed. The number of gaps is bounded.
    #[test]
    fn sequences_that_every_consumer_passed_and_none_delivered_are_gaps() {
        let mut progress = DeliveryProgress::new(1, 5, 8, 2);
        assert_eq!((progress.inherited, progress.next), (Some(span(6, 8)), 9));
        for sequence in [9, 7, 12, 13, 11, 15, 18] {
            progress.take(sequence);
        }
        assert_eq!((progress.next, progress.newest, progress.gaps.len()), (10, 18, 0));
        progress.take(10);
        assert_eq!(progress.next, 14, "the slower consumer follows");
        progress.pass(16);
        assert_eq!((progress.next, &*progress.gaps), (17, &[span(14, 14), span(16, 16)][..]));
        progress.pass(20);
        assert_eq!(progress.gaps, [span(14, 14), span(16, 20)], "the third gap joins the second");
        assert_eq!(progress.next, 21);
    }

    #[test]
    fn what_is_taken_during_a_scan_is_not_forgotten() {
        let mut live = DeliveryProgress::new(1, 0, 0, 9);
        for sequence in [1, 3, 6] {
            live.take(sequence);
        }
        let mut scanned = live.clone();
        scanned.pass(4);
        for sequence in [5, 8] {
            live.take(sequence);
        }
        scanned.join(live);
        assert_eq!((scanned.next, scanned.newest, &*scanned.gaps), (7, 8, &[span(2, 2), span(4, 4)][..]));
        scanned.take(7);
        assert_eq!(scanned.next, 9);
    }

    /// One long gap may be many short ones that hot lacks.
    #[test]
    fn gaps_that_are_left_of_others_are_bounded_too() {
        let mut progress = DeliveryProgress::new(1, 0, 0, 2);
        progress.pass(100);
        progress.keep_gaps(vec![span(1, 3), span(7, 8), span(20, 21), span(90, 90)]);
        assert_eq!(progress.gaps, [span(1, 3), span(7, 90)]);
        progress.keep_gaps(vec![span(7, 8)]);
        assert_eq!(progress.gaps, [span(7, 8)]);
    }

    /// Consumers of a broker that was put back have acknowledged messages that were to be delivered again to a hot that was put back.
    #[test]
    fn another_subscription_looks_up_what_consumers_acknowledged_and_nobody_confirmed() {
        let mut before = DeliveryProgress::new(1, 0, 0, 9);
        (1..=20).for_each(|sequence| before.take(sequence));
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
        [1, 2, 3, 4, 6, 7].into_iter().for_each(|sequence| progress.take(sequence));
        progress.hot_restarted();
        assert_eq!((progress.inherited, progress.is_hot_restarted), (Some(span(1, 7)), true));
        [5, 8].into_iter().for_each(|sequence| progress.take(sequence));
        assert_eq!(progress.contiguous_up_to(8, None), 0);
        progress.confirmed = 5;
        progress.hot_restarted();
        assert_eq!(progress.inherited, Some(span(6, 8)));
    }

    /// The broker's ack floor alone does not prove that everything below is stored.
    #[test]
    fn a_sequence_is_confirmed_only_when_everything_below_is_stored() {
        let mut progress = DeliveryProgress::new(1, 5, 8, 9);
        for sequence in [9, 10, 14] {
            progress.take(sequence);
        }
        progress.pass(14);
        assert_eq!(progress.contiguous_up_to(14, None), 5, "inherited");
        progress.inherited = None;
        assert_eq!(progress.contiguous_up_to(14, None), 10, "a gap");
        assert_eq!(progress.contiguous_up_to(14, Some(9)), 8, "a message in memory");
        progress.gaps.clear();
        assert_eq!((progress.contiguous_up_to(12, None), progress.contiguous_up_to(99, None)), (12, 14));
    }
}
