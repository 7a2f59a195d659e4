//! When connections are replaced before they become too old, so that they do not all do it at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::random_up_to;
use crate::limits::RENEWAL_SPACING;

/// The planned renewals of a feed, by connection.
///
/// Connections that were opened together reach their age together, at start and after every outage. Each
/// books a time as far from the others as there is room, the latest such time first: a renewal costs the
/// venue's limits for connecting and subscribing.
#[derive(Debug)]
pub(crate) struct Renewals {
    booked: Mutex<BTreeMap<u32, Instant>>,
    /// How many connections have a maximum age.
    connections: u32,
}

impl Renewals {
    pub(crate) fn new(connections: usize) -> Self {
        let connections = u32::try_from(connections).unwrap_or(u32::MAX).max(1);
        Self { booked: Mutex::new(BTreeMap::new()), connections }
    }

    /// Books a renewal between half of the way to `latest` and `latest`, in place of the one that `source`
    /// had.
    pub(crate) fn book(&self, source: u32, opened: Instant, latest: Instant) -> Instant {
        let room = latest.saturating_duration_since(opened) / 2;
        let step = (room / self.connections).min(RENEWAL_SPACING);
        let mut booked = self.booked.lock().unwrap_or_else(PoisonError::into_inner);
        booked.remove(&source);
        let distance = |at: Instant| {
            let apart = booked.values().map(|other| if *other > at { *other - at } else { at - *other });
            apart.min().map_or(step, |nearest| nearest.min(step))
        };
        // Half steps: among n - 1 others on n steps there is always one that is half a step away from all.
        let times = (0..=self.connections.saturating_mul(2)).map(|half| latest - step / 2 * half);
        let mut best = (latest, Duration::ZERO);
        for at in times {
            let distance = distance(at);
            if distance > best.1 {
                best = (at, distance);
            }
            if distance >= step / 4 * 3 {
                break;
            }
        }
        let at = best.0 - random_up_to(step / 8);
        booked.insert(source, at);
        at
    }

    /// The connection is gone, and its renewal with it.
    pub(crate) fn cancel(&self, source: u32) {
        self.booked.lock().unwrap_or_else(PoisonError::into_inner).remove(&source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Goal: connections that are opened together are never renewed together, over many rounds and after an
    /// outage in the middle. Method: a simulated clock, 40 connections of 24 hours, an outage after three
    /// days; no two renewals closer than a few minutes, none too late, none needlessly early.
    #[test]
    fn connections_opened_together_are_renewed_apart() {
        let start = Instant::now();
        let renewals = Renewals::new(40);
        let lead = Duration::from_secs(90);
        let mut due = BTreeMap::new();
        let open = |due: &mut BTreeMap<u32, (Instant, Instant)>, source, now: Instant| {
            let at = renewals.book(source, now, now + HOUR * 24 - lead);
            assert!(at <= now + HOUR * 24 - lead && at >= now + HOUR * 11, "{:?}", at - now);
            due.insert(source, (at, now));
        };
        for round in 0..2 {
            let outage = start + HOUR * 72 * round;
            (0..40).for_each(|source| open(&mut due, source, outage));
            let mut last: Option<Instant> = None;
            while let Some((source, (at, _))) = due
                .clone()
                .into_iter()
                .min_by_key(|(_, (at, _))| *at)
                .filter(|(_, (at, _))| *at < outage + HOUR * 72)
            {
                if let Some(last) = last {
                    assert!(at - last > Duration::from_secs(120), "{:?} after the one before", at - last);
                }
                last = Some(at);
                open(&mut due, source, at);
            }
        }
    }

    /// Goal: one connection is renewed as late as it may be. Method: one.
    #[test]
    fn a_single_connection_is_renewed_late() {
        let now = Instant::now();
        let at = Renewals::new(1).book(0, now, now + HOUR);
        assert!(at > now + HOUR - RENEWAL_SPACING / 4, "{:?}", at - now);
    }
}
