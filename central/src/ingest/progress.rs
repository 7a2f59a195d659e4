//! Progress of a stream: delivered, missing and confirmed sequences. Pure.

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
/// The broker delivers new messages in stream order, so a skipped sequence no longer exists, or was delivered to a dead
/// central and will be redelivered. `gap_scan` asks the broker which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryProgress {
    pub stream_created_ns: i64,
    /// Everything up to here is stored (as event, duplicate or dead letter) or recorded in `losses`.
    pub confirmed: u64,
    /// Delivered to the previous owner but not confirmed: will be redelivered, or is stored, or is lost.
    pub inherited: Option<SeqRange>,
    /// Lowest sequence not delivered yet.
    pub next: u64,
    pub gaps: Vec<SeqRange>,
    max_gaps: usize,
}

impl DeliveryProgress {
    /// Starts with everything up to `confirmed` stored and everything up to `delivered` delivered.
    pub fn new(stream_created_ns: i64, confirmed: u64, delivered: u64, max_gaps: usize) -> Self {
        let inherited =
            (delivered > confirmed).then(|| SeqRange { from: confirmed.saturating_add(1), to: delivered });
        let next = confirmed.max(delivered).saturating_add(1);
        Self { stream_created_ns, confirmed, inherited, next, gaps: Vec::new(), max_gaps }
    }

    pub fn take(&mut self, sequence: u64) {
        if sequence < self.next {
            return;
        }
        if sequence > self.next {
            self.skip(SeqRange { from: self.next, to: sequence - 1 });
        }
        self.next = sequence.saturating_add(1);
    }

    fn skip(&mut self, gap: SeqRange) {
        let is_full = self.gaps.len() >= self.max_gaps;
        match self.gaps.last_mut() {
            // The sequences in between are checked too, and found stored.
            Some(last) if is_full => last.to = gap.to,
            _ => self.gaps.push(gap),
        }
    }

    /// Highest sequence up to which everything is stored, given the broker's ack floor and the lowest message in memory;
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

    /// The broker may deliver older sequences again; only skipped ones are gaps, and their number is bounded.
    #[test]
    fn skipped_sequences_are_gaps_and_their_number_is_bounded() {
        let mut progress = DeliveryProgress::new(1, 5, 8, 2);
        assert_eq!((progress.inherited, progress.next), (Some(span(6, 8)), 9));
        for sequence in [9, 7, 12, 10, 13, 15, 18] {
            progress.take(sequence);
        }
        assert_eq!(progress.gaps, [span(10, 11), span(14, 17)], "the third gap joins the second");
        assert_eq!(progress.next, 19);
    }

    /// The broker's ack floor alone does not prove that everything below is stored.
    #[test]
    fn a_sequence_is_confirmed_only_when_everything_below_is_stored() {
        let mut progress = DeliveryProgress::new(1, 5, 8, 9);
        for sequence in [9, 10, 14] {
            progress.take(sequence);
        }
        assert_eq!(progress.contiguous_up_to(14, None), 5, "inherited");
        progress.inherited = None;
        assert_eq!(progress.contiguous_up_to(14, None), 10, "a gap");
        assert_eq!(progress.contiguous_up_to(14, Some(9)), 8, "a message in memory");
        progress.gaps.clear();
        assert_eq!((progress.contiguous_up_to(12, None), progress.contiguous_up_to(99, None)), (12, 14));
    }
}
