//! Sets of time as sorted, disjoint intervals of whole windows.

/// Begin and end (exclusive), in seconds since 1970.
pub type TimeRun = (i64, i64);

/// Intervals in ascending order that neither overlap nor adjoin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimeRuns(Vec<TimeRun>);

impl FromIterator<TimeRun> for TimeRuns {
    fn from_iter<I: IntoIterator<Item = TimeRun>>(runs: I) -> Self {
        let mut sorted: Vec<TimeRun> = runs.into_iter().filter(|(from, to)| from < to).collect();
        sorted.sort_unstable();
        let mut joined: Vec<TimeRun> = Vec::with_capacity(sorted.len());
        for (from, to) in sorted {
            match joined.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        Self(joined)
    }
}

impl TimeRuns {
    pub fn iter(&self) -> impl Iterator<Item = TimeRun> {
        self.0.iter().copied()
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    pub fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut next = 0;
        for (mut from, to) in self.iter() {
            // What ends before this interval begins concerns no later one either.
            while other.0.get(next).is_some_and(|cut| cut.1 <= from) {
                next += 1;
            }
            for (cut_from, cut_to) in other.0.iter().skip(next).take_while(|cut| cut.0 < to) {
                if from < *cut_from {
                    left.push((from, *cut_from));
                }
                from = from.max(*cut_to);
            }
            if from < to {
                left.push((from, to));
            }
        }
        Self(left)
    }

    pub fn within(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }

    /// Number of windows of a length.
    pub fn windows(&self, length: i64) -> u64 {
        let seconds: i64 = self.iter().map(|(from, to)| to - from).sum();
        u64::try_from(seconds / length.max(1)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(of: &[TimeRun]) -> TimeRuns {
        of.iter().copied().collect()
    }

    #[test]
    fn intervals_are_joined_cut_and_counted() {
        let some = runs(&[(40, 50), (0, 10), (10, 20), (15, 30), (7, 7)]);
        assert_eq!(some, runs(&[(0, 30), (40, 50)]));
        assert_eq!(some.minus(&runs(&[(5, 6), (20, 45)])), runs(&[(0, 5), (6, 20), (45, 50)]));
        assert_eq!(some.within(&runs(&[(-5, 3), (29, 41)])), runs(&[(0, 3), (29, 30), (40, 41)]));
        assert_eq!(some.minus(&some), TimeRuns::default());
        assert_eq!(some.minus(&runs(&[(-9, 90)])), TimeRuns::default());
        assert_eq!(some.union(&runs(&[(30, 40)])), runs(&[(0, 50)]));
        assert_eq!((some.windows(10), some.windows(0)), (4, 40));
    }
}
