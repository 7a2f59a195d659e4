//! How many records of each second of receive time wait or are in flight.

use std::collections::BTreeMap;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Counts records by the second of their receive time. Nearly all belong to the newest second, which stands apart: counting them costs a
/// comparison. Never more seconds than records.
#[derive(Debug, Default)]
pub(super) struct Pending {
    newest: i64,
    of_newest: u64,
    older: BTreeMap<i64, u64>,
}

impl Pending {
    pub(super) fn add(&mut self, at_ns: i64) {
        let second = at_ns.div_euclid(NANOS_PER_SECOND);
        if second > self.newest {
            if self.of_newest > 0 {
                self.older.insert(self.newest, self.of_newest);
            }
            (self.newest, self.of_newest) = (second, 0);
        }
        if second == self.newest {
            self.of_newest += 1;
        } else {
            *self.older.entry(second).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, at_ns: i64) {
        let second = at_ns.div_euclid(NANOS_PER_SECOND);
        if second == self.newest {
            self.of_newest = self.of_newest.saturating_sub(1);
        } else if let Some(count) = self.older.get_mut(&second) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.older.remove(&second);
            }
        }
    }

    /// The start of the oldest second with a record, nanoseconds.
    pub(super) fn oldest_ns(&self) -> Option<i64> {
        let newest = (self.of_newest > 0).then_some(self.newest);
        let oldest = self.older.keys().next().copied().or(newest)?;
        Some(oldest.saturating_mul(NANOS_PER_SECOND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the oldest second is that of the oldest record left, in whatever order they come and go. Method: against a sorted list.
    #[test]
    fn the_oldest_second_is_known() {
        let mut pending = Pending::default();
        let mut model: Vec<i64> = Vec::new();
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at_ns = i64::try_from(seed >> 33).unwrap() * 5;
            if !seed.is_multiple_of(3) || model.is_empty() {
                pending.add(at_ns);
                model.push(at_ns);
            } else {
                let gone = model.swap_remove(usize::try_from(seed >> 40).unwrap() % model.len());
                pending.remove(gone);
            }
            let oldest = model.iter().min().map(|at| at / NANOS_PER_SECOND * NANOS_PER_SECOND);
            assert_eq!(pending.oldest_ns(), oldest);
        }
    }
}
