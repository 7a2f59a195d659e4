//! Bounded lists of gaps: the rest is summed up in one gap.

use marketprism_schema::{GAPS_MAX, Gap};

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct GapSum {
    /// The first gap, widened to contain the others.
    sum: Option<Gap>,
    gaps: u64,
}

impl GapSum {
    pub fn add(&mut self, gap: Gap) {
        self.gaps += 1;
        match &mut self.sum {
            Some(sum) => sum.merge(&gap),
            None => self.sum = Some(gap),
        }
    }

    /// The gap that has the evidence of the sum.
    pub const fn first_mut(&mut self) -> Option<&mut Gap> {
        self.sum.as_mut()
    }

    /// Takes the sum; its evidence says how many gaps it stands for.
    pub fn take(&mut self) -> Option<Gap> {
        let gaps = std::mem::take(&mut self.gaps);
        let mut sum = self.sum.take()?;
        if gaps > 1 {
            sum.evidence = format!("{gaps} gaps in one, the first: {}", sum.evidence);
        }
        Some(sum)
    }
}

/// Gaps of one stream in one window, [`GAPS_MAX`] at most.
#[derive(Debug, Default)]
pub(super) struct GapList {
    gaps: Vec<Gap>,
    rest: GapSum,
}

impl GapList {
    pub(super) fn push(&mut self, gap: Gap) {
        if self.gaps.len() + 1 < GAPS_MAX {
            self.gaps.push(gap);
        } else {
            self.rest.add(gap);
        }
    }

    pub(super) fn into_gaps(mut self) -> Vec<Gap> {
        self.gaps.extend(self.rest.take());
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_sums_up_the_rest_in_its_last_gap() {
        let mut list = GapList::default();
        for at in 0..200 {
            list.push(Gap { evidence: "seen".into(), ..Gap::trade_ids(1, 2, at, at + 1) });
        }
        let gaps = list.into_gaps();
        assert_eq!(gaps.len(), GAPS_MAX);
        assert_eq!(gaps.iter().filter_map(|gap| gap.missing).sum::<u64>(), 400);
        let last = gaps.last().unwrap();
        assert_eq!((last.from, last.to), (63, 200));
        assert_eq!(last.evidence, "137 gaps in one, the first: seen");
    }
}
