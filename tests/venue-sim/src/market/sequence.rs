//! Printed update ids: those of the market, until the venue starts again from a smaller one.

/// Offsets by first change. Numbers of different eras never overlap, so that each printed number identifies one book.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    eras: Vec<(u64, u64)>,
}

impl Sequence {
    pub(super) fn printed(&self, id: u64) -> u64 {
        let era = self.eras.iter().rev().find(|(after, _)| id > *after);
        id - era.map_or(0, |(_, off)| *off)
    }

    pub(super) fn change(&self, printed: u64, newest: u64) -> Option<u64> {
        let mut until = newest;
        for (after, off) in self.eras.iter().rev() {
            let id = printed.checked_add(*off)?;
            if id > *after && id <= until {
                return Some(id);
            }
            until = *after;
        }
        (printed <= until).then_some(printed)
    }

    /// Later changes are numbered from half of the lowest start so far; false if that leaves no room.
    pub(super) fn restart(&mut self, newest: u64, first: u64) -> bool {
        let start = first >> (self.eras.len() + 1);
        if start < 1000 {
            return false;
        }
        self.eras.push((newest, newest - start));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Sequence;

    #[test]
    fn restarted_numbers_are_smaller_and_name_their_change() {
        let mut sequence = Sequence::default();
        let (first, mut newest, mut last) = (1_000_000, 1_000_500, u64::MAX);
        let mut known = vec![(sequence.printed(newest), newest)];
        for _ in 0..4 {
            assert!(sequence.restart(newest, first));
            let printed = sequence.printed(newest + 7);
            assert!(printed < last && printed < known.last().expect("some").0);
            newest += 500;
            last = printed;
            known.push((sequence.printed(newest), newest));
        }
        for (printed, id) in known {
            assert_eq!(sequence.change(printed, newest), Some(id));
        }
        assert_eq!(sequence.change(newest + 1, newest), None);
        assert!(!(0..20).all(|_| sequence.restart(newest, first)));
    }
}
