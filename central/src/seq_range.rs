//! Ranges of sequences of a stream.

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

    /// The range without others, in the order of their begins.
    pub fn without_ranges(self, others: &[Self]) -> Vec<Self> {
        let mut left = Vec::new();
        let mut from = self.from;
        for other in others.iter().filter(|other| other.to >= self.from && other.from <= self.to) {
            if other.from > from {
                left.push(Self { from, to: other.from - 1 });
            }
            from = from.max(other.to.saturating_add(1));
        }
        if from <= self.to {
            left.push(Self { from, to: self.to });
        }
        left
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
}
