//! Seconds of receive time of the records that are waiting or in flight.

use std::collections::BTreeMap;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Nearly all records belong to the newest second, which is kept apart: counting them costs a comparison.
#[derive(Debug, Default)]
pub(super) struct PendingSeconds {
    newest: i64,
    in_newest: u64,
    older: BTreeMap<i64, u64>,
}

impl PendingSeconds {
    pub(super) fn add(&mut self, at_ns: i64) {
        let second = at_ns.div_euclid(NANOS_PER_SECOND);
        if second > self.newest {
            if self.in_newest > 0 {
                self.older.insert(self.newest, self.in_newest);
            }
            (self.newest, self.in_newest) = (second, 0);
        }
        if second == self.newest {
            self.in_newest += 1;
        } else {
            *self.older.entry(second).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, at_ns: i64) {
        let second = at_ns.div_euclid(NANOS_PER_SECOND);
        if second == self.newest {
            self.in_newest = self.in_newest.saturating_sub(1);
        } else if let Some(count) = self.older.get_mut(&second) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.older.remove(&second);
            }
        }
    }

    pub(super) fn oldest_ns(&self) -> Option<i64> {
        let newest = (self.in_newest > 0).then_some(self.newest);
        let oldest = self.older.keys().next().copied().or(newest)?;
        Some(oldest.saturating_mul(NANOS_PER_SECOND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_second_is_that_of_the_oldest_record_in_whatever_order_records_come_and_go() {
        let mut pending = PendingSeconds::default();
        let mut model: Vec<i64> = Vec::new();
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at_ns = i64::try_from(seed >> 33).unwrap() * 5;
            if !seed.is_multiple_of(3) || model.is_empty() {
                pending.add(at_ns);
                model.push(at_ns);
            } else {
                let removed = model.swap_remove(usize::try_from(seed >> 40).unwrap() % model.len());
                pending.remove(removed);
            }
            let oldest = model.iter().min().map(|at| at / NANOS_PER_SECOND * NANOS_PER_SECOND);
            assert_eq!(pending.oldest_ns(), oldest);
        }
    }
}
